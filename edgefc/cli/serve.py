"""`edgefc serve`: an OpenAI-compatible server on this machine."""

from __future__ import annotations

import functools
import logging
import signal
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from typer import Argument, Option

from edgefc.cli.choice import default_model
from edgefc.cli.completion import complete_models
from edgefc.cli.console import count_of, err
from edgefc.cli.loading import find_model, load_progress
from edgefc.cli.mcp_tools import file_of
from edgefc.cli.options import (
    LOADING,
    RAY_HELP,
    RAY_METAVAR,
    GpuLayersOption,
    LoadOptions,
    LoraFilesOption,
    ModelOption,
)
from edgefc.cli.running_servers import LOOPBACK, announced
from edgefc.cli.serve_config import load_config, parse_duration
from edgefc.errors import RequestError

if TYPE_CHECKING:
    from edgefc.ray.replica import Facts
    from edgefc.server import Settings


NETWORK, LIMITS = "Network options", "Limits"

ModelsArgument = Annotated[
    list[str] | None,
    Argument(
        help="Ids from `edgefc list`, OWNER/NAME, or paths of .gguf files. The first is loaded at startup, the others "
        "on demand. Default: the default model.",
        autocompletion=complete_models,
    ),
]
DefaultModelOption = Annotated[
    str | None,
    Option(
        "--default-model",
        envvar="EDGEFC_DEFAULT_MODEL",
        metavar="MODEL",
        help="The model of requests that name none, loaded at startup. Default: the first.",
        autocompletion=complete_models,
    ),
]
HostOption = Annotated[str, Option(envvar="EDGEFC_HOST", help="Address to listen on.")]
PortOption = Annotated[int, Option(envvar="EDGEFC_PORT", help="Port to listen on; 0 picks a free one.")]
ApiKeyOption = Annotated[
    list[str] | None,
    Option(
        envvar="EDGEFC_API_KEY",
        help="API key that clients must send. May be repeated.",
        rich_help_panel=NETWORK,
    ),
]
AllowedHostOption = Annotated[
    list[str] | None,
    Option(
        envvar="EDGEFC_ALLOWED_HOST", help="Additional Host header to accept. May be repeated.", rich_help_panel=NETWORK
    ),
]
AllowedOriginOption = Annotated[
    list[str] | None,
    Option(
        envvar="EDGEFC_ALLOWED_ORIGIN",
        help="Browser origin allowed to call the API (CORS), such as http://localhost:3000. May be repeated.",
        rich_help_panel=NETWORK,
    ),
]
ParallelOption = Annotated[int, Option(envvar="EDGEFC_PARALLEL", help="Number of requests to process concurrently.")]
WaitingOption = Annotated[int, Option(envvar="EDGEFC_WAITING", help="Maximum number of queued requests.")]
TimeoutOption = Annotated[float, Option(envvar="EDGEFC_TIMEOUT", help="Time limit per request, in seconds.")]
DrainOption = Annotated[
    float,
    Option(
        envvar="EDGEFC_DRAIN",
        help="Grace period for running requests on shutdown, in seconds.",
        rich_help_panel=LIMITS,
    ),
]
HeartbeatOption = Annotated[
    float,
    Option(
        envvar="EDGEFC_HEARTBEAT",
        help="Interval of keep-alive comments in a silent stream, in seconds.",
        rich_help_panel=LIMITS,
    ),
]
MemoryOption = Annotated[
    float | None,
    Option(
        envvar="EDGEFC_MEMORY",
        help="Memory limit for all loaded models together, in GiB; the least recently used model is unloaded to make "
        "room. Default: the free memory.",
        rich_help_panel=LIMITS,
    ),
]
KeepAliveOption = Annotated[
    str,
    Option(
        "--keep-alive",
        envvar="EDGEFC_KEEP_ALIVE",
        metavar="TIME",
        help="Unload a model that is idle for so long (90s, 10m, 1h); the next request loads it again.",
        rich_help_panel=LIMITS,
    ),
]
WorkerOption = Annotated[
    bool,
    Option(
        "--worker", envvar="EDGEFC_WORKER", help="Run models in a separate process, which is restarted if it crashes."
    ),
]
ServedRayOption = Annotated[str | None, Option("--ray", envvar="EDGEFC_RAY", metavar=RAY_METAVAR, help=RAY_HELP)]
GrammarsOption = Annotated[
    bool, Option("--grammars", envvar="EDGEFC_GRAMMARS", help="Accept GBNF grammars in requests.")
]
ServedFamilyOption = Annotated[
    str | None, Option(envvar="EDGEFC_FAMILY", help="Chat format. Default: the model's own.", rich_help_panel=LOADING)
]
RequestContextOption = Annotated[
    int | None,
    Option("--n-ctx", envvar="EDGEFC_N_CTX", help="Context size per request, in tokens.", rich_help_panel=LOADING),
]
ThreadsOption = Annotated[
    int | None,
    Option(
        "--n-threads",
        envvar="EDGEFC_N_THREADS",
        help="Number of threads. Default: as calibrated.",
        rich_help_panel=LOADING,
    ),
]
ServedEngineOption = Annotated[
    str | None,
    Option(
        "--engine",
        envvar="EDGEFC_ENGINE",
        metavar="KIND=URL",
        help="Let a server compute: llama-server, vllm or sglang. A model may then be a folder with tokenizer.json.",
        rich_help_panel=LOADING,
    ),
]
AllTranscriptsOption = Annotated[
    str | None,
    Option(
        envvar="EDGEFC_TRANSCRIPTS",
        metavar="FILE",
        help="Append all prompts and answers to this file, readable only by you. Default: nothing is recorded.",
    ),
]
ConfigOption = Annotated[
    Path | None,
    Option(envvar="EDGEFC_CONFIG", is_eager=True, callback=load_config, help="TOML file with these options."),
]


McpEndpointOption = Annotated[
    bool, Option("--mcp-endpoint", envvar="EDGEFC_MCP_ENDPOINT", help="Answer MCP clients at POST /mcp.")
]
UiOption = Annotated[
    bool, Option("--ui/--no-ui", envvar="EDGEFC_UI", help="Show browsers a page at / to try and debug tool calls.")
]
OnUnsupportedOption = Annotated[
    Literal["refuse", "omit", "check"],
    Option(
        envvar="EDGEFC_ON_UNSUPPORTED",
        help="Tools that no grammar can enforce: refuse the request, omit them (a header names them), or check their "
        "calls once complete.",
    ),
]
ServedMcpOption = Annotated[
    Path | None,
    Option(
        "--mcp",
        envvar="EDGEFC_MCP",
        metavar="FILE",
        help="Let /v1/responses offer and run the tools of this file's MCP servers, where a request names one; "
        "`default` is the file that `edgefc mcp` edits.",
    ),
]
ToolBudgetOption = Annotated[
    int,
    Option(
        "--tool-budget",
        envvar="EDGEFC_TOOL_BUDGET",
        min=-1,
        help="Show the model only the tools that fit the question when a request's tools have more tokens than this; "
        "0: always all, -1: depending on the machine's speed.",
    ),
]


def serve(
    model: ModelsArgument = None,
    model_option: ModelOption = None,
    default: DefaultModelOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8080,
    api_key: ApiKeyOption = None,
    allowed_host: AllowedHostOption = None,
    allowed_origin: AllowedOriginOption = None,
    parallel: ParallelOption = 4,
    waiting: WaitingOption = 64,
    timeout: TimeoutOption = 600,
    drain: DrainOption = 30,
    heartbeat: HeartbeatOption = 10,
    memory: MemoryOption = None,
    keep_alive: KeepAliveOption = "never",
    worker: WorkerOption = False,
    ray: ServedRayOption = None,
    grammars: GrammarsOption = False,
    mcp_endpoint: McpEndpointOption = False,
    ui: UiOption = True,
    on_unsupported: OnUnsupportedOption = "omit",
    mcp: ServedMcpOption = None,
    tool_budget: ToolBudgetOption = 0,
    family: ServedFamilyOption = None,
    n_ctx: RequestContextOption = None,
    n_threads: ThreadsOption = None,
    n_gpu_layers: GpuLayersOption = None,
    lora: LoraFilesOption = None,
    engine: ServedEngineOption = None,
    transcripts: AllTranscriptsOption = None,
    config: ConfigOption = None,  # noqa: ARG001 - its callback reads the file
) -> None:
    """Serve models to OpenAI clients on this machine. Ctrl-C lets running answers finish; twice stops at once."""
    from edgefc.server import Settings

    settings = Settings(
        host=host,
        port=port,
        api_keys=tuple(api_key or ()),
        allowed_hosts=tuple(allowed_host or ()),
        allowed_origins=tuple(allowed_origin or ()),
        parallel=parallel,
        max_waiting=waiting,
        timeout=timeout,
        drain=drain,
        heartbeat=heartbeat,
        grammars=grammars,
        mcp_endpoint=mcp_endpoint,
        ui=ui and engine is None,  # it shows traces, which no other program has
        on_unsupported=on_unsupported,
        mcp=None if mcp is None else str(file_of(mcp).resolve()),
        tool_budget=tool_budget,
    )
    load = LoadOptions(
        family=family, n_ctx=n_ctx, n_threads=n_threads, n_gpu_layers=n_gpu_layers, n_parallel=parallel, lora=lora,
        transcripts=transcripts, engine=engine,
    )  # fmt: skip
    pool = PoolOptions.of(_model_names(model, model_option, default), memory, keep_alive)
    _serve(pool, load, settings, use_worker=worker, ray=ray)


def _model_names(models: list[str] | None, option: str | None, default: str | None) -> list[str]:
    """Return the names of the served models, the default one first."""
    named = models or [name for name in (option or default,) if name] or [default_model()]
    return named if default is None else [default, *(name for name in named if name != default)]


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """The served models: their names, the limit of their memory in bytes, and the seconds that idle ones are kept."""

    names: list[str]
    memory: int | None
    keep_alive: float | None

    @classmethod
    def of(cls, names: list[str], memory_gib: float | None, keep_alive: str) -> PoolOptions:
        """Read the options as they stand on the command line. Raises RequestError."""
        memory = None if memory_gib is None else round(memory_gib * (1 << 30))
        return cls(names, memory, parse_duration(keep_alive))


def _serve(options: PoolOptions, load: LoadOptions, settings: Settings, *, use_worker: bool, ray: str | None) -> None:
    """Load the first model and serve until the process is told to stop."""
    if ray is not None:
        _serve_with_ray(ray, options, load, settings, use_worker=use_worker)
        return
    from edgefc.server import ModelPool, WorkerSupervisor, serve, serve_with_worker

    paths = [str(find_model(name).path.resolve()) for name in options.names]
    logging.getLogger("edgefc.server").setLevel(logging.INFO)
    pool = ModelPool(options.names, load.keywords(), limit=options.memory, keep_alive=options.keep_alive)
    first, *others = names = [entry.name for entry in pool.entries]
    banner = functools.partial(_print_banner, first, others, settings, load.transcripts)
    on_stop = functools.partial(_print_stop, settings.drain)
    with ExitStack() as running:

        def announce(url: str, family: str, n_ctx: int) -> None:
            banner(url, family, n_ctx)
            if (local := _local_url(url)) is not None:
                running.enter_context(announced(local, dict(zip(paths, names, strict=True))))

        if use_worker:
            supervisor = WorkerSupervisor(options.names, load.keywords(), settings, options.memory, options.keep_alive)
            serve_with_worker(supervisor, settings, lambda url, info: announce(url, info.family, info.n_ctx), on_stop)
            return
        running.enter_context(closing(pool))
        with load_progress(first) as progress:
            model = pool.load_default(progress)
        family, n_ctx = model.family.name, model.n_ctx
        serve(pool, settings, lambda url: announce(url, family, n_ctx), on_stop)
    for number in (signal.SIGINT, signal.SIGTERM):  # nothing is left to stop, and Python's own end takes a moment
        signal.signal(number, signal.SIG_IGN)


def _serve_with_ray(ray: str, options: PoolOptions, load: LoadOptions, settings: Settings, *, use_worker: bool) -> None:
    """Start the replicas and serve until the process is told to stop. Raises RequestError."""
    from edgefc.ray.scale import Scale
    from edgefc.ray.serve import serve_with_ray

    scale = Scale.parse(ray)
    refused = {
        "worker": (use_worker, "Replicas are processes of their own, and restarted."),
        "engine": (load.engine is not None, "Another server computes; one `edgefc serve` is enough in front of it."),
        "mcp_endpoint": (settings.mcp_endpoint, "MCP's sessions live in one process."),
        "transcripts": (load.transcripts is not None, "Each replica would write to the same file."),
        "memory": (options.memory is not None, "It makes room between several models; replicas serve one."),
        "keep_alive": (options.keep_alive is not None, "--ray replicas=1..4 ends replicas that are idle."),
        "model": (len(options.names) > 1, "Replicas serve one model; start a server for each."),
    }
    for name, (is_set, hint) in refused.items():
        if is_set:
            raise RequestError(name, "cannot be used with --ray", hint)
    (name,) = options.names
    path = str(find_model(name).path.resolve())
    logging.getLogger("edgefc.server").setLevel(logging.INFO)
    with ExitStack() as running:

        def announce(url: str, facts: Facts) -> None:
            _print_banner(facts.name, [], settings, None, url, facts.family, facts.n_ctx, replicas=scale.text)
            if (local := _local_url(url)) is not None:
                running.enter_context(announced(local, {path: facts.name}))

        on_stop = functools.partial(_print_stop, settings.drain)
        with load_progress(name):
            serve_with_ray(name, scale, load.keywords(), settings, announce, on_stop)


def _local_url(url: str) -> str | None:
    """Return the address at which this machine's programs reach the server; None if only others do."""
    parts = urlsplit(url)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname)  # noqa: S104
    if host not in LOOPBACK:
        return None
    return f"http://{f'[{host}]' if ':' in host else host}:{parts.port}"


def _print_stop(drain: float, running: int, is_forced: bool) -> None:
    """Say that the server stops, and what it waits for."""
    if is_forced:
        err.print("stopping at once")
    elif running:
        verb = "is" if running == 1 else "are"
        limits = f"{drain:g} s at most; Ctrl-C again stops at once"
        err.print(f"stopping: {count_of(running, 'answer')} {verb} still running ({limits})")
    else:
        err.print("stopping …")


def _print_banner(
    name: str,
    others: list[str],
    settings: Settings,
    transcripts: str | None,
    url: str,
    family: str,
    n_ctx: int,
    replicas: str = "",
) -> None:
    """Print the address, the models, and how to call them."""
    lines = [f"{name} ({family}) at {url}/v1: context {n_ctx} tokens, {settings.parallel} requests at a time"]
    if replicas:
        lines.append(f"  replicas on Ray: {replicas}, each computes so many requests")
    if others:
        lines.append(f"  loaded on demand: {', '.join(others)}")
    if settings.ui:
        lines.append(f"  in a browser: {url}")
    header = ' -H "Authorization: Bearer $EDGEFC_API_KEY"' if settings.api_keys else ""
    body = '{"messages": [{"role": "user", "content": "Hello"}]}'
    lines.append(f"  curl {url}/v1/chat/completions{header} --json '{body}'")
    key = "os.environ['EDGEFC_API_KEY']" if settings.api_keys else "'none'"
    lines.append(f"  OpenAI(base_url='{url}/v1', api_key={key})")
    lines.append(f"  Anthropic(base_url='{url}', api_key={key}); the same address for Ollama's clients")
    if settings.mcp_endpoint:
        lines.append(f"  MCP clients: {url}/mcp")
    if settings.host not in LOOPBACK:
        lines.append("  reachable from other machines; traffic is not encrypted")
    if transcripts is not None:
        lines.append(f"  all prompts and answers are written to {transcripts}")
    lines.append("  Ctrl-C stops the server; its log follows here")
    err.print("\n".join(lines), soft_wrap=True)

"""`edgefc`: the commands, each in a module of its own that is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

import typer

from edgefc._version import __version__
from edgefc.errors import EdgefcError

app = typer.Typer(
    name="edgefc",
    help="Run small local GGUF models that call tools reliably, offline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 a check found something, 2 wrong input, 130 interrupted.",
)

Model = Annotated[str, typer.Option("--model", "-m", help="Id from `edgefc list`, OWNER/NAME, or path of a .gguf.")]
Tools = Annotated[Optional[Path], typer.Option(help="Tools: a .py with functions, or a .json. Default: example tools.")]
Family = Annotated[Optional[str], typer.Option(help="Chat format. Default: the model's own.")]
Context = Annotated[Optional[int], typer.Option("--n-ctx", help="Context in tokens.")]
Layers = Annotated[Optional[int], typer.Option("--n-gpu-layers", help="Layers on the GPU. Default: all that fit.")]
Temperature = Annotated[Optional[float], typer.Option(help="0 is greedy. Default: the family's.")]
Seed = Annotated[Optional[int], typer.Option(help="Makes sampling repeatable.")]
MaxTokens = Annotated[Optional[int], typer.Option("--max-tokens", help="Most tokens to generate.")]
System = Annotated[Optional[str], typer.Option(help="System message.")]
Choice = Annotated[str, typer.Option("--tool-choice", help="auto, none, required, or a tool's name.")]
NoParallel = Annotated[bool, typer.Option("--no-parallel", help="At most one call in an answer.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Transcripts = Annotated[
    Optional[str],
    typer.Option(
        "--transcripts", metavar="FILE", help="Append questions and answers to this file, which only you can read."
    ),
]
Records = Annotated[list[Path], typer.Argument(help="What `--transcripts FILE` wrote.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgefc {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show llama.cpp's log.")] = False,
) -> None:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logger = logging.getLogger("edgefc")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)
    logging.getLogger("edgefc.llama").setLevel(logging.DEBUG if verbose else logging.CRITICAL)


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help="Id from `edgefc list`, OWNER/NAME, or path of a .gguf.")] = "demo",
    tools: Tools = None,
    no_tools: Annotated[bool, typer.Option("--no-tools", help="Offer no tools.")] = False,
    system: System = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Run your tools without asking.")] = False,
    transcripts: Transcripts = None,
    family: Family = None,
    n_ctx: Context = None,
    n_gpu_layers: Layers = None,
    temperature: Temperature = None,
    seed: Seed = None,
    max_tokens: MaxTokens = None,
) -> None:
    """Talk to a model that calls tools. /help lists what else can be typed; Ctrl-C stops an answer."""
    from edgefc.cli import chat as command

    command.chat(
        model, tools, no_tools=no_tools, system=system, yes=yes,
        load={"family": family, "n_ctx": n_ctx, "n_gpu_layers": n_gpu_layers, "transcripts": transcripts},
        options={"temperature": temperature, "seed": seed, "max_tokens": max_tokens},
    )  # fmt: skip


@app.command()
def run(
    prompt: Annotated[str, typer.Argument(help="The question.")],
    model: Model = "demo",
    tools: Tools = None,
    system: System = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Run your tools without asking.")] = False,
    transcripts: Transcripts = None,
    family: Family = None,
    n_ctx: Context = None,
    n_gpu_layers: Layers = None,
    temperature: Temperature = None,
    seed: Seed = None,
    max_tokens: MaxTokens = None,
    as_json: Json = False,
) -> None:
    """Answer one question, running tools as needed."""
    from edgefc.cli import oneshot

    oneshot.run(
        prompt, model, tools, system=system, yes=yes, as_json=as_json,
        load={"family": family, "n_ctx": n_ctx, "n_gpu_layers": n_gpu_layers, "transcripts": transcripts},
        options={"temperature": temperature, "seed": seed, "max_tokens": max_tokens},
    )  # fmt: skip


@app.command()
def call(
    prompt: Annotated[str, typer.Argument(help="The question.")],
    model: Model = "demo",
    tools: Tools = None,
    tool_choice: Choice = "auto",
    no_parallel: NoParallel = False,
    system: System = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print deltas as they come, one JSON object a line.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole reply, with usage and stats.")] = False,
    transcripts: Transcripts = None,
    family: Family = None,
    n_ctx: Context = None,
    n_gpu_layers: Layers = None,
    temperature: Temperature = None,
    seed: Seed = None,
    max_tokens: MaxTokens = None,
) -> None:
    """Print the calls a model would make, as JSON, and run nothing."""
    from edgefc.cli import oneshot

    oneshot.call(
        prompt, model, tools, tool_choice=tool_choice, system=system, stream=stream, as_json=as_json,
        load={"family": family, "n_ctx": n_ctx, "n_gpu_layers": n_gpu_layers, "transcripts": transcripts},
        options={"temperature": temperature, "seed": seed, "max_tokens": max_tokens,
                 "parallel_tool_calls": not no_parallel},
    )  # fmt: skip


@app.command()
def render(
    prompt: Annotated[Optional[str], typer.Argument(help="The question.")] = None,
    messages: Annotated[Optional[Path], typer.Option(help="A conversation: .json with OpenAI messages.")] = None,
    tools: Tools = None,
    no_tools: Annotated[bool, typer.Option("--no-tools", help="Offer no tools.")] = False,
    tool_choice: Choice = "auto",
    no_thinking: Annotated[bool, typer.Option("--no-thinking", help="Tell the model not to think first.")] = False,
    family: Family = None,
    system: System = None,
    ids: Annotated[bool, typer.Option("--ids", help="Print the token ids of --model instead of the text.")] = False,
    model: Model = "demo",
) -> None:
    """Print exactly what a model would see."""
    from edgefc.cli import inspect

    inspect.render(
        prompt, messages, tools, no_tools=no_tools, tool_choice=tool_choice,
        thinking=False if no_thinking else None, family=family, system=system, model=model, ids=ids,
    )  # fmt: skip


@app.command()
def grammar(
    tools: Annotated[Optional[Path], typer.Argument(help="A .py or .json with tools. Default: example tools.")] = None,
    family: Annotated[str, typer.Option(help="Chat format whose call syntax is used.")] = "demo",
    tool_choice: Choice = "auto",
    no_parallel: NoParallel = False,
) -> None:
    """Print the GBNF of everything a model may answer with these tools."""
    from edgefc.cli import inspect

    inspect.grammar(tools, family=family, tool_choice=tool_choice, parallel=not no_parallel)


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="Id from `edgefc list`, OWNER/NAME, or path of a .gguf.")] = "demo",
    family: Family = None,
    as_json: Json = False,
) -> None:
    """Print what is known of a model: its file, its chat format and why that one, its tokenizer."""
    from edgefc.cli import inspect

    inspect.show(model, family=family, as_json=as_json)


@app.command()
def lint(
    tools: Annotated[Optional[Path], typer.Argument(help="A .py or .json with tools. Default: example tools.")] = None,
    model: Annotated[
        Optional[str], typer.Option("--model", "-m", help="Count prompt tokens as this model does.")
    ] = None,
    family: Annotated[Optional[str], typer.Option(help="Chat format. Default: the model's own.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail for warnings and unenforced keywords too.")] = False,
    as_json: Json = False,
) -> None:
    """Check tools without a model: what is refused, what no grammar enforces, what each costs."""
    from edgefc.cli import lint as command

    command.lint(tools, model=model, family=family, strict=strict, as_json=as_json)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="Id, OWNER/NAME[:QUANTIZATION], URL of a .gguf, or its path.")],
    quantization: Annotated[
        str, typer.Option("--quantization", "-q", help="Such as Q4_K_M. Default: what suits this machine.")
    ] = "",
    revision: Annotated[Optional[str], typer.Option(help="Branch, tag or commit. Default: main.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Make no connection: only say where it is.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch a model and its tokenizer, verified; a broken-off pull goes on where it was."""
    from edgefc.cli import models

    models.pull(name, quantization=quantization, revision=revision, offline=offline, yes=yes, as_json=as_json)


@app.command("list")
def list_models(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also what can be fetched by name.")] = False,
    as_json: Json = False,
) -> None:
    """List the models on this machine."""
    from edgefc.cli import models

    models.list_models(everything=everything, as_json=as_json)


@app.command()
def recommend(
    context: Annotated[Optional[int], typer.Option("--n-ctx", help="Context in tokens. Default: the most.")] = None,
    limit: Annotated[int, typer.Option(help="Rows to show; 0: all.")] = 12,
    as_json: Json = False,
) -> None:
    """Which models suit this machine: quantization, context, expected memory and, once measured, speed."""
    from edgefc.cli import recommend as command

    command.recommend(context=context, limit=limit, as_json=as_json)


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help="Id from `edgefc list`, OWNER/NAME, or path of a .gguf.")] = "demo",
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="First measure what is best here, and keep it."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure a model's prefill and decode here."""
    from edgefc.cli import bench as command

    command.bench(model, calibrate=calibrate, as_json=as_json)


@app.command("eval")
def evaluate(
    models: Annotated[
        Optional[list[str]],
        typer.Argument(
            metavar="MODEL", help="Ids, OWNER/NAME or paths of .ggufs; or kept runs (.jsonl). Default: demo."
        ),
    ] = None,
    suite: Annotated[
        Optional[str], typer.Option(help="bfcl, or demo: the demo model's held-back cases. Default: bfcl with --data.")
    ] = None,
    data: Annotated[Optional[Path], typer.Option(help="A checkout of BFCL, or a folder with its cases.")] = None,
    category: Annotated[
        Optional[str], typer.Option(help="Categories, with commas; live_* and the like are patterns. Default: all.")
    ] = None,
    grammar: Annotated[str, typer.Option(help="on, off, or on,off: with the grammar, without it, or both.")] = "on",
    limit: Annotated[Optional[int], typer.Option(help="Cases of each category, always the same ones.")] = None,
    family: Annotated[Optional[str], typer.Option(help="Chat formats, with commas. Default: the model's own.")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Most tokens of an answer.")] = 512,
    parallel: Annotated[int, typer.Option(help="Cases computed at a time.")] = 4,
    n_ctx: Context = None,
    n_gpu_layers: Layers = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last run of the same kind.")] = False,
    out: Annotated[
        Optional[Path], typer.Option(help="Folder of the results. Default: evaluations, among the caches.")
    ] = None,
    plot: Annotated[Optional[Path], typer.Option(help="Draw the comparison into this .svg.")] = None,
    failures: Annotated[int, typer.Option(help="Wrong answers to show of each run.")] = 3,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Measure how well models call tools, with and without the grammar. Ctrl-C stops; --resume goes on."""
    from edgefc.cli import evaluate as command

    command.evaluate(
        models or ["demo"], suite=suite, data=data, category=category, grammar=grammar, limit=limit, family=family,
        max_tokens=max_tokens, out=out, resume=resume, plot=plot, failures=failures, markdown=markdown, as_json=as_json,
        load={"n_ctx": n_ctx, "n_gpu_layers": n_gpu_layers, "n_parallel": parallel},
    )  # fmt: skip


@app.command()
def warm(
    model: Annotated[str, typer.Argument(help="Id from `edgefc list`, OWNER/NAME, or path of a .gguf.")] = "demo",
    tools: Tools = None,
    system: System = None,
    tool_choice: Choice = "auto",
    family: Family = None,
    n_ctx: Context = None,
    as_json: Json = False,
) -> None:
    """Compute a tool set's part of prompts once and keep it on disk, so that no answer has to wait for it."""
    from edgefc.cli import warm as command

    command.warm(
        model, tools, system=system, tool_choice=tool_choice, as_json=as_json, load={"family": family, "n_ctx": n_ctx}
    )


@app.command()
def rm(
    name: Annotated[str, typer.Argument(help="A name from `edgefc list`.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a model."""
    from edgefc.cli import models

    models.remove(name, yes=yes)


@app.command()
def verify(
    names: Annotated[Optional[list[str]], typer.Argument(help="Names from `edgefc list`. Default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Read models again and compare their hashes. Exit code 1 when one is damaged."""
    from edgefc.cli import models

    models.verify(names or [], as_json=as_json)


@app.command()
def bundle(
    name: Annotated[str, typer.Argument(help="A name from `edgefc list`.")],
    target: Annotated[Optional[Path], typer.Argument(help="The archive. Default: NAME.edgefc.tar here.")] = None,
) -> None:
    """Write a model, its tokenizer, licence and hashes into one archive, for a machine without a network."""
    from edgefc.cli import models

    models.bundle(name, target)


@app.command()
def unbundle(archive: Annotated[Path, typer.Argument(help="Made by `edgefc bundle`.")], as_json: Json = False) -> None:
    """Make the model of an archive one of this machine's."""
    from edgefc.cli import models

    models.unbundle(archive, as_json=as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this machine and installation; says what to reinstall and how."""
    from edgefc.cli import doctor as command

    command.doctor(as_json=as_json)


transcripts = typer.Typer(
    help="Make datasets for fine-tuning of transcripts, or ask the same again and compare.",
    no_args_is_help=True,
)
app.add_typer(transcripts, name="transcripts")


@transcripts.command("export")
def export_transcripts(
    files: Records,
    to: Annotated[str, typer.Option(help="sharegpt (for LLaMA-Factory), xlam or trl.")],
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="File to write. Default: print the dataset.")
    ] = None,
    only: Annotated[
        Optional[str],
        typer.Option(help="called, or the last answer's outcome: call, answer, clarify, no_tool. Default: all."),
    ] = None,
    no_reasoning: Annotated[
        bool, typer.Option("--no-reasoning", help="Leave out what models thought before they answered.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail when a record cannot be said in the format.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what became of the records, as JSON.")] = False,
) -> None:
    """Write a dataset, as JSON lines. What a format cannot say is skipped and counted, with the reason."""
    from edgefc.cli import transcripts as command

    command.export(files, to, output, only=only, reasoning=not no_reasoning, strict=strict, as_json=as_json)


@transcripts.command("replay")
def replay_transcripts(
    files: Records,
    model: Annotated[
        Optional[str], typer.Option("--model", "-m", help="Model to ask. Default: the one that was recorded.")
    ] = None,
    family: Family = None,
    n_ctx: Context = None,
    n_gpu_layers: Layers = None,
    text: Annotated[bool, typer.Option("--text", help="Compare what is said, too, and not calls alone.")] = False,
    as_json: Json = False,
) -> None:
    """Ask the same again, and compare outcomes and calls. Exit code 1 when an answer is another one."""
    from edgefc.cli import transcripts as command

    command.replay(
        files, model=model, text=text, as_json=as_json,
        load={"family": family, "n_ctx": n_ctx, "n_gpu_layers": n_gpu_layers},
    )  # fmt: skip


def _from_file(context: typer.Context, path: Optional[Path]) -> Optional[Path]:
    """What a TOML file says stands where neither an option nor the environment does."""
    if path is not None:
        from edgefc.cli import serve as command

        context.default_map = command.read_config(path, {p.name for p in context.command.params if p.name})
    return path


@app.command()
def serve(
    model: Annotated[
        Optional[list[str]],
        typer.Argument(
            help="Ids from `edgefc list`, OWNER/NAME, or paths of .gguf: the first is loaded at once, others when "
            "they are asked for. Default: demo."
        ),
    ] = None,
    host: Annotated[str, typer.Option(envvar="EDGEFC_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="EDGEFC_PORT", help="0 takes a free one.")] = 8080,
    api_key: Annotated[
        Optional[list[str]], typer.Option(envvar="EDGEFC_API_KEY", help="Key that must be sent; may be repeated.")
    ] = None,
    allowed_host: Annotated[
        Optional[list[str]],
        typer.Option(envvar="EDGEFC_ALLOWED_HOST", help="Name it may be called by besides its own."),
    ] = None,
    allowed_origin: Annotated[
        Optional[list[str]],
        typer.Option(envvar="EDGEFC_ALLOWED_ORIGIN", help="Web page that may ask, as http://HOST:PORT."),
    ] = None,
    parallel: Annotated[int, typer.Option(envvar="EDGEFC_PARALLEL", help="Requests computed at a time.")] = 4,
    waiting: Annotated[int, typer.Option(envvar="EDGEFC_WAITING", help="Requests that may wait beside them.")] = 64,
    timeout: Annotated[float, typer.Option(envvar="EDGEFC_TIMEOUT", help="Seconds of one request.")] = 600,
    drain: Annotated[float, typer.Option(envvar="EDGEFC_DRAIN", help="Seconds to finish in when told to stop.")] = 30,
    heartbeat: Annotated[
        float, typer.Option(envvar="EDGEFC_HEARTBEAT", help="Seconds after which a silent stream says it is alive.")
    ] = 10,
    memory: Annotated[
        Optional[float],
        typer.Option(
            envvar="EDGEFC_MEMORY",
            help="GiB that loaded models may take together; the one not used for longest makes room. Default: what is "
            "free.",
        ),
    ] = None,
    worker: Annotated[
        bool,
        typer.Option(
            "--worker",
            envvar="EDGEFC_WORKER",
            help="Run models in a process of their own, which is started again if it crashes.",
        ),
    ] = False,
    grammars: Annotated[
        bool, typer.Option("--grammars", envvar="EDGEFC_GRAMMARS", help="Take GBNF grammars from requests.")
    ] = False,
    family: Annotated[
        Optional[str], typer.Option(envvar="EDGEFC_FAMILY", help="Chat format. Default: the model's own.")
    ] = None,
    n_ctx: Annotated[
        Optional[int], typer.Option("--n-ctx", envvar="EDGEFC_N_CTX", help="Context of a request, in tokens.")
    ] = None,
    n_threads: Annotated[
        Optional[int], typer.Option("--n-threads", envvar="EDGEFC_N_THREADS", help="Threads. Default: as calibrated.")
    ] = None,
    n_gpu_layers: Layers = None,
    transcripts: Annotated[
        Optional[str],
        typer.Option(
            envvar="EDGEFC_TRANSCRIPTS",
            metavar="FILE",
            help="Append all prompts and answers to this file, which only you can read. Default: none are kept.",
        ),
    ] = None,
    config: Annotated[  # noqa: ARG001
        Optional[Path],
        typer.Option(envvar="EDGEFC_CONFIG", is_eager=True, callback=_from_file, help="TOML file with these options."),
    ] = None,
) -> None:
    """Serve models to OpenAI clients on this machine. Ctrl-C stops when running answers are done, twice at once."""
    from edgefc.cli import serve as command

    command.run(
        model or ["demo"],
        memory=memory,
        apart=worker,
        load={"family": family, "n_ctx": n_ctx, "n_threads": n_threads, "n_gpu_layers": n_gpu_layers,
              "n_parallel": parallel, "transcripts": transcripts},
        settings={"host": host, "port": port, "api_keys": tuple(api_key or ()),
                  "allowed_hosts": tuple(allowed_host or ()), "allowed_origins": tuple(allowed_origin or ()),
                  "parallel": parallel, "max_waiting": waiting, "timeout": timeout, "drain": drain,
                  "heartbeat": heartbeat, "grammars": grammars},
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command; errors a user can mend are one message, without a traceback, and exit code 2."""
    try:
        app(args=arguments, prog_name="edgefc")
    except EdgefcError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        sys.exit(0)
    sys.exit(0)


def fail(error: EdgefcError) -> NoReturn:
    """Print an error and its hint, and leave."""
    print_error(error)
    sys.exit(2)


def print_error(error: Any) -> None:
    first, _, rest = str(error).partition("\n")
    typer.secho(f"error: {first}", fg="red", err=True)
    if rest:
        typer.secho(rest, err=True)

"""Arguments and options that several commands share, and the values built from them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from typer import Argument, Option

from edgefc.cli.completion import complete_families, complete_models
from edgefc.cli.console import guard_stdout
from edgefc.errors import RequestError

if TYPE_CHECKING:
    from edgefc.tools import ToolSet

_MODEL = (
    "Id from `edgefc list`, OWNER/NAME, or path of a .gguf file. Default: EDGEFC_MODEL, `edgefc config`, edgefc-mini "
    "if it is here, or demo."
)
_FAMILY = "Chat format. Default: the model's own."
RAY_METAVAR = "replicas=N|A..B"
RAY_HELP = (
    "Run so many replicas of the model on Ray, or A to B as the load asks: on this machine, or in the cluster of "
    "RAY_ADDRESS."
)
LOADING, TOOLS, SAMPLING, SERVER = "Model options", "Tool options", "Answer options", "Server options"

TOOL_TIMEOUT_S = 60.0

ModelArgument = Annotated[str | None, Argument(metavar="MODEL", help=_MODEL, autocompletion=complete_models)]
ModelOption = Annotated[str | None, Option("--model", "-m", help=_MODEL, autocompletion=complete_models)]
WordsArgument = Annotated[
    list[str] | None,
    Argument(
        metavar="[MODEL] QUESTION",
        help="The question, perhaps after a model. `-`, or nothing: read it from stdin. What is piped in beside a "
        "question is appended to it.",
        autocompletion=complete_models,
    ),
]
StoredNameArgument = Annotated[
    str, Argument(metavar="NAME", help="A name from `edgefc list`.", autocompletion=complete_models)
]
ToolsArgument = Annotated[
    Path | None, Argument(metavar="TOOLS", help="A .py or .json file with tools. Default: example tools.")
]
ToolsOption = Annotated[
    Path | None,
    Option(help="Tools: a .py file with functions, or a .json file. Default: example tools.", rich_help_panel=TOOLS),
]
McpOption = Annotated[
    Path | None,
    Option(
        "--mcp",
        metavar="FILE",
        help="Offer the tools of this file's MCP servers; `default` is the file that `edgefc mcp` edits.",
        rich_help_panel=TOOLS,
    ),
]
OpenApiOption = Annotated[
    list[str] | None,
    Option(
        "--openapi",
        metavar="FILE|URL[#TAG]",
        help="Offer the operations of an OpenAPI document, perhaps those of a tag alone. May be repeated.",
        rich_help_panel=TOOLS,
    ),
]
AllowWritesOption = Annotated[
    bool,
    Option("--allow-writes", help="With --openapi: offer POST, PUT, PATCH and DELETE, too.", rich_help_panel=TOOLS),
]
AllowHostOption = Annotated[
    list[str] | None,
    Option(
        "--allow-host",
        metavar="HOST[:PORT]",
        help="With --openapi: this host may be on this machine or in a private network. May be repeated.",
        rich_help_panel=TOOLS,
    ),
]
NoToolsOption = Annotated[bool, Option("--no-tools", help="Do not offer any tools.", rich_help_panel=TOOLS)]
ToolChoiceOption = Annotated[
    str, Option("--tool-choice", help="auto, none, required, or the name of a tool.", rich_help_panel=TOOLS)
]
NoParallelOption = Annotated[
    bool, Option("--no-parallel", help="Allow at most one call per answer.", rich_help_panel=TOOLS)
]
SystemOption = Annotated[str | None, Option(help="System message.", rich_help_panel=SAMPLING)]
DATE_HELP = "Tell the model today's date. Default: where a tool has a parameter with the format date or date-time."
DateOption = Annotated[bool | None, Option("--date/--no-date", help=DATE_HELP, rich_help_panel=SAMPLING)]
RunWithoutAskingOption = Annotated[
    bool, Option("--yes", "-y", help="Run your tools without asking.", rich_help_panel=TOOLS)
]
ToolTimeoutOption = Annotated[
    float,
    Option(
        "--tool-timeout",
        min=0,
        max=86_400,
        help="Time limit per call of your tools, in seconds; 0 is none.",
        rich_help_panel=TOOLS,
    ),
]
YesOption = Annotated[bool, Option("--yes", "-y", help="Do not ask for confirmation.")]
FamilyOption = Annotated[str | None, Option(help=_FAMILY, rich_help_panel=LOADING, autocompletion=complete_families)]
ContextOption = Annotated[int | None, Option("--n-ctx", help="Context size in tokens.", rich_help_panel=LOADING)]
ThreadsOption = Annotated[
    int | None, Option("--n-threads", help="Number of threads. Default: as calibrated.", rich_help_panel=LOADING)
]
GpuLayersOption = Annotated[
    int | None,
    Option("--n-gpu-layers", help="Layers to run on the GPU. Default: all that fit.", rich_help_panel=LOADING),
]
EngineOption = Annotated[
    str | None,
    Option(
        "--engine",
        metavar="KIND=URL",
        help="Let a server compute: llama-server, vllm or sglang. MODEL may then be a folder with tokenizer.json.",
        rich_help_panel=LOADING,
    ),
]
LoraFilesOption = Annotated[
    list[str] | None,
    Option(
        "--lora",
        metavar="[NAME=]FILE[:SCALE]",
        help="Load this LoRA adapter (a GGUF) with the model. May be repeated. Default: those of models.toml.",
        rich_help_panel=LOADING,
    ),
]
UrlOption = Annotated[
    str | None,
    Option(
        "--url",
        envvar="EDGEFC_URL",
        metavar="URL",
        help="Ask this server. Default: a running `edgefc serve` with the same model, else load the model.",
        rich_help_panel=LOADING,
    ),
]
LocalOption = Annotated[
    bool, Option("--local", help="Load the model even if a server has it.", rich_help_panel=LOADING)
]
TemperatureOption = Annotated[
    float | None,
    Option(help="Sampling temperature; 0 is greedy. Default: the family's.", rich_help_panel=SAMPLING),
]
TopPOption = Annotated[
    float | None, Option("--top-p", help="Share of probability to sample from.", rich_help_panel=SAMPLING)
]
TopKOption = Annotated[int | None, Option("--top-k", help="Number of tokens to sample from.", rich_help_panel=SAMPLING)]
SeedOption = Annotated[int | None, Option(help="Random seed, for repeatable sampling.", rich_help_panel=SAMPLING)]
MaxTokensOption = Annotated[
    int | None,
    Option("--max-tokens", help="Limit of an answer, in tokens. Default: 2048.", rich_help_panel=SAMPLING),
]
MinConfidenceOption = Annotated[
    float | None,
    Option(
        "--min-confidence",
        min=0,
        max=1,
        help="Least probability of a call; one below it is not made.",
        rich_help_panel=TOOLS,
    ),
]
CallBiasOption = Annotated[
    float | None,
    Option(
        "--call-bias",
        help="Added to the log odds of a call against text: above 0 more calls, below 0 fewer.",
        rich_help_panel=TOOLS,
    ),
]
OnUnsupportedOption = Annotated[
    Literal["refuse", "omit", "check"],
    Option(
        "--on-unsupported",
        help="Tools that no grammar can enforce: refuse, leave them out, or check their calls once complete.",
        rich_help_panel=TOOLS,
    ),
]
ToolBudgetOption = Annotated[
    int | None,
    Option(
        "--tool-budget",
        min=-1,
        help="Above this many tokens of tools, show the model only those that fit the question; 0: always all. "
        "Default: what is read in 10 seconds, if calibrated, else 2048.",
        rich_help_panel=TOOLS,
    ),
]
RepeatedCallsOption = Annotated[
    bool, Option("--repeated-calls", help="Allow equal calls in one answer.", rich_help_panel=TOOLS)
]
TranscriptsOption = Annotated[
    str | None,
    Option(
        "--transcripts",
        metavar="FILE",
        help="Append questions and answers to this file, readable only by you.",
        rich_help_panel=SAMPLING,
    ),
]
RayOption = Annotated[
    str | None,
    Option(
        "--ray",
        metavar=RAY_METAVAR,
        help=RAY_HELP,
    ),
]
StreamOption = Annotated[bool, Option("--stream", help="Print deltas as they arrive, one JSON object per line.")]
JsonOption = Annotated[bool, Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options of `edgefc.load`; None leaves its default."""

    family: str | None = None
    n_ctx: int | None = None
    n_gpu_layers: int | None = None
    n_threads: int | None = None
    n_parallel: int | None = None
    prefix_disk: int | None = None
    lora: Sequence[str] | None = None
    transcripts: str | None = None
    engine: str | None = None

    def keywords(self) -> dict[str, Any]:
        """Return keyword arguments for the options that are not None.

        Where a server computes, those that commands choose for a model of their own are left out.
        """
        return _set_fields(
            self if self.engine is None else dataclasses.replace(self, n_parallel=None, prefix_disk=None)
        )


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """Options of `Model.chat` and `Model.run`; None leaves the default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    min_confidence: float | None = None
    call_bias: float | None = None
    allow_repeated_calls: bool | None = None
    on_unsupported: Literal["omit", "check"] | None = None
    tool_budget: int | None = None

    def keywords(self) -> dict[str, Any]:
        """Return keyword arguments for the options that are not None."""
        return _set_fields(self)


def _set_fields(options: LoadOptions | GenerationOptions) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(options).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class QuestionOptions:
    """The options of `call`, `run` and `chat`."""

    tools: ToolsOption = None
    mcp: McpOption = None
    openapi: OpenApiOption = None
    allow_writes: AllowWritesOption = False
    allow_host: AllowHostOption = None
    no_tools: NoToolsOption = False
    tool_choice: ToolChoiceOption = "auto"
    no_parallel: NoParallelOption = False
    repeated_calls: RepeatedCallsOption = False
    on_unsupported: OnUnsupportedOption = "refuse"
    tool_budget: ToolBudgetOption = None
    min_confidence: MinConfidenceOption = None
    call_bias: CallBiasOption = None
    system: SystemOption = None
    date: DateOption = None
    temperature: TemperatureOption = None
    top_p: TopPOption = None
    top_k: TopKOption = None
    seed: SeedOption = None
    max_tokens: MaxTokensOption = None
    transcripts: TranscriptsOption = None
    family: FamilyOption = None
    n_ctx: ContextOption = None
    n_threads: ThreadsOption = None
    n_gpu_layers: GpuLayersOption = None
    lora: LoraFilesOption = None
    engine: EngineOption = None
    url: UrlOption = None
    local: LocalOption = False

    def __post_init__(self) -> None:
        if self.url is not None and self.engine is not None:
            raise RequestError("engine", "a server has its own", "Leave out --url, or give --engine to `edgefc serve`.")

    def load(self) -> LoadOptions:
        """Return the options of `edgefc.load`."""
        return LoadOptions(
            family=self.family,
            n_ctx=self.n_ctx,
            n_threads=self.n_threads,
            n_gpu_layers=self.n_gpu_layers,
            lora=self.lora,
            transcripts=self.transcripts,
            engine=self.engine,
        )

    def generation(self) -> GenerationOptions:
        """Return the options of an answer."""
        return GenerationOptions(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            seed=self.seed,
            max_tokens=self.max_tokens,
            tool_choice=None if self.tool_choice == "auto" else tool_choice_from(self.tool_choice),
            parallel_tool_calls=False if self.no_parallel else None,
            min_confidence=self.min_confidence,
            call_bias=self.call_bias,
            allow_repeated_calls=self.repeated_calls or None,
            on_unsupported=None if self.on_unsupported == "refuse" else self.on_unsupported,
            tool_budget=self.tool_budget,
        )

    @property
    def has_example_tools(self) -> bool:
        """Return True if no tools are named."""
        return self.tools is None and self.mcp is None and not self.openapi and not self.no_tools

    def toolset(self, timeout: float = 0) -> ToolSet:
        """Load the tools. Raises ToolError or RequestError."""
        from edgefc.tools import ToolSet

        if self.no_tools:
            return ToolSet.of([])
        if self.mcp is None and not self.openapi:
            return tools_from(self.tools, timeout, omit=self.on_unsupported != "refuse")
        from edgefc.cli.mcp_tools import with_documents, with_servers

        tools = ToolSet.of([]) if self.tools is None else tools_from(self.tools, timeout)
        if self.mcp is not None:
            tools = with_servers(self.mcp, tools)
        return with_documents(self.openapi or (), tools, allow_writes=self.allow_writes, allow_hosts=self.allow_host)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of `run` and `chat`, which run tools."""

    yes: RunWithoutAskingOption = False
    tool_timeout: ToolTimeoutOption = TOOL_TIMEOUT_S


def spread_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of the dataclasses among its parameters."""
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    signature = inspect.signature(command, eval_str=True)
    for parameter in signature.parameters.values():
        if not dataclasses.is_dataclass(parameter.annotation):
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = parameter.annotation
        hints = get_type_hints(parameter.annotation, include_extras=True)
        parameters += (
            inspect.Parameter(field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
            for field in dataclasses.fields(parameter.annotation)
        )

    @functools.wraps(command)
    def run(**values: Any) -> None:
        built = {
            name: group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        command(**values, **built)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    del run.__wrapped__  # its annotations name the dataclasses
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def tools_from(path: Path | None, timeout: float = 0, *, omit: bool = False) -> ToolSet:
    """Load the tools of a file; without one, the example tools. Raises ToolError or RequestError.

    timeout  the time limit of a call, in seconds; 0: none
    omit     leave out tools that are no functions
    """
    from edgefc.tools import ToolSet, load_tools
    from edgefc.tools.examples import EXAMPLE_TOOLS

    if path is None:
        return ToolSet.of(EXAMPLE_TOOLS)
    guard_stdout()  # a file may print when it is imported, and a tool when it is called
    return load_tools(path, timeout=timeout or None, omit=omit)


def tool_choice_from(text: str) -> str | dict[str, Any]:
    """Translate `--tool-choice` to OpenAI's form: a mode stays a mode, anything else names a tool."""
    from edgefc.tools.choice import MODES

    return text if text in MODES else {"type": "function", "function": {"name": text}}

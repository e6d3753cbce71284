"""Arguments and options that several commands share, and the values built from them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from edgefc.cli.console import guard_stdout

if TYPE_CHECKING:
    from edgefc.tools import ToolSet

_MODEL = "Id from `edgefc list`, OWNER/NAME, or path of a .gguf file."
_FAMILY = "Chat format. Default: the model's own."

TOOL_TIMEOUT_S = 60.0

ModelArgument = Annotated[str, Argument(help=_MODEL)]
ModelOption = Annotated[str, Option("--model", "-m", help=_MODEL)]
PromptArgument = Annotated[str, Argument(help="The question.")]
StoredNameArgument = Annotated[str, Argument(help="A name from `edgefc list`.")]
ToolsArgument = Annotated[Path | None, Argument(help="A .py or .json file with tools. Default: example tools.")]
ToolsOption = Annotated[
    Path | None, Option(help="Tools: a .py file with functions, or a .json file. Default: example tools.")
]
NoToolsOption = Annotated[bool, Option("--no-tools", help="Do not offer any tools.")]
ToolChoiceOption = Annotated[str, Option("--tool-choice", help="auto, none, required, or the name of a tool.")]
NoParallelOption = Annotated[bool, Option("--no-parallel", help="Allow at most one call per answer.")]
SystemOption = Annotated[str | None, Option(help="System message.")]
RunWithoutAskingOption = Annotated[bool, Option("--yes", "-y", help="Run your tools without asking.")]
ToolTimeoutOption = Annotated[
    float,
    Option("--tool-timeout", min=0, max=86_400, help="Time limit per call of your tools, in seconds; 0 is none."),
]
YesOption = Annotated[bool, Option("--yes", "-y", help="Do not ask for confirmation.")]
FamilyOption = Annotated[str | None, Option(help=_FAMILY)]
ContextOption = Annotated[int | None, Option("--n-ctx", help="Context size in tokens.")]
GpuLayersOption = Annotated[
    int | None, Option("--n-gpu-layers", help="Layers to run on the GPU. Default: all that fit.")
]
TemperatureOption = Annotated[float | None, Option(help="Sampling temperature; 0 is greedy. Default: the family's.")]
SeedOption = Annotated[int | None, Option(help="Random seed, for repeatable sampling.")]
MaxTokensOption = Annotated[int | None, Option("--max-tokens", help="Limit of an answer, in tokens. Default: 2048.")]
MinConfidenceOption = Annotated[
    float | None,
    Option("--min-confidence", min=0, max=1, help="Least probability of a call; one below it is not made."),
]
CallBiasOption = Annotated[
    float | None,
    Option("--call-bias", help="Added to the log odds of a call against text: above 0 more calls, below 0 fewer."),
]
RepeatedCallsOption = Annotated[bool, Option("--repeated-calls", help="Allow equal calls in one answer.")]
TranscriptsOption = Annotated[
    str | None,
    Option("--transcripts", metavar="FILE", help="Append questions and answers to this file, readable only by you."),
]
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
    transcripts: str | None = None

    def keywords(self) -> dict[str, Any]:
        """Return keyword arguments for the options that are not None."""
        return _set_fields(self)


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """Options of `Model.chat` and `Model.run`; None leaves the default."""

    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    parallel_tool_calls: bool | None = None
    min_confidence: float | None = None
    call_bias: float | None = None
    allow_repeated_calls: bool | None = None

    def keywords(self) -> dict[str, Any]:
        """Return keyword arguments for the options that are not None."""
        return _set_fields(self)


def _set_fields(options: LoadOptions | GenerationOptions) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(options).items() if value is not None}


def tools_from(path: Path | None, timeout: float = 0) -> ToolSet:
    """Load the tools of a file; without one, the example tools. Raises ToolError or RequestError.

    timeout  the time limit of a call, in seconds; 0: none
    """
    from edgefc.tools import ToolSet, load_tools
    from edgefc.tools.examples import EXAMPLE_TOOLS

    if path is None:
        return ToolSet.of(EXAMPLE_TOOLS)
    guard_stdout()  # a file may print when it is imported, and a tool when it is called
    return load_tools(path, timeout=timeout or None)


def tool_choice_from(text: str) -> str | dict[str, Any]:
    """Translate `--tool-choice` to OpenAI's form: a mode stays a mode, anything else names a tool."""
    from edgefc.tools.choice import MODES

    return text if text in MODES else {"type": "function", "function": {"name": text}}

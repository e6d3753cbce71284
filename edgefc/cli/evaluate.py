"""`edgefc eval`: how well models call tools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, Option
from typing_extensions import TypedDict

from edgefc.cli.case_runners import RunnerOf, case_runners
from edgefc.cli.choice import default_model
from edgefc.cli.completion import complete_models
from edgefc.cli.console import err, out, print_json, print_table
from edgefc.cli.counting import counting
from edgefc.cli.options import (
    CallBiasOption,
    ContextOption,
    EngineOption,
    GpuLayersOption,
    JsonOption,
    LoadOptions,
    LoraFilesOption,
    MinConfidenceOption,
    ModelOption,
    RayOption,
    ThreadsOption,
    ToolBudgetOption,
)
from edgefc.errors import RequestError, SuiteError
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from edgefc.evaluation.cases import Case
    from edgefc.evaluation.results import EvalRun
    from edgefc.evaluation.run import CaseRunner

LONGEST_OUTPUT = 300  # characters of a question or output that are printed
SHOWING = {"models", "plot", "failures", "markdown", "as_json"}  # parameters that saved runs have a use for

ModelsArgument = Annotated[
    list[str] | None,
    Argument(
        metavar="MODEL",
        help="Ids, OWNER/NAME or paths of .gguf files, or saved runs (.jsonl). Default: the default model.",
        autocompletion=complete_models,
    ),
]
SuiteOption = Annotated[
    str | None,
    Option(help="bfcl, or demo: the demo model's held-out cases. Default: bfcl with --data, else demo."),
]
DataOption = Annotated[Path | None, Option(help="Checkout of BFCL, or a folder with its cases.")]
CategoryOption = Annotated[
    str | None, Option(help="Comma-separated categories; patterns such as live_* work. Default: all.")
]
GrammarOption = Annotated[str, Option(help="on, off, or on,off: with the grammar, without it, or both.")]
ToolChoiceOption = Annotated[
    str,
    Option(help="auto, required, or auto,required. Cases whose right answer calls nothing are asked in auto only."),
]
DistractorsOption = Annotated[int, Option(help="Number of tools of other cases that are added to each case.", min=0)]
LimitOption = Annotated[int | None, Option(help="Number of cases per category, always the same ones.")]
FamiliesOption = Annotated[str | None, Option(help="Comma-separated chat formats. Default: the model's own.")]
AnswerTokensOption = Annotated[int, Option("--max-tokens", help="Maximum number of tokens per answer.")]
ParallelOption = Annotated[int, Option(help="Number of cases to run concurrently.")]
ResumeOption = Annotated[bool, Option("--resume", help="Continue the last run with the same settings.")]
OutOption = Annotated[
    Path | None, Option("--out", help="Folder for results. Default: evaluations in the cache folder.")
]
PlotOption = Annotated[Path | None, Option(help="Draw a chart of the comparison to this .svg file.")]
FailuresOption = Annotated[int, Option(help="Number of wrong answers to show per run.")]
MarkdownOption = Annotated[bool, Option("--markdown", help="Print the table as Markdown.")]


@dataclass(frozen=True, slots=True)
class _Plan:
    """The runs to make with each model: one for each family, grammar mode and tool choice."""

    suite: str
    cases: Sequence[Case]
    families: Sequence[str | None]
    modes: Sequence[tuple[bool, str]]
    call_bias: float | None
    min_confidence: float | None
    distractors: int
    tool_budget: int | None
    max_tokens: int
    load: LoadOptions
    folder: Path
    resume: bool


def evaluate(
    context: Context,
    models: ModelsArgument = None,
    model_option: ModelOption = None,
    suite: SuiteOption = None,
    data: DataOption = None,
    category: CategoryOption = None,
    grammar: GrammarOption = "on",
    tool_choice: ToolChoiceOption = "auto",
    call_bias: CallBiasOption = None,
    min_confidence: MinConfidenceOption = None,
    distractors: DistractorsOption = 0,
    tool_budget: ToolBudgetOption = None,
    limit: LimitOption = None,
    family: FamiliesOption = None,
    max_tokens: AnswerTokensOption = 512,
    parallel: ParallelOption = 4,
    n_ctx: ContextOption = None,
    n_threads: ThreadsOption = None,
    n_gpu_layers: GpuLayersOption = None,
    lora: LoraFilesOption = None,
    engine: EngineOption = None,
    ray: RayOption = None,
    resume: ResumeOption = False,
    folder: OutOption = None,
    plot: PlotOption = None,
    failures: FailuresOption = 3,
    markdown: MarkdownOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how well models call tools, with and without the grammar. After Ctrl-C, --resume continues."""
    from edgefc import paths
    from edgefc.evaluation.results import EvalRun

    sources = models or [model_option or default_model()]
    saved = [EvalRun.read(Path(name)) for name in sources if name.endswith(".jsonl")]
    names = [name for name in sources if not name.endswith(".jsonl")]
    _check(plot, call_bias, min_confidence, None if names else context)
    runs: list[EvalRun] = []
    if names:
        # Every case has other tools: the KV cache of its prompt is not worth saving to disk.
        load = LoadOptions(n_ctx=n_ctx, n_threads=n_threads, n_gpu_layers=n_gpu_layers, n_parallel=parallel,
                           prefix_disk=0, lora=lora, engine=engine)  # fmt: skip
        plan = _Plan(
            **_cases(suite, data, category, limit, distractors),
            families=family.split(",") if family else [None],
            modes=_modes(grammar, tool_choice),
            call_bias=call_bias,
            min_confidence=min_confidence,
            distractors=distractors,
            tool_budget=tool_budget if tool_budget is not None or distractors else 0,  # 0: all tools of a case
            max_tokens=max_tokens,
            load=load,
            folder=folder or paths.cache_dir() / "evaluations",
            resume=resume,
        )
        with case_runners(names, ray, load, parallel) as runner_of:
            for name in names:
                runs.extend(_run_model(name, plan, runner_of))
    _report([*runs, *saved], plot, failures, markdown=markdown, as_json=as_json)


class _Cases(TypedDict):
    suite: str
    cases: Sequence[Case]


def _cases(suite: str | None, data: Path | None, category: str | None, limit: int | None, distractors: int) -> _Cases:
    from edgefc.evaluation.distractors import with_distractors
    from edgefc.evaluation.suites import load_cases

    suite = suite or ("bfcl" if data else "demo")
    cases = load_cases(suite, data, categories=category.split(",") if category else (), limit=limit)
    if distractors:
        cases = with_distractors(suite, cases, load_cases(suite, data), distractors)
    return {"suite": suite, "cases": cases}


def _check(
    plot: Path | None, call_bias: float | None, min_confidence: float | None, only_saved: Context | None
) -> None:
    """Check options before any model is loaded. Raises RequestError.

    only_saved  the command line of a command that shows saved runs alone
    """
    from edgefc.chat.options import guide_settings
    from edgefc.types import ToolChoice

    if plot is not None and plot.suffix != ".svg":
        raise RequestError("plot", f"invalid file name '{plot}': it must end in .svg")
    guide_settings({"call_bias": call_bias, "min_confidence": min_confidence}, ToolChoice("auto", ()))
    if only_saved is not None:
        _check_nothing_else(only_saved)


def _check_nothing_else(context: Context) -> None:
    """Refuse options that say how to ask a model, for only saved runs are shown. Raises RequestError."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name not in SHOWING and source is not None and source.name == "COMMANDLINE":
            reason = "has no use here: saved runs are only shown"
            raise RequestError(option.name or "", reason, f"Omit {option.opts[-1]}, or name a model.")


def _report(runs: Sequence[EvalRun], plot: Path | None, failures: int, *, markdown: bool, as_json: bool) -> None:
    """Draw the chart, if one is wanted, and print the table."""
    from edgefc.evaluation import report

    _write_plot(plot, runs)
    if as_json:
        print_json({"runs": [report.as_data(run) for run in runs]})
    else:
        _print_report(runs, failures, markdown=markdown)


def _modes(grammar: str, tool_choice: str) -> list[tuple[bool, str]]:
    """Return the combinations to run, grammar or not and the tool choice. Raises RequestError."""
    grammars = _words("grammar", grammar, ("on", "off"))
    choices = _words("tool_choice", tool_choice, ("auto", "required"))
    if "off" in grammars and "required" in choices:
        if (grammars, choices) == (["off"], ["required"]):
            raise RequestError("tool_choice", "without the grammar nothing requires a call", "Use --tool-choice auto.")
        err.print("without the grammar nothing requires a call: --grammar off runs in auto only", markup=False)
    return [(mode == "on", choice) for mode in grammars for choice in choices if mode == "on" or choice == "auto"]


def _words(option: str, text: str, allowed: Sequence[str]) -> list[str]:
    """Split a list at its commas. Raises RequestError for a word that is not allowed."""
    words = [word.strip() for word in text.split(",")]
    if unknown := [word for word in words if word not in allowed]:
        one, other = allowed
        raise RequestError(option, f"invalid value {unknown[0]!r}", f"Use {one}, {other}, or {one},{other}.")
    return list(dict.fromkeys(words))


def _run_model(name: str, plan: _Plan, runner_of: RunnerOf) -> Iterator[EvalRun]:
    from edgefc.evaluation.run import open_run
    from edgefc.evaluation.suites import cases_for

    for family in plan.families:
        with runner_of(name, replace(plan.load, family=family)) as runner:
            for grammar, choice in plan.modes:
                setting = runner.setting(
                    plan.suite,
                    grammar=grammar,
                    max_tokens=plan.max_tokens,
                    tool_choice=choice,
                    call_bias=plan.call_bias,
                    min_confidence=plan.min_confidence,
                    tool_budget=plan.tool_budget,
                    distractors=plan.distractors,
                )
                cases = cases_for(plan.suite, plan.cases, choice)
                if len(cases) < len(plan.cases):
                    left_out = (
                        f"{choice}: left out {len(plan.cases) - len(cases)} cases whose right answer calls nothing"
                    )
                    err.print(left_out, markup=False)
                run = open_run(plan.folder, setting, resume=plan.resume)
                _ask_cases(runner, cases, run)
                yield run


def _ask_cases(runner: CaseRunner, cases: Sequence[Case], run: EvalRun) -> None:
    """Ask the remaining cases."""
    from edgefc.evaluation import report
    from edgefc.evaluation.run import evaluate_with

    def kept_in() -> str:
        return f"{len(run.results)} of {len(cases)} results are in {run.path}"

    with counting(f"{run.setting.name}, {run.setting.tool_choice}", kept_in) as count:
        for _ in evaluate_with(runner, cases, run):
            rate = report.rates(run.results.values())[report.ALL]
            count(rate.cases, len(cases), f"{rate.share:.0%} right")


def _write_plot(path: Path | None, runs: Sequence[EvalRun]) -> None:
    from edgefc.evaluation.plot import svg

    if path is None:
        return
    try:
        path.write_text(svg(runs), encoding="utf-8")
    except OSError as error:
        raise SuiteError(f"{path}: {error.strerror}") from None


def _print_report(runs: Sequence[EvalRun], failures: int, *, markdown: bool) -> None:
    from edgefc.evaluation import report

    rows = report.comparison(runs)
    if markdown:
        out.print(report.markdown(rows), markup=False)
        return
    print_table(rows)
    for label, run in zip(report.labels(runs), runs, strict=True):
        wrong = [result for result in run.results.values() if not result.right]
        kinds = ", ".join(f"{kind} {count}" for kind, count in report.mistake_kinds(run))
        out.print(f"\n{label}: {len(wrong)} wrong{f' ({kinds})' if wrong else ''}", markup=False)
        for result in wrong[:failures]:
            out.print(f"  {_shorten(f'{result.id}: {result.reason}')}", markup=False)
            out.print(f"    question  {_shorten(result.question)}", markup=False)
            out.print(f"    output    {_shorten(result.output)}", markup=False)
        out.print(f"  all results, with the exact prompts of wrong answers: {run.path}", markup=False)


def _shorten(text: str) -> str:
    line = single_line(" ".join(text.split()))
    return line if len(line) <= LONGEST_OUTPUT else f"{line[:LONGEST_OUTPUT]}… ({len(line):,} characters)"

"""Reports on tools, without loading a model: mistakes, costs, and keywords that no grammar enforces."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from typing_extensions import TypedDict

from edgefc.errors import EdgefcError, FieldPath, LocatedError, format_path
from edgefc.grammar import Finding, compile_calls
from edgefc.tools import ToolSet
from edgefc.types import OnUnsupported, Tool

Level = Literal["error", "warning"]


class Problem(TypedDict):
    """A finding: an error means that the tool is refused, a warning costs quality or a guarantee."""

    level: Level
    path: str
    message: str


@dataclass
class ToolReport:
    """Report on one tool.

    grammar_bytes   size of its GBNF alone; None: the tool is refused
    compile_ms      milliseconds to compile it alone
    prompt_tokens   tokens that it adds to a prompt; None: no model was named
    unenforced      keywords that are only checked after decoding
    changes         parts of the schema that are read differently than written
    """

    name: str
    grammar_bytes: int | None = None
    compile_ms: float | None = None
    prompt_tokens: int | None = None
    unenforced: list[Problem] = field(default_factory=list)
    changes: list[Problem] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_refused(self) -> bool:
        return any(problem["level"] == "error" for problem in self.problems)

    @property
    def is_clean(self) -> bool:
        return not (self.problems or self.unenforced)


def lint_tools(
    tools: Sequence[Any],
    count: Callable[[ToolSet], int] | None = None,
    *,
    on_unsupported: OnUnsupported = "refuse",
) -> list[ToolReport]:
    """Report on each tool; no mistake in a tool raises.

    count           returns the tokens of a prompt with these tools, as `inspection.prompt_counter` does
    on_unsupported  as in ChatOptions: with "check", patterns that no grammar has are unenforced instead of errors
    """
    check = on_unsupported == "check"
    reports = [_report(number, tool, check_patterns=check) for number, tool in enumerate(tools)]
    _compare_names(reports)
    if count is not None:
        accepted = [number for number, report in enumerate(reports) if not report.is_refused]
        whole = count(ToolSet.of([tools[number] for number in accepted]))
        for number in accepted:
            others = ToolSet.of([tools[other] for other in accepted if other != number])
            reports[number].prompt_tokens = whole - count(others)
    return reports


def _report(number: int, tool: Any, *, check_patterns: bool) -> ToolReport:
    report = ToolReport(_name_of(tool))
    try:
        toolset = ToolSet.of([tool]).as_functions()  # a bare function is not a finding
        started = time.perf_counter()
        compiled = compile_calls(toolset, check_patterns=check_patterns)
        report.compile_ms = (time.perf_counter() - started) * 1000
        report.grammar_bytes = len(compiled.gbnf.encode())
    except LocatedError as error:
        report.problems.append({"level": "error", "path": _path(number, error.path), "message": _message(error)})
        return report
    except EdgefcError as error:
        report.problems.append({"level": "error", "path": _path(number, ()), "message": _message(error)})
        return report
    report.unenforced = [_problem(number, finding) for finding in compiled.unenforced]
    adjusted = [finding for finding in compiled.changes if finding not in compiled.unsatisfiable]
    report.changes = [_problem(number, finding) for finding in adjusted]
    ignored = [Finding(path, reason) for path, reason in toolset.warnings]
    report.problems += [_problem(number, finding) for finding in (*compiled.unsatisfiable, *ignored)]
    report.problems += _missing_descriptions(number, toolset[0])
    return report


def _path(number: int, path: FieldPath) -> str:
    """Format a path inside a list of one tool as one inside all tools."""
    return format_path(("tools", number, *path[2:]))


def _name_of(tool: Any) -> str:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else getattr(tool, "name", None)
    if name is None and callable(tool):
        name = getattr(tool, "__name__", None)
    return name if isinstance(name, str) else "?"


def _message(error: EdgefcError) -> str:
    return f"{error.reason}. {error.hint}" if error.hint else error.reason


def _problem(number: int, finding: Finding) -> Problem:
    return {"level": "warning", "path": _path(number, finding.path), "message": finding.reason}


def _missing_descriptions(number: int, tool: Tool) -> list[Problem]:
    function = tool["function"]
    paths: list[FieldPath] = [] if function.get("description", "").strip() else [()]
    properties = function.get("parameters", {}).get("properties")
    for name, schema in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(schema, Mapping) and not str(schema.get("description", "")).strip():
            paths.append(("parameters", "properties", name))
    return [
        {"level": "warning", "path": format_path(("tools", number, "function", *path)), "message": "no description"}
        for path in paths
    ]


def _compare_names(reports: list[ToolReport]) -> None:
    """Add an error for a repeated name, and a warning for names that a small model may confuse."""
    seen: dict[str, tuple[int, str]] = {}
    for number, report in enumerate(reports):
        plain = report.name.replace("-", "").replace("_", "").lower()
        path = f"tools[{number}].function.name"
        if plain in seen and report.name != "?":
            other, name = seen[plain]
            is_same = name == report.name
            message = f"{'duplicates' if is_same else 'nearly duplicates'} the name of tools[{other}], {name!r}"
            report.problems.append({"level": "error" if is_same else "warning", "path": path, "message": message})
        seen.setdefault(plain, (number, report.name))

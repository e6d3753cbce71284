"""`edgefc lint`: what a set of tools costs, and what of it a grammar does not enforce, before any model is loaded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from typing_extensions import TypedDict

from edgefc.errors import EdgefcError, SchemaError, format_path
from edgefc.grammar import Finding, compile_calls
from edgefc.tools import check_tools
from edgefc.types import Tool

Level = Literal["error", "warning"]


class Problem(TypedDict):
    """Something to mend: an error refuses the tool, a warning costs quality or a guarantee."""

    level: Level
    path: str
    message: str


@dataclass
class ToolReport:
    """One tool.

    grammar_bytes   its GBNF alone; None: it is refused
    compile_ms      milliseconds to compile it alone
    prompt_tokens   what it adds to a prompt; None: no model was given
    unenforced      keywords that are checked after decoding only
    changes         what is read otherwise than it is written
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


def lint_tools(tools: Sequence[Any], count: Callable[[list[Tool]], int] | None = None) -> list[ToolReport]:
    """A report for each tool; nothing that is wrong with them raises.

    count  the tokens of a prompt with some tools, as `prompt_counter` makes it
    """
    reports = [_report(number, tool) for number, tool in enumerate(tools)]
    _compare_names(reports)
    if count is not None:
        sound = [number for number, report in enumerate(reports) if not report.is_refused]
        every = check_tools([tools[number] for number in sound])
        whole = count(every)
        for place, number in enumerate(sound):
            reports[number].prompt_tokens = whole - count(every[:place] + every[place + 1 :])
    return reports


def _report(number: int, tool: Any) -> ToolReport:
    report = ToolReport(_name(tool))
    try:
        checked = check_tools([tool])[0]
        started = time.perf_counter()
        compiled = compile_calls([checked])
        report.compile_ms = (time.perf_counter() - started) * 1000
        report.grammar_bytes = len(compiled.gbnf.encode())
    except SchemaError as error:
        path = format_path((*(("tools", number) if error.path[:1] == ("tools",) else ()), *error.path[2:]))
        report.problems.append({"level": "error", "path": path, "message": _said(error)})
        return report
    except EdgefcError as error:
        text = _said(error).replace("tools[0]", f"tools[{number}]")
        report.problems.append({"level": "error", "path": f"tools[{number}]", "message": text})
        return report
    report.unenforced = [_problem(number, finding) for finding in compiled.unenforced]
    report.changes = [_problem(number, finding) for finding in compiled.changes]
    report.problems += _missing_descriptions(number, checked)
    return report


def _name(tool: Any) -> str:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else "?"


def _said(error: EdgefcError) -> str:
    return f"{error.reason}. {error.hint}" if error.hint else error.reason


def _problem(number: int, finding: Finding) -> Problem:
    return {"level": "warning", "path": format_path(("tools", number, *finding.path[2:])), "message": finding.reason}


def _missing_descriptions(number: int, tool: Tool) -> list[Problem]:
    function = tool["function"]
    places: list[tuple[str | int, ...]] = [] if function.get("description", "").strip() else [()]
    properties = function.get("parameters", {}).get("properties")
    for name, schema in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(schema, Mapping) and not str(schema.get("description", "")).strip():
            places.append(("parameters", "properties", name))
    return [
        {"level": "warning", "path": format_path(("tools", number, "function", *place)), "message": "no description"}
        for place in places
    ]


def _compare_names(reports: list[ToolReport]) -> None:
    """The same name twice is an error; names that a small model takes for one another are a warning."""
    seen: dict[str, tuple[int, str]] = {}
    for number, report in enumerate(reports):
        plain = report.name.replace("-", "").replace("_", "").lower()
        path = f"tools[{number}].function.name"
        if plain in seen and report.name != "?":
            other, name = seen[plain]
            same = name == report.name
            message = f"{report.name!r} is {'also' if same else 'nearly'} the name of tools[{other}]"
            report.problems.append({"level": "error" if same else "warning", "path": path, "message": message})
        seen.setdefault(plain, (number, report.name))

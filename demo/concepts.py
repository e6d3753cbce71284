"""Hand-written tools, read from `data/tools/*.toml` and checked.

A concept is a tool with many names, descriptions and requests; each conversation shows it with some of them.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

DATA = Path(__file__).parent / "data"
# Neighbours in this order are often drawn together: they are of the same field.
DOMAINS = (
    "everyday", "examples", "household", "learning", "media", "office", "systems", "world", "zoo",
    "computers", "health", "home", "leisure", "money", "science", "travel", "work",
    "assistant", "business", "city", "functions", "hobbies", "lookups", "people", "trades",
)  # fmt: skip


@dataclass(eq=False)
class Param:
    """A parameter of a concept; `value`, `values` or `enum` is the source of its values.

    names      its name in slots, then other names that a schema may use
    type       JSON type
    value      name of a generator, which is a method of `Values`
    values     values to draw from
    enum       values of the schema's enum, each with the words for it
    about      descriptions
    ask        questions for it when it is missing
    say_true   words for true, if it is a boolean
    say_false  words for false
    """

    names: list[str]
    type: str
    value: str = ""
    values: list[Any] = field(default_factory=list)
    enum: dict[str, str] = field(default_factory=dict)
    required: bool = False
    about: list[str] = field(default_factory=list)
    ask: list[str] = field(default_factory=list)
    say_true: str = ""
    say_false: str = ""

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass(eq=False)
class Concept:
    """A tool with its names, wordings and parameters. Compared by identity.

    names      usual name first
    about      descriptions
    requests   sentences of users, with `{parameter}` slots
    answers    sentences about a result, with slots for parameters and fields of the result
    result     field → kind of value, or "=parameter|default" for the value of a parameter
    held_back  only for evaluation, never in training
    """

    names: list[str]
    about: list[str]
    requests: list[str]
    params: list[Param] = field(default_factory=list)
    result: dict[str, str] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    held_back: bool = False

    @property
    def name(self) -> str:
        return self.names[0]


class DataError(ValueError):
    """A malformed data file; the message begins with file and line."""


class _ToolError(ValueError):
    """An error in one tool, with the text that marks its line."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason)
        self.text = text


def load_bank(folder: Path = DATA / "tools", domains: tuple[str, ...] = DOMAINS) -> dict[str, list[Concept]]:
    """All hand-written tools by domain, in order. Raises DataError at the first error."""
    for path in sorted(folder.glob("*.toml")):
        if path.stem not in domains:
            raise DataError(f"{path}:1: unknown domain {path.stem!r}; append it to DOMAINS in demo/concepts.py")
    origins: dict[str, str] = {}  # name → file and line of its tool
    return {domain: _load(folder / f"{domain}.toml", origins) for domain in domains}


def _load(path: Path, origins: dict[str, str]) -> list[Concept]:
    text = path.read_text(encoding="utf-8")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path}: {error}") from None  # the parser's message has line and column
    if unknown := tables.keys() - {"tool"}:
        raise DataError(f"{path}:1: unknown key {min(unknown)!r}; a file consists of [[tool]] tables")
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.strip() == "[[tool]]"]
    concepts = []
    for table, start, end in zip(tables.get("tool", ()), starts, [*starts[1:], len(lines)], strict=True):
        try:
            concept = _concept(table)
            for name in concept.names:
                if name in origins:
                    raise _ToolError(f"duplicate name {name!r}, first used at {origins[name]}", f'"{name}"')
                origins[name] = f"{path.name}:{start + 1}"
        except _ToolError as error:
            marked = (number for number in range(start, end) if error.text in lines[number])
            raise DataError(f"{path}:{next(marked, start) + 1}: {error}") from None
        concepts.append(concept)
    return concepts


def _concept(table: dict[str, Any]) -> Concept:
    params = [_param(param) for param in table.get("params", ())]
    concept = Concept(**_checked(Concept, {**table, "params": params}))
    names = [param.name for param in params]
    for name in names:
        if names.count(name) > 1:
            raise _ToolError(f"duplicate parameter {name!r}", f'["{name}"')
    for texts, slots in ((concept.requests, names), (concept.answers, [*names, *concept.result])):
        for text in texts:
            for slot in re.findall(r"{(\w+)}", text):
                if slot not in slots:
                    raise _ToolError(f"slot {slot!r} without a parameter in {text!r}", text)
    return concept


def _param(table: dict[str, Any]) -> Param:
    if isinstance(values := table.get("enum"), list):  # each value is the words for itself
        table = {**table, "enum": dict(zip(values, values, strict=True))}
    return Param(**_checked(Param, table))


def _checked(kind: type, table: dict[str, Any]) -> dict[str, Any]:
    """The table, if its keys and the types of their values are those of the dataclass."""
    hints = get_type_hints(kind)
    for key, value in table.items():
        if key not in hints:
            raise _ToolError(f"unknown key {key!r}", f"{key} =")
        arguments = get_args(hints[key])
        valid = isinstance(value, get_origin(hints[key]) or hints[key])
        if not valid or (arguments[:1] == (str,) and not all(isinstance(item, str) for item in value)):
            raise _ToolError(f"{key} must be of type {kind.__annotations__[key]}", f"{key} =")
    if table.get("names") == []:
        raise _ToolError("names must not be empty", "names =")
    for each in fields(kind):
        if each.name not in table and each.default is MISSING and each.default_factory is MISSING:
            raise _ToolError(f"missing key {each.name!r}", "[[tool")
    return table

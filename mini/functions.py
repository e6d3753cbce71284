"""Hand-written functions of `data/functions/*.toml`, and the tools of demo/ in the same form.

A `Function` is a tool with several names, descriptions and wordings of requests; a conversation shows it with some of
them. Parameters are lines of a short notation, described in mini/data/README.md:

    length = "num! 1..20/.5 | Length of the beam in metres | a length of {} m | How long is the beam?"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from demo import concepts, procedural
from demo import tools as demo_tools
from mini import values
from mini.values import Drawn, Values, plain

DATA = Path(__file__).parent / "data"
JSON_TYPES = {
    "int": "integer", "num": "number", "str": "string", "enum": "string", "bool": "boolean", "ints": "array",
    "nums": "array", "strs": "array", "enums": "array", "obj": "object", "objs": "array",
}  # fmt: skip
_HEAD = re.compile(r"(\w+)(!?)(?:\s+(.*?))?(?:\s*=\s*(\S.*))?$")
_RANGE = re.compile(r"(-?[\d.]+)\.\.(-?[\d.]+?)(?:/([\d.]+))?$")


class FunctionError(ValueError):
    """A malformed function in a data file."""


@dataclass(eq=False)
class Param:
    """A parameter.

    draw       a value and the words for it
    schema     JSON Schema without description
    about      descriptions
    say        noun phrase or prepositional phrase with `{}` for the words, "" if there is none
    hints      formats of the value, one of which the description has to tell
    default    the default, told in the description or the schema; None if there is none
    parts      parameters of an object, or of the objects of an array
    """

    name: str
    names: list[str]
    schema: dict[str, Any]
    draw: Callable[[Values], Drawn]
    required: bool = False
    about: list[str] = field(default_factory=list)
    say: str = ""
    ask: str = ""
    hints: tuple[str, ...] = ()
    default: Any = None
    parts: list[Param] = field(default_factory=list)

    @property
    def type(self) -> str:
        return str(self.schema["type"])

    @property
    def slot(self) -> str:
        return "{" + self.name + "}"


@dataclass(eq=False)
class Function:
    """A function; compared by identity.

    do        what it does, as an imperative phrase without values; "" if there is none
    requests  sentences with `{parameter}` slots and `[optional segments]`
    result    field → source of its value
    answers   sentences about a result, with slots for parameters and fields
    aspects   questions about one field of the result, each with its answer
    family    functions of one family differ in little
    echoes    field of the result → the parameter that it repeats, and the value where that is left out
    origin    "hand" for data/functions, "demo" for demo/data/tools, "made_up" for its made-up tools
    """

    names: list[str]
    about: list[str]
    requests: list[str]
    params: list[Param]
    do: str = ""
    result: dict[str, Callable[[Values], Any]] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    aspects: list[tuple[str, str]] = field(default_factory=list)
    family: str = ""
    origin: str = "hand"
    held_back: bool = False
    echoes: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def required(self) -> list[Param]:
        return [param for param in self.params if param.required]


def slots(text: str) -> list[str]:
    """Names in braces."""
    return re.findall(r"{([\w.]+)}", text)


def bases(text: str) -> list[str]:
    """Parameters that a text mentions, by a slot of their own or of one of their parts."""
    return list(dict.fromkeys(slot.partition(".")[0] for slot in slots(text)))


def parts_of(text: str, name: str) -> list[str]:
    """Parts of an object that have a slot in a text: `{point.x}`."""
    return [slot.partition(".")[2] for slot in slots(text) if slot.startswith(name + ".")]


# -- the notation of parameters
def parse_param(name: str, line: str, parts: dict[str, str]) -> Param:
    """Read a parameter's line; `parts` are the lines of an object's own parameters."""
    head, *texts = [text.strip() for text in line.split("|")]
    about, say, ask = [*texts, "", "", ""][:3]
    match = _HEAD.match(head)
    if match is None or match[1] not in JSON_TYPES:
        raise FunctionError(f"parameter {name!r}: unknown type in {head!r}")
    kind, mark, source, default = match[1], match[2], match[3] or "", match[4]
    schema: dict[str, Any] = {"type": JSON_TYPES[kind]}
    inner = [parse_param(key, text, {}) for key, text in parts.items()]
    if kind == "objs":  # all parts that an item is said with
        for part in inner:
            part.required = part.slot in say
    draw, more = _source(kind, source, say, inner)
    schema |= more
    hints = values.HINTS.get(source.removeprefix("~"), ()) if source.startswith("~") else ()
    if kind in {"bool", "objs"}:
        say = "{}"
    parsed = _literal(kind, default) if default is not None else None
    names = [name]
    if "," in name:
        names = [part.strip() for part in name.split(",")]
    return Param(names[0], names, schema, draw, mark == "!", [about] if about else [], say, ask, hints, parsed, inner)


def _literal(kind: str, text: str) -> Any:
    if kind == "bool":
        return text == "true"
    if kind == "int":
        return int(text)
    return plain(float(text)) if kind == "num" else text


def _source(kind: str, source: str, say: str, inner: list[Param]) -> tuple[Callable[[Values], Drawn], dict[str, Any]]:
    """The generator of a parameter's values, and what it adds to the schema."""
    if kind == "bool":
        yes, _, no = (text.strip() for text in say.partition(" / "))
        return (lambda v: v.flag(yes, no)), {}
    if kind == "obj":
        return (lambda v: _object(v, inner)), {}
    if kind in {"ints", "nums", "strs", "enums", "objs"}:
        count, _, item = source.partition(" x ")
        low, high = (int(text) for text in count.split(".."))
        if kind == "objs":
            return (lambda v: _objects(v, inner, say, low, high)), {}
        single = {"ints": "int", "nums": "num", "strs": "str", "enums": "enum"}[kind]
        draw, more = _source(single, item, "", [])
        return (lambda v: v.listed(_several(v, draw, v.rng.randint(low, high), single))), {
            "items": {"type": JSON_TYPES[single], **more}
        }
    if kind == "enum":
        words = dict(_pair(text) for text in source.split(";"))
        return (lambda v: _said(v, words)), {"enum": list(words)}
    if match := _RANGE.match(source):
        least, most, step = float(match[1]), float(match[2]), float(match[3] or (1 if kind == "int" else 0.1))
        return (lambda v: v.in_range(least, most, step)), {}
    if source.startswith("@"):
        return (lambda v: v.listed_value(source[1:])), {}
    if source.startswith("~"):
        return (lambda v: v.drawn(source[1:])), {}
    if not source:
        raise FunctionError(f"no source of values in {kind!r}")
    if kind == "str" and ": " in source:
        words = dict(_pair(text) for text in source.split(";"))
        return (lambda v: _said(v, words)), {}
    choices = [_literal(kind, text.strip()) for text in source.split(";")]
    return (lambda v: v.choice(choices)), {}


def _several(v: Values, draw: Callable[[Values], Drawn], count: int, kind: str) -> list[Drawn]:
    """Values of a list; texts are different from each other."""
    drawn: list[Drawn] = []
    for _ in range(5 * count):
        one = draw(v)
        if len(drawn) < count and (kind in {"int", "num"} or all(one.value != other.value for other in drawn)):
            drawn.append(one)
    return drawn


def _pair(text: str) -> tuple[str, str]:
    value, _, words = (part.strip() for part in text.partition(":"))
    return value, words or value.replace("_", " ")


def _said(v: Values, words: dict[str, str]) -> Drawn:
    """One of these values, in one of its wordings, which stand between slashes."""
    value = v.rng.choice(list(words))
    return Drawn(value, v.rng.choice(words[value].split(" / ")))


def _object(v: Values, inner: list[Param]) -> Drawn:
    drawn = {part.name: part.draw(v) for part in inner if part.required or v.rng.random() < 0.3}
    phrases = [part.say.replace("{}", drawn[part.name].words) for part in inner if part.name in drawn]
    return Drawn({name: one.value for name, one in drawn.items()}, values.in_words(phrases, "and"))


def _objects(v: Values, inner: list[Param], say: str, low: int, high: int) -> Drawn:
    items, phrases = [], []
    for _ in range(v.rng.randint(low, high)):
        drawn = {part.name: part.draw(v) for part in inner}
        text = say
        for name, one in drawn.items():
            text = text.replace("{" + name + "}", one.words)
        items.append({name: one.value for name, one in drawn.items() if "{" + name + "}" in say})
        phrases.append(text)
    return Drawn(items, values.in_words(phrases, "and"))


# -- files
def read(folder: Path) -> Iterator[Function]:
    """Functions of all files of a folder. Raises FunctionError for a malformed one."""
    for path in sorted(folder.glob("*.toml")):
        for table in tomllib.loads(path.read_text(encoding="utf-8"))["function"]:
            try:
                yield _function(table)
            except (FunctionError, KeyError, TypeError, ValueError) as error:
                raise FunctionError(f"{path.name}: {table.get('name')}: {error!r}") from error


def _function(table: dict[str, Any]) -> Function:
    lines: dict[str, str] = table.get("params", {})
    params = []
    for name, line in lines.items():
        if "." in name:
            continue
        first = name.partition(",")[0]
        parts = {key.partition(".")[2]: text for key, text in lines.items() if key.startswith(first + ".")}
        params.append(parse_param(name, line, parts))
    names = table["name"] if isinstance(table["name"], list) else [table["name"]]
    family = str(table.get("family", names[0]))
    function = Function(
        names, table["about"], table.get("requests", []), params, table.get("do", ""),
        {key: result_source(source) for key, source in table.get("result", {}).items()},
        table.get("answers", []), [tuple(pair) for pair in table.get("aspects", [])], family,
        held_back=table.get("held_back", False),
    )  # fmt: skip
    _check(function)
    return function


def _check(function: Function) -> None:
    known = {param.name for param in function.params}
    known |= {f"{param.name}.{part.name}" for param in function.params for part in param.parts}
    fields_ = known | function.result.keys()
    for text, names in (
        *((text, known) for text in function.requests),
        *((text, known) for text, _ in function.aspects),
        *((text, fields_) for text in function.answers),
        *((text, fields_) for _, text in function.aspects),
    ):
        for slot in slots(text):
            if slot not in names:
                raise FunctionError(f"slot {slot!r} without a parameter or field in {text!r}")
    required = {param.name for param in function.required}
    if not function.do and not any(required <= set(bases(text)) for text in function.requests):
        raise FunctionError("no request has all required parameters")


def result_source(source: str) -> Callable[[Values], Any]:
    """The generator of a field of a result, in the notation of parameters: `num 1..20`, `str @cities`."""
    kind, _, rest = source.partition(" ")
    draw, _ = _source(kind, rest, "", [])
    return lambda v: draw(v).value


# -- tools of demo/
def from_concept(concept: concepts.Concept, family: str, origin: str) -> Function:
    """A tool of demo/ as a function."""
    return Function(
        concept.names, concept.about, concept.requests, [_from_param(param) for param in concept.params],
        result={key: _demo_result(kind) for key, kind in concept.result.items() if not kind.startswith("=")},
        echoes={key: _echo(kind[1:]) for key, kind in concept.result.items() if kind.startswith("=")},
        answers=concept.answers, family=family, origin=origin, held_back=concept.held_back,
    )  # fmt: skip


def _from_param(param: concepts.Param) -> Param:
    schema: dict[str, Any] = {"type": param.type}
    if param.type == "array":
        schema["items"] = {"type": "string"}
    if param.enum:
        schema["enum"] = list(param.enum)
    return Param(
        param.name, param.names, schema, lambda v: v.for_demo(param), param.required, param.about, "",
        param.ask[0] if param.ask else "",
    )  # fmt: skip


def _demo_result(kind: str) -> Callable[[Values], Any]:
    return lambda v: v.draw(kind)


def _echo(source: str) -> tuple[str, str]:
    name, _, otherwise = source.partition("|")
    return name, otherwise


def made_up(v: Values, *, thing: str | None = None) -> Function:
    """A made-up tool of demo/."""
    concept = procedural.concept(v.rng, held_back=v.held_back, thing=thing)
    return from_concept(concept, "", "made_up")


HAND = list(read(DATA / "functions"))
DEMO = [
    from_concept(concept, f"demo.{domain}", "demo")
    for domain, bank in demo_tools.BANK.items()
    for concept in bank
]  # fmt: skip


def without(function: Function, hidden: set[str]) -> Function:
    """The function without some of its optional parameters, and without the requests that mention them."""
    return replace(
        function,
        params=[param for param in function.params if param.name not in hidden],
        requests=[text for text in function.requests if not hidden & set(bases(re.sub(r"\[.*?\]", "", text)))],
    )

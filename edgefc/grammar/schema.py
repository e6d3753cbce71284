"""JSON Schema → rules, the first slice: what cannot be enforced exactly is refused with its path.

The language of a compiled schema is a subset of the schema's: one spelling of white space, properties in the
schema's order, no properties that are not declared. Everything it accepts is valid.

Keywords follow draft 2020-12 (https://json-schema.org/draft/2020-12/schema), plus the type names that models
and data sets use (`str`, `dict`, `float` …) and OpenAPI's `nullable`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgefc.errors import SchemaError, SchemaPath
from edgefc.grammar import numbers, strings
from edgefc.grammar.rules import (
    EMPTY,
    Literal,
    Node,
    Ref,
    Repeat,
    Rules,
    Token,
    choice,
    optional,
    sequence,
    token,
)

MAX_DEPTH = 64
MAX_NODES = 20_000
MAX_ENUM = 50_000
DEADLINE_S = 0.25

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
DIALECT_TYPES = dict(
    pair.split(":")
    for pair in "str:string text:string int:integer long:integer float:number double:number bool:boolean list:array "
    "tuple:array set:array dict:object map:object none:null any:any".split()
)
ANNOTATIONS = frozenset(
    "title description default examples example deprecated readOnly writeOnly strict format $comment $schema $id "
    "$defs definitions $anchor contentMediaType contentEncoding".split()
)
OBJECT = {"properties", "required", "additionalProperties"}
ARRAY = {"items", "prefixItems", "minItems", "maxItems"}
STRING = {"minLength", "maxLength"}
NUMBER = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
GENERAL = {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "nullable"}
SUPPORTED = GENERAL | OBJECT | ARRAY | STRING | NUMBER
HINTS = {
    "pattern": "Drop it, or list the values with enum.",
    "uniqueItems": "Drop it; check the call's arguments yourself.",
    "multipleOf": "Drop it, or list the values with enum.",
}


@dataclass
class SchemaCompiler:
    """Compiles schemas of one document into shared rules.

    root    the document that `$ref` points into
    rules   where rules are added
    prefix  begins the name of every rule added
    spaced  `", "` and `": "` as json.dumps writes by default, else no spaces
    """

    root: Any
    rules: Rules
    prefix: str
    spaced: bool = True
    _refs: dict[str, str] = field(default_factory=dict)
    # References being resolved without any character matched in between: meeting one again is an endless loop.
    _open: list[str] = field(default_factory=list)
    _nodes: int = 0
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.comma = token(", " if self.spaced else ",")
        self.colon = token(": " if self.spaced else ":")

    def compile(self, schema: Any, path: SchemaPath, depth: int = 0) -> Node:
        """The node of one schema. Raises SchemaError with the path inside the document."""
        self._count(path, depth)
        if schema is True or schema == {}:
            return self.any_value()
        if schema is False:
            raise SchemaError(path, "no value can satisfy the schema false")
        if not isinstance(schema, Mapping):
            raise SchemaError(path, f"a schema is an object, true or false, not {_kind(schema)}")
        for keyword in schema:
            if keyword not in SUPPORTED and keyword not in ANNOTATIONS and not str(keyword).startswith("x-"):
                raise SchemaError(
                    (*path, str(keyword)), f"{keyword!r} cannot be enforced", HINTS.get(keyword, "Drop it.")
                )
        if schema.get("nullable") is True:
            without = {k: v for k, v in schema.items() if k != "nullable"}
            return choice(self.compile(without, path, depth + 1), token("null"))
        if "$ref" in schema:
            return self._reference(schema, path, depth)
        for keyword, combine in (("allOf", self._all_of), ("anyOf", self._any_of), ("oneOf", self._one_of)):
            if keyword in schema:
                return combine(schema, path, depth)
        if "const" in schema or "enum" in schema:
            return self._values(schema, path)
        return choice(*(self._typed(kind, schema, path, depth) for kind in _types(schema, path)))

    def any_value(self) -> Node:
        """Any JSON value; nested to any depth."""
        if "json-value" not in self.rules:
            self.rules["json-value"] = EMPTY  # a place in the order
            text, value = strings.string(0, None), Ref("json-value")
            pair = sequence(Token(text), self.colon, value)
            self.rules["json-object"] = _braces("{", _list(pair, self.comma, 0, None), "}")
            self.rules["json-array"] = _braces("[", _list(value, self.comma, 0, None), "]")
            self.rules["json-value"] = choice(
                Ref("json-object"),
                Ref("json-array"),
                Token(text),
                Token(numbers.number()),
                *map(token, _WORDS),
            )
        return Ref("json-value")

    def constant(self, value: Any) -> Node:
        """Exactly this JSON value. Objects and arrays are cut into the same tokens as free ones."""
        if isinstance(value, Mapping):
            pairs = [sequence(self._key(str(name)), self.constant(item)) for name, item in value.items()]
            return _braces("{", self._joined(pairs), "}")
        if isinstance(value, list):
            return _braces("[", self._joined([self.constant(item) for item in value]), "]")
        return token(_dump(value))

    # -- keywords -----------------------------------------------------------------------------------------

    def _values(self, schema: Mapping[str, Any], path: SchemaPath) -> Node:
        keyword = "const" if "const" in schema else "enum"
        values = [schema["const"]] if keyword == "const" else schema["enum"]
        if not isinstance(values, list) or not values:
            raise SchemaError((*path, keyword), "enum must be an array with at least one value")
        if len(values) > MAX_ENUM:
            raise SchemaError((*path, keyword), f"{len(values)} values; at most {MAX_ENUM} are allowed")
        if "const" in schema and "enum" in schema and not _contains(schema["enum"], schema["const"]):
            raise SchemaError(path, "const is none of the values of enum, so nothing can satisfy both")
        if others := schema.keys() & (ARRAY | OBJECT | STRING | NUMBER):
            raise SchemaError((*path, min(others)), f"cannot be enforced beside {keyword}", "Drop it.")
        kinds = _types(schema, path)
        fitting = [value for value in values if any(_is(value, kind) for kind in kinds)]
        if not fitting:
            raise SchemaError((*path, keyword), f"no value is of type {' or '.join(kinds)}")
        plain = [Literal(_dump(value)) for value in fitting if not isinstance(value, Mapping | list)]
        nested = [self.constant(value) for value in fitting if isinstance(value, Mapping | list)]
        return choice(*([Token(choice(*plain))] if plain else []), *nested)

    def _typed(self, kind: str, schema: Mapping[str, Any], path: SchemaPath, depth: int) -> Node:
        if kind == "object":
            return self._object(schema, path, depth)
        if kind == "array":
            return self._array(schema, path, depth)
        if kind == "string":
            low, high = _size(schema, path, "minLength", "maxLength")
            return Token(strings.string(low, high))
        if kind == "integer":
            return Token(numbers.integer(*_integer_bounds(schema, path)))
        if kind == "number":
            if bounds := sorted(schema.keys() & NUMBER):
                raise SchemaError(
                    (*path, bounds[0]),
                    "bounds of a number with decimals cannot be enforced",
                    "Use type integer, or drop them.",
                )
            return Token(numbers.number())
        return Token(choice(Literal("true"), Literal("false"))) if kind == "boolean" else token("null")

    def _object(self, schema: Mapping[str, Any], path: SchemaPath, depth: int) -> Node:
        properties = _mapping(schema, "properties", path)
        required = schema.get("required", [])
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise SchemaError((*path, "required"), "must be an array of property names")
        if undeclared := [name for name in required if name not in properties]:
            raise SchemaError((*path, "required"), f"{undeclared[0]!r} is required but not among the properties")
        extra = schema.get("additionalProperties", not properties)
        if properties or extra is False:
            # Other properties would be allowed by default, but a call has no use for invented arguments.
            return self._closed_object(properties, set(required), path, depth)
        if extra is True or extra == {}:
            self.any_value()
            return Ref("json-object")
        value = self._inside(extra, (*path, "additionalProperties"), depth)
        pair = sequence(Token(strings.string(0, None)), self.colon, value)
        return _braces("{", _list(self._rule(pair, path, "pair"), self.comma, 0, None), "}")

    def _closed_object(self, properties: Mapping[str, Any], required: set[str], path: SchemaPath, depth: int) -> Node:
        """Properties in order. `rest[i]` is what may follow once something was written, from property i on."""
        pairs: list[tuple[Node, bool]] = []
        for name, schema in properties.items():
            value = self._inside(schema, (*path, "properties", name), depth)
            pairs.append((sequence(self._key(name), value), name in required))
        rest: Node = EMPTY
        firsts: list[Node] = []
        for number in range(len(pairs) - 1, -1, -1):
            pair, needed = pairs[number]
            begin = sequence(pair, rest)
            # Before a required property nothing later can come first.
            firsts = [begin] if needed else [begin, *firsts]
            following = sequence(self.comma, pair)
            tail = sequence(following if needed else optional(following), rest)
            # A rule for each tail keeps the size linear in the number of optional properties.
            rest = self._rule(tail, path, f"rest{number}") if number else EMPTY
        if not firsts:
            return _braces("{", EMPTY, "}")
        first = choice(*firsts)
        return _braces("{", first if any(needed for _, needed in pairs) else optional(first), "}")

    def _array(self, schema: Mapping[str, Any], path: SchemaPath, depth: int) -> Node:
        low, high = _size(schema, path, "minItems", "maxItems")
        heads = schema.get("prefixItems", [])
        if not isinstance(heads, list):
            raise SchemaError((*path, "prefixItems"), "must be an array of schemas")
        items = schema.get("items", True)
        if isinstance(items, list):
            raise SchemaError((*path, "items"), "must be one schema; a list of schemas is prefixItems now")
        if items is False:
            high = min(len(heads), len(heads) if high is None else high)
        parts = [self._inside(head, (*path, "prefixItems", i), depth) for i, head in enumerate(heads)]
        parts = parts if high is None else parts[:high]
        if not parts:
            if high == 0:
                return _braces("[", EMPTY, "]")
            item = self._rule(self._inside(items, (*path, "items"), depth), path, "item")
            return _braces("[", _list(item, self.comma, low, high), "]")
        body: Node = EMPTY
        if items is not False and (high is None or high > len(parts)):
            item = self._rule(self._inside(items, (*path, "items"), depth), path, "item")
            more = None if high is None else high - len(parts)
            body = Repeat(sequence(self.comma, item), max(0, low - len(parts)), more)
        for number in range(len(parts) - 1, -1, -1):
            body = sequence(*([self.comma] if number else []), parts[number], body)
            if number >= low:
                body = optional(body)
        return _braces("[", body, "]")

    def _reference(self, schema: Mapping[str, Any], path: SchemaPath, depth: int) -> Node:
        pointer = schema["$ref"]
        if not isinstance(pointer, str):
            raise SchemaError((*path, "$ref"), "must be a string")
        if beside := schema.keys() - ANNOTATIONS - {"$ref"}:
            raise SchemaError((*path, min(beside)), "cannot be enforced beside $ref", "Move it into the definition.")
        if pointer in self._open:
            raise SchemaError((*path, "$ref"), f"{pointer!r} refers to itself without anything in between")
        if pointer not in self._refs:
            target, place = resolve(self.root, pointer, (*path, "$ref"))
            name = self._name(pointer.rsplit("/", 1)[-1] or "root")
            self._refs[pointer] = name
            self.rules[name] = EMPTY
            self._open.append(pointer)
            self.rules[name] = self.compile(target, place, depth + 1)
            self._open.pop()
        return Ref(self._refs[pointer])

    def _any_of(self, schema: Mapping[str, Any], path: SchemaPath, depth: int) -> Node:
        branches = self._branches(schema, "anyOf", path)
        return choice(*(self.compile(b, (*path, "anyOf", i), depth + 1) for i, b in enumerate(branches)))

    def _one_of(self, schema: Mapping[str, Any], path: SchemaPath, depth: int) -> Node:
        branches = self._branches(schema, "oneOf", path)
        for i, a in enumerate(branches):
            for j in range(i):
                if not disjoint(self._resolved(a, path), self._resolved(branches[j], path)):
                    raise SchemaError(
                        (*path, "oneOf", i),
                        f"may overlap with branch {j}, so 'exactly one' cannot be enforced",
                        "Use anyOf, or tell the branches apart by type or by a const property.",
                    )
        return choice(*(self.compile(b, (*path, "oneOf", i), depth + 1) for i, b in enumerate(branches)))

    def _all_of(self, schema: Mapping[str, Any], path: SchemaPath, depth: int) -> Node:
        parts = schema["allOf"]
        if not isinstance(parts, list) or not parts:
            raise SchemaError((*path, "allOf"), "must be an array with at least one schema")
        merged: Any = {k: v for k, v in schema.items() if k != "allOf"}
        for number, part in enumerate(parts):
            merged = merge(merged, self._resolved(part, path), (*path, "allOf", number))
        return self.compile(merged, path, depth + 1)

    def _branches(self, schema: Mapping[str, Any], keyword: str, path: SchemaPath) -> list[Any]:
        """The branches with what stands beside the keyword merged into each."""
        branches = schema[keyword]
        if not isinstance(branches, list) or not branches:
            raise SchemaError((*path, keyword), "must be an array with at least one schema")
        beside = {k: v for k, v in schema.items() if k != keyword and k not in ANNOTATIONS}
        if not beside:
            return branches
        return [merge(beside, self._resolved(b, path), (*path, keyword, i)) for i, b in enumerate(branches)]

    # -- helpers ------------------------------------------------------------------------------------------

    def _inside(self, schema: Any, path: SchemaPath, depth: int) -> Node:
        """A schema that is reached only after some character."""
        outer, self._open = self._open, []
        node = self.compile(schema, path, depth + 1)
        self._open = outer
        return node

    def _resolved(self, schema: Any, path: SchemaPath) -> Any:
        for _ in range(MAX_DEPTH):
            if not isinstance(schema, Mapping) or set(schema) - ANNOTATIONS != {"$ref"}:
                return schema
            schema, path = resolve(self.root, schema["$ref"], path)
        raise SchemaError(path, "a chain of references that does not end")

    def _key(self, name: str) -> Node:
        # Two lexemes, as for a free key: where both may come, the lexer must cut both alike.
        return sequence(token(_dump(name)), self.colon)

    def _joined(self, parts: list[Node]) -> Node:
        joined: list[Node] = []
        for part in parts:
            joined += [self.comma, part] if joined else [part]
        return sequence(*joined)

    def _rule(self, node: Node, path: SchemaPath, kind: str) -> Node:
        """A rule for a node that stands in several places, named after the property it belongs to."""
        if isinstance(node, Ref | Token) or node == EMPTY:
            return node
        names = [str(part) for part in path if part not in {"properties", "items", "anyOf", "oneOf", "allOf"}]
        name = self._name("-".join([*names[-2:], kind]))
        self.rules[name] = node
        return Ref(name)

    def _name(self, wanted: str) -> str:
        """A free rule name: ASCII letters, digits and dashes, as GBNF has it."""
        clean = "".join(c if c.isascii() and c.isalnum() else "-" for c in f"{self.prefix}-{wanted}".lower())
        clean = "-".join(part for part in clean.split("-") if part) or "rule"
        name, number = clean, 2
        while name in self.rules:
            name, number = f"{clean}-{number}", number + 1
        return name

    def _count(self, path: SchemaPath, depth: int) -> None:
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise SchemaError(path, f"nested deeper than {MAX_DEPTH} schemas")
        if self._nodes > MAX_NODES:
            raise SchemaError(path, f"more than {MAX_NODES} schemas in one tool")
        if time.monotonic() - self._started > DEADLINE_S:
            raise SchemaError(path, f"compiling takes longer than {DEADLINE_S * 1000:.0f} ms")


_WORDS = ("true", "false", "null")


def resolve(root: Any, pointer: str, path: SchemaPath) -> tuple[Any, SchemaPath]:
    """What a local JSON pointer (RFC 6901) refers to, and where that stands; nothing is ever fetched."""
    if not isinstance(pointer, str) or not (pointer == "#" or pointer.startswith("#/")):
        raise SchemaError(path, f"{pointer!r} is not a reference inside the schema", "Copy the definition into $defs.")
    node: Any = root
    place: SchemaPath = ()
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")  # noqa: PLW2901
        try:
            node = node[int(part)] if isinstance(node, list) else node[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise SchemaError(path, f"{pointer!r} refers to nothing") from None
        place = (*place, part)
    return node, place


def merge(a: Any, b: Any, path: SchemaPath) -> Any:
    """One schema that means both. Raises SchemaError where that takes more than putting keywords together."""
    if a is True or a == {}:
        return b
    if b is True or b == {}:
        return a
    if not isinstance(a, Mapping) or not isinstance(b, Mapping):
        return False
    merged = dict(a)
    for keyword, value in b.items():
        if keyword not in merged or keyword in ANNOTATIONS or merged[keyword] == value:
            merged.setdefault(keyword, value)
        elif keyword == "properties" and not merged[keyword].keys() & value.keys():
            merged[keyword] = {**merged[keyword], **value}
        elif keyword == "required":
            merged[keyword] = [*merged[keyword], *(name for name in value if name not in merged[keyword])]
        elif keyword == "type" and (both := [t for t in _list_of(merged[keyword]) if t in _list_of(value)]):
            merged[keyword] = both
        else:
            raise SchemaError((*path, keyword), f"two different {keyword!r} that must both hold cannot be enforced")
    return merged


def disjoint(a: Any, b: Any) -> bool:
    """Whether no value can satisfy both, as far as types, values and a common const property tell."""
    if not isinstance(a, Mapping) or not isinstance(b, Mapping):
        return False
    values = [s["enum"] if "enum" in s else [s["const"]] if "const" in s else None for s in (a, b)]
    if values[0] is not None and values[1] is not None:
        return not any(_contains(values[1], value) for value in values[0])
    try:
        kinds = [set(_types(s, ())) for s in (a, b)]
    except SchemaError:
        return False
    for kind in kinds:
        if "integer" in kind:
            kind.add("number")
    if not kinds[0] & kinds[1]:
        return True
    if kinds[0] == kinds[1] == {"object"}:
        shared = set(a.get("required", [])) & set(b.get("required", []))
        pa, pb = a.get("properties", {}), b.get("properties", {})
        return any(name in pa and name in pb and disjoint(pa[name], pb[name]) for name in shared)
    return False


def _types(schema: Mapping[str, Any], path: SchemaPath) -> list[str]:
    """The schema's types in canonical names, in their own order; told from its keywords when it names none."""
    if "type" not in schema:
        for kind, keywords in (("object", OBJECT), ("array", ARRAY), ("string", STRING), ("integer", NUMBER)):
            if schema.keys() & keywords and "enum" not in schema and "const" not in schema:
                return [kind]
        return list(TYPES)
    kinds: list[str] = []
    for given in _list_of(schema["type"]):
        if not isinstance(given, str):
            raise SchemaError((*path, "type"), f"must be a type name or an array of them, not {_kind(given)}")
        kind = DIALECT_TYPES.get(given.lower(), given.lower())
        if kind == "any":
            return list(TYPES)
        if kind not in TYPES:
            raise SchemaError((*path, "type"), f"unknown type {given!r}", f"Types are {', '.join(TYPES)}.")
        if kind not in kinds:
            kinds.append(kind)
    if not kinds:
        raise SchemaError((*path, "type"), "must name at least one type")
    return kinds


def _integer_bounds(schema: Mapping[str, Any], path: SchemaPath) -> tuple[int | None, int | None]:
    """Inclusive bounds of an integer."""
    low: int | None = None
    high: int | None = None
    rules: tuple[tuple[str, Callable[[float], int]], ...] = (
        ("minimum", lambda v: -int(-v // 1)),
        ("exclusiveMinimum", lambda v: int(v // 1) + 1),
        ("maximum", lambda v: int(v // 1)),
        ("exclusiveMaximum", lambda v: -int(-v // 1) - 1),
    )
    for keyword, bound in rules:
        if keyword not in schema:
            continue
        value = schema[keyword]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SchemaError((*path, keyword), f"must be a number, not {_kind(value)}")
        if "inimum" in keyword:
            low = bound(value) if low is None else max(low, bound(value))
        else:
            high = bound(value) if high is None else min(high, bound(value))
    if low is not None and high is not None and low > high:
        raise SchemaError((*path, "minimum"), f"no integer lies between {low} and {high}")
    return low, high


def _size(schema: Mapping[str, Any], path: SchemaPath, least: str, most: str) -> tuple[int, int | None]:
    sizes: list[int | None] = []
    for keyword in (least, most):
        value = schema.get(keyword)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if keyword in schema and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise SchemaError((*path, keyword), f"must be an integer that is not negative, not {value!r}")
        sizes.append(value)
    low, high = sizes[0] or 0, sizes[1]
    if high is not None and low > high:
        raise SchemaError((*path, least), f"{least} {low} is above {most} {high}")
    return low, high


def _list(item: Node, comma: Node, low: int, high: int | None) -> Node:
    """`low` to `high` items with commas between them."""
    if high == 0:
        return EMPTY
    more = Repeat(sequence(comma, item), max(0, low - 1), None if high is None else high - 1)
    body = item if more.high == 0 else sequence(item, more)
    return optional(body) if low == 0 else body


def _braces(left: str, body: Node, right: str) -> Node:
    return sequence(token(left), body, token(right))


def _mapping(schema: Mapping[str, Any], keyword: str, path: SchemaPath) -> Mapping[str, Any]:
    value = schema.get(keyword) or {}
    if not isinstance(value, Mapping):
        raise SchemaError((*path, keyword), f"must be an object, not {_kind(value)}")
    return value


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _contains(values: Any, wanted: Any) -> bool:
    return any(_dump(value) == _dump(wanted) for value in values)


def _is(value: Any, kind: str) -> bool:
    """Whether a JSON value is of a type; 1.0 is an integer, true is no number."""
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, int | float):
        return kind == "number" or (kind == "integer" and value == int(value))
    found = {str: "string", list: "array", type(None): "null"}.get(type(value), "object")
    return kind == found


def _kind(value: Any) -> str:
    return {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(
        type(value), "a number"
    )


def _dump(value: Any) -> str:
    """A JSON scalar as models write it: plain characters, escaped only where JSON demands it."""
    text = json.dumps(value, ensure_ascii=False)
    # A lone surrogate has no UTF-8; its escape has.
    return "".join(f"\\u{ord(c):04x}" if 0xD800 <= ord(c) < 0xE000 else c for c in text)

"""JSON Schema → rules. What cannot be enforced exactly is refused with its path.

The language of a compiled schema is a subset of the schema's: one spelling of white space, properties in the
schema's order, and none but the declared ones unless `additionalProperties` says so. All it accepts is valid.

A value is compiled from the list of places (schemas) that must all hold of it. References and `allOf` add places,
`anyOf` and `oneOf` split the list into alternatives; what is left asserts types, values and bounds. The same list
always leads to the same rule, which is what makes recursion and shared definitions cost nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgefc.errors import SchemaError, SchemaPath
from edgefc.grammar import numbers, strings
from edgefc.grammar.bounds import integer_bounds, number_bounds
from edgefc.grammar.document import MAX_DEPTH, NAMED_SCHEMAS, Document, Place
from edgefc.grammar.keywords import (
    ANNOTATIONS,
    KINDS,
    check_keywords,
    kind,
    kinds_of,
    same,
    schemas,
    size,
    spelled,
    values_of,
)
from edgefc.grammar.objects import array_of, object_of
from edgefc.grammar.rules import (
    EMPTY,
    NOTHING,
    Literal,
    Node,
    Ref,
    Rules,
    Token,
    choice,
    listed,
    one_of,
    sequence,
    token,
)
from edgefc.grammar.validity import admits, apart

MAX_SCHEMAS = 20_000
MAX_ALTERNATIVES = 1_000
MAX_ENUM = 50_000
DEADLINE_S = 0.25
# Rules of the whole grammar, and of free JSON, whatever tools and properties are called.
RESERVED = {"root", "call", "char", "number", "json-value", "json-object", "json-array"}
# A scalar longer than this is a rule of its own, so that references to it stay short.
MAX_INLINE = 400

Flat = tuple[Place, ...]


class SchemaCompiler:
    """Compiles the schemas of one document into rules.

    document  what `$ref` points into
    rules     where rules are added
    prefix    begins the name of every rule added
    also      a schema that must hold of the root besides
    spaced    `", "` and `": "` as json.dumps writes by default, else no spaces
    """

    def __init__(self, document: Any, rules: Rules, prefix: str, *, also: Any = True, spaced: bool = True) -> None:
        self.document, self.rules, self.spaced = Document(document), rules, spaced
        self.comma, self.colon = token(", " if spaced else ","), token(": " if spaced else ":")
        self._prefix, self._also = prefix, also
        self._named: dict[tuple[Flat, ...], str] = {}
        self._pending: deque[tuple[str, tuple[Flat, ...]]] = deque()
        self._expanded: dict[Flat, tuple[Flat, ...]] = {}
        self._numbers: dict[str, int] = {}
        self._valued: dict[Flat, list[Any] | None] = {}
        self._checked: set[SchemaPath] = set()
        self._exclusive: set[SchemaPath] = set()
        self._started, self._steps = time.monotonic(), 0
        self.impossible: SchemaError | None = None  # the first place found that nothing can satisfy

    def compile(self) -> Node:
        """The node of the document's root. Raises SchemaError."""
        node = self.value(Place((), self.document.root), Place(("(also)",), self._also))
        while self._pending:
            name, flats = self._pending.popleft()
            self.rules[name] = choice(*(self._flat(flat, name) for flat in flats))
        return node

    def value(self, *places: Place) -> Node:
        """A value of which all these places hold; compiled later when it is made of several lexemes."""
        flats = self.alternatives(places)
        if flats == ((),):
            return self.any_value()
        if all(self._scalar(flat) for flat in flats):
            node = choice(*(self._flat(flat, "") for flat in flats))
            if _length(node) <= MAX_INLINE:
                return node
        if flats not in self._named:
            name = self.fresh(_hint(flats, places))
            self._named[flats] = name
            self.rules[name] = EMPTY  # a place in the order
            self._pending.append((name, flats))
        return Ref(self._named[flats])

    def any_value(self) -> Node:
        """Any JSON value; nested to any depth."""
        if "json-value" not in self.rules:
            text, value = Token(strings.string(0, None)), Ref("json-value")
            self.rules["json-value"] = choice(
                Ref("json-object"), Ref("json-array"), text, Token(numbers.number()), *map(token, _WORDS)
            )
            pair = sequence(text, self.colon, value)
            self.rules["json-object"] = self.braces("{", listed(pair, self.comma, 0, None), "}")
            self.rules["json-array"] = self.braces("[", listed(value, self.comma, 0, None), "]")
        return Ref("json-value")

    def alternatives(self, places: Iterable[Place]) -> tuple[Flat, ...]:
        """The ways in which all these places can hold, each free of references and combinators.

        None at all: nothing can satisfy them.
        """
        places = tuple(places)
        if places not in self._expanded:
            self._expanded[places] = tuple(dict.fromkeys(self._expand(places)))
        return self._expanded[places]

    def _expand(self, places: Flat) -> list[Flat]:
        """Iterative, for a schema may combine schemas as deep as it is."""
        # A state is what is still to be looked at, each with the paths that led to it, and what is left.
        first = [(place, frozenset[Any]()) for place in reversed(places)]
        states: list[tuple[list[tuple[Place, frozenset[Any]]], Flat]] = [(first, ())]
        found: list[Flat] = []
        while states:
            todo, flat = states.pop()
            while todo:
                place, trail = todo.pop()
                self._check(place)
                if place.schema is False:
                    self._nothing(place, "nothing can satisfy the schema false")
                    break
                if place.schema is True:
                    continue
                inner = trail | {place.path}
                if place.has("$ref"):
                    target = self.document.resolve(place)
                    if target.path in inner:
                        raise SchemaError((*place.path, "$ref"), "refers to itself without a value in between")
                    todo += [(place.without("$ref"), trail), (target, inner)]
                elif place.has("allOf"):
                    parts = [(part, inner) for part in schemas(place, "allOf")]
                    todo += [(place.without("allOf"), trail), *reversed(parts)]
                elif place.has("anyOf") or place.has("oneOf"):
                    keyword = "anyOf" if place.has("anyOf") else "oneOf"
                    branches, rest = schemas(place, keyword), place.without(keyword)
                    if keyword == "oneOf":
                        self._check_one_of(place, branches)
                    states += [([*todo, (branch, inner), (rest, trail)], flat) for branch in reversed(branches)]
                    if len(states) + len(found) > MAX_ALTERNATIVES:
                        raise SchemaError(
                            (*place.path, keyword), f"more than {MAX_ALTERNATIVES} ways to satisfy all of it"
                        )
                    break
                elif place not in flat and place.schema.keys() - place.done - ANNOTATIONS:
                    flat = (*flat, place)
            else:
                found.append(flat)
        return found

    def _check_one_of(self, place: Place, branches: list[Place]) -> None:
        """Refuses branches that one value could satisfy two of."""
        key = (*place.path, "oneOf")
        if key in self._exclusive:
            return
        self._exclusive.add(key)
        rest = place.without("oneOf")
        for number, branch in enumerate(branches):
            for other in range(number):
                pairs = (
                    (a, b)
                    for a in self.alternatives((branch, rest))
                    for b in self.alternatives((branches[other], rest))
                )
                if not all(apart(self, a, b) for a, b in pairs):
                    raise SchemaError(
                        (*key, number),
                        f"may overlap with branch {other}, so that 'exactly one' cannot be enforced",
                        "Use anyOf, or tell the branches apart by type or by a required const property.",
                    )

    # -- one alternative ----------------------------------------------------------------------------------

    def kinds(self, flat: Flat) -> list[str]:
        """The kinds of value that all places allow, in the order the first of them lists them."""
        left = list(KINDS)
        for place in flat:
            allowed = kinds_of(place)
            if allowed is not None:
                left = [name for name in left if name in allowed]
        return left

    def values(self, flat: Flat) -> list[Any] | None:
        """The values that `enum` and `const` leave and everything else admits; None: there is neither."""
        if flat not in self._valued:
            self._valued[flat] = self._values(flat)
        return self._valued[flat]

    def _values(self, flat: Flat) -> list[Any] | None:
        lists = [(place, values) for place in flat if (values := values_of(place)) is not None]
        if not lists:
            return None
        if len(lists[0][1]) > MAX_ENUM:
            raise SchemaError((*lists[0][0].path, "enum"), f"more than {MAX_ENUM} values")
        found = lists[0][1]
        for _, others in lists[1:]:
            found = [value for value in found if any(same(value, other) for other in others)]
        bare = tuple(place.without("enum").without("const") for place in flat)
        if not any(place.schema.keys() - place.done - ANNOTATIONS - {"type"} for place in bare):
            kinds = set(self.kinds(bare))
            return [value for value in found if kind(value) in kinds]
        return [value for value in found if admits(self, value, bare)]

    def _scalar(self, flat: Flat) -> bool:
        values = self.values(flat)
        kinds = self.kinds(flat) if values is None else [kind(value) for value in values]
        return not {"object", "array"} & set(kinds)

    def _flat(self, flat: Flat, name: str) -> Node:
        if not flat:
            return self.any_value()
        values = self.values(flat)
        if values is not None:
            if not values:
                return self._nothing(flat[0], "no value of enum or const satisfies the rest")
            plain = [spelled(value) for value in values if not isinstance(value, Mapping | list)]
            nested = [self.constant(value) for value in values if isinstance(value, Mapping | list)]
            return choice(*([Token(one_of(plain))] if plain else []), *nested)
        kinds = self.kinds(flat)
        if not kinds:
            return self._nothing(flat[0], "no type of value is left")
        made = [_MAKERS[name_](self, flat, name) for name_ in kinds if name_ != "fraction" or "integer" not in kinds]
        if "fraction" in kinds and "integer" in kinds:
            made[kinds.index("integer")] = self._number(flat)
        return choice(*made)

    def _number(self, flat: Flat) -> Node:
        bounds = number_bounds(flat)
        return self._made(flat, numbers.number() if bounds is None else numbers.decimal(*bounds), "number")

    def integer_value(self, flat: Flat, _: str) -> Node:
        return self._made(flat, numbers.integer(*integer_bounds(flat)), "integer")

    def fraction_value(self, flat: Flat, _: str) -> Node:
        raise SchemaError((*flat[0].path, "type"), "numbers that are no integers cannot be enforced", "Use number.")

    def string_value(self, flat: Flat, _: str) -> Node:
        low, high = size(flat, "minLength", "maxLength")
        return self._made(flat, NOTHING if high is not None and high < low else strings.string(low, high), "string")

    def object_value(self, flat: Flat, name: str) -> Node:
        return object_of(self, flat, name)

    def array_value(self, flat: Flat, name: str) -> Node:
        return array_of(self, flat, name)

    def _made(self, flat: Flat, node: Node, what: str) -> Node:
        return self._nothing(flat[0], f"no {what} lies within the bounds") if node == NOTHING else Token(node)

    def _nothing(self, place: Place, reason: str) -> Node:
        self.impossible = self.impossible or SchemaError(place.path, reason, "Nothing could be generated here.")
        return NOTHING

    # -- parts --------------------------------------------------------------------------------------------

    def constant(self, value: Any) -> Node:
        """Exactly this JSON value. Objects and arrays are cut into the same lexemes as free ones."""
        if isinstance(value, Mapping):
            parts = [sequence(self.key(name), self.constant(item)) for name, item in value.items()]
            return self.braces("{", self.joined(parts), "}")
        if isinstance(value, list):
            return self.braces("[", self.joined([self.constant(item) for item in value]), "]")
        return token(spelled(value))

    def key(self, name: str) -> Node:
        # Two lexemes, as for a free key: where both may come, the lexer must cut both alike.
        return sequence(token(spelled(name)), self.colon)

    def joined(self, parts: list[Node]) -> Node:
        nodes = [node for part in parts for node in (self.comma, part)]
        return sequence(*nodes[1:])

    def braces(self, left: str, body: Node, right: str) -> Node:
        return sequence(token(left), body, token(right))

    def rule(self, wanted: str, node: Node) -> Node:
        """A rule of its own for a node that stands in several places."""
        name = self._free(wanted)
        self.rules[name] = node
        return Ref(name)

    def fresh(self, wanted: str) -> str:
        """A free rule name: ASCII letters, digits and dashes, as GBNF has it."""
        clean = "".join(c if c.isascii() and c.isalnum() else "-" for c in f"{self._prefix}-{wanted}".lower())
        clean = "-".join(part for part in clean.split("-") if part)[:80] or "rule"
        return self._free(clean)

    def _free(self, wanted: str) -> str:
        """The wanted rule name, numbered when it is taken."""
        name = wanted
        while name in self.rules or name in RESERVED:
            number = self._numbers[wanted] = self._numbers.get(wanted, 1) + 1
            name = f"{wanted}-{number}"
        return name

    def _check(self, place: Place) -> None:
        """One step of work: limits, and a first look at each schema."""
        self.tick(place)
        if isinstance(place.schema, bool) or place.path in self._checked:
            return
        if not isinstance(place.schema, Mapping):
            raise SchemaError(place.path, f"a schema is an object, true or false, not {type(place.schema).__name__}")
        self._checked.add(place.path)
        if len(self._checked) > MAX_SCHEMAS:
            raise SchemaError(place.path, f"more than {MAX_SCHEMAS} schemas")
        if sum(part not in NAMED_SCHEMAS for part in place.path) > MAX_DEPTH:
            raise SchemaError(place.path, f"nested deeper than {MAX_DEPTH} schemas")
        check_keywords(place)

    def tick(self, place: Place) -> None:
        """Raises SchemaError when the time is up. Called once for each small piece of work."""
        self._steps += 1
        if self._steps % 64 == 0 and time.monotonic() - self._started > DEADLINE_S:
            raise SchemaError(place.path, f"compiling takes longer than {DEADLINE_S * 1000:.0f} ms")


_WORDS = ("true", "false", "null")
_MAKERS: dict[str, Callable[[SchemaCompiler, Flat, str], Node]] = {
    "object": SchemaCompiler.object_value,
    "array": SchemaCompiler.array_value,
    "string": SchemaCompiler.string_value,
    "integer": SchemaCompiler.integer_value,
    "fraction": SchemaCompiler.fraction_value,
    "boolean": lambda *_: Token(choice(Literal("true"), Literal("false"))),
    "null": lambda *_: token("null"),
}


def _hint(flats: tuple[Flat, ...], places: Flat) -> str:
    """What to call a value's rule: the last names on the way to it."""
    path = next((flat[0].path for flat in flats if flat), places[0].path)
    names = [str(part) for part in path if part not in NAMED_SCHEMAS and part not in {"anyOf", "oneOf", "allOf"}]
    return "-".join(names[-3:]) or "args"


def _length(node: Node) -> int:
    """About how many characters a node's text has."""
    if isinstance(node, Literal):
        return len(node.text)
    return 4 + sum(map(_length, getattr(node, "items", ()))) + (_length(node.item) if hasattr(node, "item") else 0)

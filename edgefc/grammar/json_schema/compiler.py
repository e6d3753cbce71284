"""JSON Schema → rules. What cannot be enforced exactly is refused with its path.

The language of a compiled schema is a subset of the schema's: one spelling of white space, properties in the
schema's order, and none but the declared ones unless `additionalProperties` says so. All it accepts is valid.

A value is compiled from the list of places (schemas) that must all hold of it. References and `allOf` add places,
`anyOf` and `oneOf` split the list into alternatives; what is left asserts types, values and bounds. The same list
always leads to the same rule, which is what makes recursion and shared definitions cost nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgefc.errors import SchemaError, SchemaPath
from edgefc.grammar import numbers, strings
from edgefc.grammar.automata import TooLargeError, automaton, is_plain
from edgefc.grammar.deadline import OutOfStepsError, at_most, tick
from edgefc.grammar.json_schema.arrays import array_of
from edgefc.grammar.json_schema.bounds import integer_bounds, number_bounds, step_of
from edgefc.grammar.json_schema.combine import SPLITTING, Flat, Step, Trail, combinations, unevaluated
from edgefc.grammar.json_schema.document import MAX_DEPTH, NAMED_SCHEMAS, Document, Place, kind_of
from edgefc.grammar.json_schema.findings import Finding, Unenforceable
from edgefc.grammar.json_schema.keywords import (
    ANNOTATIONS,
    KINDS,
    changes_at,
    check_keywords,
    kind,
    kinds_of,
    same,
    size,
    spelled,
    values_of,
)
from edgefc.grammar.json_schema.objects import object_of
from edgefc.grammar.json_schema.string_formats import format_node
from edgefc.grammar.json_schema.validity import admits, apart
from edgefc.grammar.patterns import ANYTHING, PatternError, search
from edgefc.grammar.rules import (
    EMPTY,
    NOTHING,
    And,
    Choice,
    Literal,
    Node,
    Not,
    Ref,
    Rules,
    Token,
    choice,
    listed,
    one_of,
    optional,
    sequence,
    token,
)

MAX_SCHEMAS = 20_000
MAX_ALTERNATIVES = 1_000
MAX_ENUM = 50_000
MAX_STEPS = 3_500  # of work before negations are left out, 50 to 100 ms
COSTLY = ("not", "oneOf", "if", "dependentRequired", "dependentSchemas", "dependencies", "multipleOf")
# Rules of the whole grammar, and of free JSON, whatever tools and properties are called.
RESERVED = {"root", "call", "char", "escape", "number", "json-value", "json-object", "json-array"}
# A scalar longer than this is a rule of its own, so that references to it stay short.
MAX_INLINE = 400

_NO_TRAIL: Trail = frozenset()


class SchemaCompiler:
    """Compiles the schemas of one document into rules.

    document  what `$ref` points into
    rules     where rules are added
    prefix    begins the name of every rule added
    also      a schema that must hold of the root besides
    spaced    `", "` and `": "` as json.dumps writes by default, else no spaces; None: at most one space wherever
              JSON allows some
    any_order whether the properties of small objects may come in any order
    closed    whether objects have none but the declared properties where nothing is said of others

    After `compile`: `unenforced` are the keywords that the rules do not assert, `changes` what was read otherwise
    than it is written, `impossible` the first place found that nothing can satisfy.
    """

    def __init__(
        self,
        document: Any,
        rules: Rules,
        prefix: str,
        *,
        also: Any = True,
        spaced: bool | None = True,
        closed: bool = True,
        any_order: bool = False,
    ) -> None:
        self.any_order = any_order
        self.document, self.rules, self.spaced, self.closed = Document(document), rules, spaced, closed
        self.comma, self.colon = (self._mark(mark, before=False, after=bool(spaced)) for mark in ",:")
        self._prefix, self._also = prefix, also
        self.unenforced: dict[tuple[SchemaPath, str], Finding] = {}
        self.changes: dict[Finding, None] = {}
        self.frugal = False  # whether time ran out with negations, and they are left out
        self._reset()

    def _reset(self) -> None:
        self._named: dict[tuple[Flat, ...], str] = {}
        self._pending: deque[tuple[str, tuple[Flat, ...]]] = deque()
        self._expanded: dict[Flat, tuple[Flat, ...]] = {}
        self._numbers: dict[str, int] = {}
        self._valued: dict[Flat, list[Any] | None] = {}
        self._checked: set[SchemaPath] = set()
        self._overlapping: dict[SchemaPath, set[tuple[int, int]]] = {}
        self._comparing: set[SchemaPath] = set()
        self._notes: dict[tuple[SchemaPath, str], Finding] = {}
        self._number_nodes: set[Node] = set()
        self.impossible: SchemaError | None = None

    def compile(self) -> Node:
        """The node of the document's root. Raises SchemaError.

        A keyword that turns out to be unenforceable is left out, and everything compiled anew.
        """
        before = dict(self.rules)
        while True:
            try:
                with at_most(None if self.frugal else MAX_STEPS):
                    return self._compile()
            except OutOfStepsError:
                self.frugal = True
                self._restart(before)
            except Unenforceable as found:
                key = (found.path, found.keyword)
                if key in self.unenforced:
                    raise SchemaError((*found.path, found.keyword), found.reason) from None
                self.unenforced[key] = Finding((*found.path, found.keyword), found.reason)
                self._restart(before)

    def _restart(self, before: Rules) -> None:
        self.rules.clear()
        self.rules.update(before)
        self._reset()

    def _compile(self) -> Node:
        node = self.value(Place((), self.document.root), Place(("(also)",), self._also))
        while self._pending:
            name, flats = self._pending.popleft()
            self.rules[name] = self._one_of(self._flat(flat, name) for flat in flats)
        self.unenforced.update(self._notes)
        return node

    def note(self, place: Place, keyword: str, reason: str) -> None:
        """List a keyword as unenforced without giving up what the rules do assert of it."""
        path, outer = place.origin or (place.path, keyword)
        self._notes[path, outer] = Finding((*path, outer), reason)

    def give_up(self, place: Place, keyword: str, reason: str) -> Unenforceable:
        """What to raise for a keyword that cannot be asserted; if a negation asked for it, for that."""
        return Unenforceable(*(place.origin or (place.path, keyword)), reason)

    def value(self, *places: Place) -> Node:
        """A value of which all these places hold; compiled later when it is made of several lexemes."""
        flats = self.alternatives(places)
        if flats == ((),):
            return self.any_value()
        if all(self._scalar(flat) for flat in flats):
            node = self._one_of(self._flat(flat, "") for flat in flats)
            if _room_left(node, MAX_INLINE) >= 0:
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
        # A state is what is still to be looked at, each with the way that led to it, and what is left.
        states: list[tuple[list[Step], tuple[Step, ...]]] = [([(p, _NO_TRAIL) for p in reversed(places)], ())]
        found: list[Flat] = []
        while states:
            todo, flat = states.pop()
            while todo:
                place, trail = todo.pop()
                place = self._usable(place)
                self._check(place)
                if isinstance(place.schema, bool):
                    if place.schema is place.negative:
                        self._nothing(place, "nothing can satisfy this")
                        break
                    continue
                if (place.path, place.negative) in trail:
                    raise SchemaError(place.path, "refers to itself without a value in between")
                ways = combinations(self, place, trail)
                if ways is None:
                    if place.schema.keys() - place.done - ANNOTATIONS:
                        flat = _added(flat, place, trail)
                elif not ways:
                    self._nothing(place, "nothing can satisfy this")
                    break
                elif len(ways) == 1:
                    todo += reversed(ways[0])
                else:
                    states += [([*todo, *reversed(way)], flat) for way in reversed(ways)]
                    if len(states) + len(found) > MAX_ALTERNATIVES:
                        raise self._too_many(place)
                    break
            else:
                found.append(unevaluated(flat))
        return found

    def _too_many(self, place: Place) -> Exception:
        reason = f"more than {MAX_ALTERNATIVES} ways to satisfy all of it"
        if place.origin is not None:
            return self.give_up(place, "", reason)
        keyword = next(keyword for keyword in SPLITTING if place.has(keyword))
        if keyword in {"anyOf", "oneOf"}:
            return SchemaError((*place.path, keyword), reason)
        return Unenforceable(place.path, keyword, reason)

    def _usable(self, place: Place) -> Place:
        """A place without the keywords that were given up; without the compiler's own, which only it may use."""
        if not isinstance(place.schema, Mapping):
            return place
        dropped: list[str] = []
        if self.frugal and not place.negative:
            dropped = [keyword for keyword in COSTLY if place.has(keyword)]
            for keyword in dropped:
                self.note(place, keyword, "takes too much work together with the rest")
            dropped = [keyword for keyword in dropped if keyword != "oneOf"]
        dropped += [keyword for path, keyword in self.unenforced if path == place.path and keyword != "oneOf"]
        if not place.own:
            dropped += [keyword for keyword in place.schema if keyword.startswith("~")]
        return place.without(*dropped) if dropped else place

    def overlapping(self, place: Place, branches: list[Place]) -> set[tuple[int, int]]:
        """Pairs of branches of a `oneOf` that one value may satisfy, for all that can be told."""
        if place.path not in self._overlapping:
            if place.path in self._comparing:
                raise SchemaError(place.path, "refers to itself without a value in between")
            self._comparing.add(place.path)
            # What is unevaluated depends on the branch, and must not tell branches apart.
            rest, found = place.without("oneOf", "unevaluatedProperties", "unevaluatedItems"), set()
            for number, branch in enumerate(branches):
                for other in range(number):
                    pairs = (
                        (a, b)
                        for a in self.alternatives((branch, rest))
                        for b in self.alternatives((branches[other], rest))
                    )
                    if not all(apart(self, a, b) for a, b in pairs):
                        found |= {(number, other), (other, number)}
            self._comparing.remove(place.path)
            self._overlapping[place.path] = found
        return self._overlapping[place.path]

    # -- one alternative ----------------------------------------------------------------------------------

    def kinds(self, flat: Flat) -> list[str]:
        """The kinds of value that all places allow, in the order the first of them lists them."""
        left = list(KINDS)
        for place in flat:
            allowed = kinds_of(place)
            if allowed is not None:
                left = [name for name in left if name in allowed]
            if place.has("~type"):
                left = [name for name in left if name not in place.get("~type")]
        return left

    def excluded(self, flat: Flat) -> list[Any]:
        """Values that negated `enum` and `const` rule out."""
        return [value for place in flat for value in place.get("~enum", ())]

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
        return choice(
            *(_MAKERS[what](self, flat, name) for what in kinds if not (what == "fraction" and "integer" in kinds))
        )

    def number_value(self, flat: Flat, _: str) -> Node:
        """Integers, other numbers or both."""
        kinds = self.kinds(flat)
        if "integer" in kinds and any(
            place.has("multipleOf") and step_of(place, "multipleOf") % 1 == 0 for place in flat
        ):
            kinds = ["integer"]
        bounds, conditions = number_bounds(flat), self._conditions(flat)
        if "fraction" not in kinds:
            form = numbers.integer(*integer_bounds(flat)) if bounds or not conditions else numbers.WHOLE
        elif bounds is not None:
            form = numbers.decimal(*bounds)
        else:
            form = numbers.DECIMAL if conditions or "integer" not in kinds else numbers.number()
        if "integer" not in kinds:
            conditions.append(Not(numbers.INTEGRAL))
        if conditions and form != NOTHING:
            if "fraction" in kinds:
                conditions.append(numbers.EXACT)
            try:
                form = numbers.within(form, also=conditions)
            except TooLargeError:
                place = next(p for p in reversed(flat) if p.has("multipleOf") or p.has("~multiple") or p.has("~enum"))
                raise self.give_up(place, "multipleOf", "multiples of this number take too many rules") from None
        node = self._made(flat, form, "number")
        self._number_nodes.add(node)
        return node

    def _one_of(self, nodes: Iterable[Node]) -> Node:
        """One of these values. Numbers are one lexeme together: lexers would prefer the one that reads further."""
        node = choice(*nodes)
        items = node.items if isinstance(node, Choice) else ()
        numbers_ = [item for item in items if isinstance(item, Token) and item in self._number_nodes]
        if len(numbers_) < 2 or all(is_plain(item.item) for item in numbers_):
            return node
        together = Token(choice(*(item.item for item in numbers_)))
        try:
            automaton(together.item)
        except TooLargeError:
            return node  # each by itself is small enough
        return choice(*(item for item in items if item not in self._number_nodes), together)

    def _conditions(self, flat: Flat) -> list[Node]:
        """What `multipleOf` and negations ask of a number."""
        nodes: list[Node] = []
        for place in flat:
            for keyword in ("multipleOf", "~multiple"):
                if place.has(keyword):
                    node = numbers.multiple(step_of(place, keyword))
                    nodes.append(node if keyword == "multipleOf" else Not(node))
        values = [value for value in self.excluded(flat) if kind(value) in {"integer", "fraction"}]
        return nodes + [Not(numbers.equal_to(value)) for value in values]

    def string_value(self, flat: Flat, _: str) -> Node:
        low, high = size(flat, "minLength", "maxLength")
        try:
            made = NOTHING if high is not None and high < low else strings.quoted(self.text(flat), low, high)
        except TooLargeError:
            raise self._text_too_large(flat) from None
        return self._made(flat, made, "string")

    def text(self, flat: Flat) -> Node:
        """What a string's value has to match, its length left out."""
        nodes: list[Node] = []
        for place in flat:
            for keyword in ("pattern", "~pattern"):
                if place.has(keyword):
                    node = self.pattern(place, keyword, place.get(keyword))
                    nodes.append(node if keyword == "pattern" else Not(node))
            if isinstance(name := place.get("format"), str) and (made := format_node(name)) is not None:
                nodes.append(made)
        if values := [value for value in self.excluded(flat) if isinstance(value, str)]:
            nodes.append(strings.other_than(values))
        nodes = [node for node in dict.fromkeys(nodes) if node != ANYTHING]
        return And(tuple(nodes)) if len(nodes) > 1 else nodes[0] if nodes else ANYTHING

    def pattern(self, place: Place, keyword: str, pattern: Any) -> Node:
        """A pattern's regular node. Raises SchemaError."""
        path = (*place.path, keyword)
        if not isinstance(pattern, str):
            raise SchemaError(path, f"must be a string, not {kind_of(pattern)}")
        try:
            return search(pattern)
        except PatternError as error:
            raise SchemaError(path, f"{pattern[:80]!r} {error}", "Write it without.") from None

    def _text_too_large(self, flat: Flat) -> Unenforceable:
        keyword, place = next(
            (keyword, place)
            for keyword in ("maxLength", "minLength", "~pattern", "pattern", "format", "~enum")
            for place in reversed(flat)
            if place.has(keyword)
        )
        return self.give_up(place, keyword, "together with the rest takes too many rules")

    def boolean_value(self, flat: Flat, _: str) -> Node:
        left = [word for word in (True, False) if not any(same(word, value) for value in self.excluded(flat))]
        return self._made(flat, choice(*(Literal(spelled(word)) for word in left)), "boolean")

    def null_value(self, flat: Flat, _: str) -> Node:
        return self._made(flat, NOTHING if None in self.excluded(flat) else Literal("null"), "null")

    def object_value(self, flat: Flat, name: str) -> Node:
        return object_of(self, flat, name)

    def array_value(self, flat: Flat, name: str) -> Node:
        return array_of(self, flat, name)

    def _made(self, flat: Flat, node: Node, what: str) -> Node:
        return self._nothing(flat[0], f"no {what} lies within the bounds") if node == NOTHING else Token(node)

    def _nothing(self, place: Place, reason: str) -> Node:
        self.impossible = self.impossible or SchemaError(place.path, reason, "Nothing could be generated here.")
        return NOTHING

    def admits(self, value: Any, place: Place) -> bool:
        """Whether a value satisfies a place, as the standard reads it."""
        return admits(self, value, (place,))

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
        return sequence(self._mark(left, before=False, after=False), body, self._mark(right, before=True, after=False))

    def _mark(self, mark: str, *, before: bool, after: bool) -> Node:
        """A punctuation mark and the space beside it."""
        if self.spaced is not None:
            return token(f"{mark} " if after else mark)
        space = optional(Literal(" "))
        return Token(sequence(space, Literal(mark)) if before else sequence(Literal(mark), space))

    def rule(self, wanted: str, node: Node) -> Node:
        """A rule of its own for a node that stands in several places."""
        name = self._free(wanted)
        self.rules[name] = node
        return Ref(name)

    def reserve(self, wanted: str) -> str:
        """The name of a rule that is written later."""
        name = self._free(wanted)
        self.rules[name] = EMPTY
        return name

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
        tick()
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
        self.changes.update(dict.fromkeys(changes_at(place)))


_WORDS = ("true", "false", "null")
_MAKERS: dict[str, Callable[[SchemaCompiler, Flat, str], Node]] = {
    "object": SchemaCompiler.object_value,
    "array": SchemaCompiler.array_value,
    "string": SchemaCompiler.string_value,
    "integer": SchemaCompiler.number_value,
    "fraction": SchemaCompiler.number_value,
    "boolean": SchemaCompiler.boolean_value,
    "null": SchemaCompiler.null_value,
}


def _added(flat: tuple[Step, ...], place: Place, trail: Trail) -> tuple[Step, ...]:
    """The flat with one more place, or with one more way to a place that is there."""
    for number, (other, way) in enumerate(flat):
        if other == place:
            return (*flat[:number], (other, way | trail), *flat[number + 1 :])
    return (*flat, (place, trail))


def _hint(flats: tuple[Flat, ...], places: Flat) -> str:
    """What to call a value's rule: the last names on the way to it."""
    path = next((flat[0].path for flat in flats if flat), places[0].path)
    names = [str(part) for part in path if part not in NAMED_SCHEMAS and part not in {"anyOf", "oneOf", "allOf"}]
    return "-".join(names[-3:]) or "args"


def _room_left(node: Node, room: int) -> int:
    """How many of `room` characters are left beside a node's text, about; below zero, no more is looked at."""
    if isinstance(node, Literal):
        return room - len(node.text)
    room -= 4
    for item in (*getattr(node, "items", ()), *((node.item,) if hasattr(node, "item") else ())):
        if room < 0:
            break
        room = _room_left(item, room)
    return room

"""Objects as rules: members in the schema's order, counted, each once; then those of any name."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgefc.errors import SchemaError
from edgefc.grammar import strings
from edgefc.grammar.automata import TooLargeError, is_empty, matches
from edgefc.grammar.json_schema.combine import Flat
from edgefc.grammar.json_schema.document import Place
from edgefc.grammar.json_schema.findings import Unenforceable
from edgefc.grammar.json_schema.keywords import mapping, size
from edgefc.grammar.patterns import ANYTHING
from edgefc.grammar.rules import (
    ANY,
    EMPTY,
    NOTHING,
    And,
    Choice,
    Literal,
    Node,
    Not,
    Ref,
    Repeat,
    Token,
    choice,
    listed,
    optional,
    sequence,
)

if TYPE_CHECKING:
    from edgefc.grammar.json_schema.compiler import SchemaCompiler

MAX_STATES = 5_000
MAX_PATTERNS = 6
MAX_DEMANDS = 3
MAX_DECLARED = 20
MAX_ANY_ORDER = 6  # properties that may come in any order: a rule for every set of them


def required_of(flat: Flat) -> dict[str, None]:
    """Names that `required` of any of the places lists, in order."""
    names: dict[str, None] = {}
    for place in flat:
        listed_names = place.get("required", [])
        if isinstance(listed_names, bool):
            continue  # draft 3, and what tools write beside a property: it says nothing about the value
        if not isinstance(listed_names, list) or not all(isinstance(name, str) for name in listed_names):
            raise SchemaError((*place.path, "required"), "must be an array of property names")
        names.update(dict.fromkeys(listed_names))
    return names


def declared_of(flat: Flat) -> dict[str, None]:
    """Names of the properties that any of the places declares, in order."""
    return {name: None for place in flat for keyword in ("properties", "~member") for name in mapping(place, keyword)}


def member_of(compiler: SchemaCompiler, flat: Flat, name: str) -> list[Place]:
    """The schemas that must all hold of a property's value."""
    places: list[Place] = []
    for place in flat:
        if place.has("~absent") and name in place.get("~absent"):
            places.append(place.made("absent", {"allOf": [False]}))
        if name in mapping(place, "~member"):
            places.append(place.inside("~member", name))
        matching = [
            pattern
            for pattern in mapping(place, "patternProperties")
            if matches(compiler.pattern(place, "patternProperties", pattern), name)
        ]
        places += [place.inside("patternProperties", pattern) for pattern in matching]
        if name in mapping(place, "properties"):
            places.append(place.inside("properties", name))
        elif not matching and place.has("additionalProperties"):
            places.append(place.inside("additionalProperties"))
        if place.has("propertyNames") and not compiler.admits(name, place.inside("propertyNames")):
            places.append(place.made("no such name", {"allOf": [False]}))
    return places


def is_closed(compiler: SchemaCompiler, flat: Flat) -> bool:
    """Whether undeclared properties are left out: where they are forbidden and, of a closed compiler, where nothing
    is said of them.

    The standard would allow them by default, but a call has no use for invented arguments.
    """
    extras = [place.get("additionalProperties") for place in flat if place.has("additionalProperties")]
    if False in [extra for extra in extras if isinstance(extra, bool)]:
        return True
    declares = declared_of(flat) or any(place.has("patternProperties") for place in flat)
    return compiler.closed and not extras and bool(declares)


def object_of(compiler: SchemaCompiler, flat: Flat, name: str) -> Node:
    """An object that satisfies all places. A rule for each tail keeps its size linear in the properties."""
    required = required_of(flat)
    low, high = size(flat, "minProperties", "maxProperties")
    for place in flat:
        if any(isinstance(value, Mapping) for value in place.get("~enum", ())):
            if any(value for value in place.get("~enum") if isinstance(value, Mapping)):
                raise compiler.give_up(place, "not", "that an object is not one of some others cannot be enforced")
            low = max(low, 1)
    demands = [place for place in flat if place.has("~some")]
    if demands:
        return _demanding(compiler, flat, name, demands)
    return _object(compiler, flat, name, required, low, high)


def _object(
    compiler: SchemaCompiler, flat: Flat, name: str, required: dict[str, None], low: int, high: int | None
) -> Node:
    members = _members(compiler, flat, required)
    if members is None:
        return NOTHING
    regions = regions_of(compiler, flat, [*declared_of(flat), *required])
    pairs = [_pair(compiler, region, compiler.value(*region.places)) for region in regions]
    extra = choice(*pairs) if pairs else None
    if extra is None and high is not None and high >= len(members):
        high = None
    if low <= len(required):
        low = 0
    if high is not None and high < max(low, len(required)):
        return NOTHING
    rules = _Rules(compiler, flat, name, extra=extra, count=(low, high))
    if len(members) * rules.cap > MAX_STATES:
        place = next(place for place in flat if place.has("minProperties") or place.has("maxProperties"))
        keyword = "minProperties" if place.has("minProperties") else "maxProperties"
        raise compiler.give_up(place, keyword, "counting this many properties takes too many rules")
    if compiler.any_order and len(members) <= MAX_ANY_ORDER and (low, high) == (0, None):
        return compiler.braces("{", _in_any_order(compiler, members, rules), "}")
    return compiler.braces("{", rules.members(members), "}")


def _in_any_order(compiler: SchemaCompiler, members: list[tuple[Node, bool]], rules: _Rules) -> Node:
    """The pairs in any order, then undeclared ones: a rule for each set of those that were written."""
    needed = sum(1 << number for number, (_, is_needed) in enumerate(members) if is_needed)
    rests: dict[int, Node] = {}
    for written in range((1 << len(members)) - 1, -1, -1):
        comma = [compiler.comma] if written else []
        ways = [
            sequence(*comma, pair, rests[written | 1 << number])
            for number, (pair, _) in enumerate(members)
            if not written >> number & 1
        ]
        end = [rules.extras(min(1, written))] if needed & ~written == 0 else []
        rests[written] = (
            rules.called(choice(*ways, *end)) if written and (ways or end[0] != EMPTY) else choice(*ways, *end)
        )
    return rests[0]


def _members(compiler: SchemaCompiler, flat: Flat, required: dict[str, None]) -> list[tuple[Node, bool]] | None:
    """Pairs of declared properties, and whether each is needed; None when one that is needed cannot be."""
    members: list[tuple[Node, bool]] = []
    for key in {**declared_of(flat), **required}:
        places = member_of(compiler, flat, key)
        if compiler.alternatives(places):
            members.append((sequence(compiler.key(key), compiler.value(*places)), key in required))
        elif key in required:
            return None
    return members


@dataclass(frozen=True)
class Region:
    """Undeclared properties that are all subject to the same schemas.

    key     what their names match; None: any name
    places  the schemas of their values
    """

    key: Node | None
    places: tuple[Place, ...]


def regions_of(compiler: SchemaCompiler, flat: Flat, names: list[str]) -> list[Region]:
    """The regions of names that are none of these."""
    base: list[Node] = [strings.other_than(names)] if names else []
    for place in flat:
        if place.has("~absent"):
            base.append(strings.other_than(place.get("~absent")))
        if place.has("propertyNames"):
            base.append(names_of(compiler, place.inside("propertyNames")))
    sources = {
        pattern: compiler.pattern(place, "patternProperties", pattern)
        for place in flat
        for pattern in mapping(place, "patternProperties")
    }
    if len(sources) > MAX_PATTERNS:
        place = next(place for place in flat if place.has("patternProperties"))
        raise compiler.give_up(place, "patternProperties", f"more than {MAX_PATTERNS} patterns")
    closed = is_closed(compiler, flat)
    found: dict[tuple[Place, ...], list[Node]] = {}
    parts: list[tuple[list[Node], frozenset[str]]] = [(base, frozenset())]
    try:
        for source, node in sources.items():
            parts = [
                (nodes, matched)
                for before, matching in parts
                for nodes, matched in (([*before, node], matching | {source}), ([*before, Not(node)], matching))
                if not is_empty(And(tuple(nodes)))
            ]
    except TooLargeError:
        place = next(place for place in flat if place.has("patternProperties"))
        raise compiler.give_up(place, "patternProperties", "these patterns take too many rules") from None
    for nodes, matching in parts:
        places = _governing(flat, matching)
        if (matching or not closed) and compiler.alternatives(places):
            found.setdefault(places, []).append(_both(nodes))
    return [Region(choice(*nodes) if ANYTHING not in nodes else None, places) for places, nodes in found.items()]


def _both(nodes: list[Node]) -> Node:
    kept = [node for node in dict.fromkeys(nodes) if node not in {ANYTHING, Not(NOTHING)}]
    return And(tuple(kept)) if len(kept) > 1 else kept[0] if kept else ANYTHING


def _governing(flat: Flat, matching: frozenset[str]) -> tuple[Place, ...]:
    """The schemas of undeclared properties of which the names match exactly these patterns."""
    places: list[Place] = []
    for place in flat:
        mine = [pattern for pattern in mapping(place, "patternProperties") if pattern in matching]
        places += [place.inside("patternProperties", pattern) for pattern in mine]
        if not mine and place.has("additionalProperties"):
            places.append(place.inside("additionalProperties"))
    return tuple(places)


def names_of(compiler: SchemaCompiler, place: Place) -> Node:
    """The texts that satisfy a schema, as values of strings."""
    ways: list[Node] = []
    for flat in compiler.alternatives([place]):
        values = compiler.values(flat)
        if values is not None:
            ways += [Literal(value) if value else EMPTY for value in values if isinstance(value, str)]
        elif "string" in compiler.kinds(flat):
            low, high = size(flat, "minLength", "maxLength")
            text = compiler.text(flat)
            ways.append(text if (low, high) == (0, None) else And((text, Repeat(ANY, low, high))))
    return choice(*ways)


def _pair(compiler: SchemaCompiler, region: Region, value: Node) -> Node:
    try:
        key = strings.string(0, None) if region.key is None else strings.quoted(region.key)
    except TooLargeError:
        owner = region.places[0] if region.places else None
        raise Unenforceable(owner.path if owner else (), "propertyNames", "these names take too many rules") from None
    return NOTHING if key == NOTHING else sequence(Token(key), compiler.colon, value)


def _demanding(compiler: SchemaCompiler, flat: Flat, name: str, demands: list[Place]) -> Node:
    """An object that must have properties of which the names are not fixed.

    Such a property is one of the declared ones, or an undeclared one, behind all declared ones.
    """
    first, others = demands[0], tuple(place for place in flat if place != demands[0])
    key, value = first.get("~some")
    declared = [*declared_of(flat), *required_of(flat)]
    if len(demands) > MAX_DEMANDS or len(declared) > MAX_DECLARED:
        raise compiler.give_up(first, "not", "so many properties of any name cannot be asked for")
    ways: list[Node] = []
    for number, known in enumerate(dict.fromkeys(declared)):
        if compiler.admits(known, key):
            made = first.made(f"{number}", {"required": [known], "~member": {known: value}})
            ways.append(object_of(compiler, (*others, made), f"{name}-{number + 1}"))
    ways.append(_Demands(compiler, flat, name, demands).node())
    return choice(*(way for way in ways if way != NOTHING))


class _Demands:
    """Objects in which undeclared properties meet demands: a rule for each set of demands that are met.

    A name written again takes back what its first value met, so a property that could do that must meet it too.
    """

    def __init__(self, compiler: SchemaCompiler, flat: Flat, name: str, demands: list[Place]) -> None:
        self.compiler, self.name, self.demands = compiler, name, demands
        self.flat = tuple(place for place in flat if place not in demands)
        low, high = size(flat, "minProperties", "maxProperties")
        if low > len(demands) or high is not None:
            keyword = "maxProperties" if high is not None else "minProperties"
            place = next(place for place in flat if place.has(keyword))
            raise compiler.give_up(place, keyword, "cannot be enforced beside properties that are asked for")
        self.required = required_of(self.flat)
        self.keys = [names_of(compiler, place.get("~some")[0]) for place in demands]
        self.rules: dict[frozenset[int], str] = {}
        self.pairs = list(self._pairs())

    def _pairs(self) -> Iterator[tuple[frozenset[int], frozenset[int], Node]]:
        """(demands whose names it has, demands it meets, pair)"""
        regions = regions_of(self.compiler, self.flat, [*declared_of(self.flat), *self.required])
        numbers = range(len(self.demands))
        for region in regions:
            for held in _subsets(numbers):
                keys = [self.keys[n] if n in held else Not(self.keys[n]) for n in numbers]
                key = _both([*([] if region.key is None else [region.key]), *keys])
                if is_empty(key):
                    continue
                for met in _subsets(held):
                    places = [*region.places, *(self.demands[n].get("~some")[1] for n in met)]
                    if self.compiler.alternatives(places):
                        value = self.compiler.value(*places)
                        yield held, met, _pair(self.compiler, Region(key, ()), value)

    def node(self) -> Node:
        members = _members(self.compiler, self.flat, self.required)
        if members is None:
            return NOTHING
        tails = {begun: self.tail(frozenset(), begun=begun) for begun in (True, False)}
        if NOTHING in tails.values():
            return NOTHING
        rules = _Rules(self.compiler, self.flat, self.name, extra=None, count=(0, None), tails=tails)
        return self.compiler.braces("{", rules.members(members), "}")

    def tail(self, met: frozenset[int], *, begun: bool) -> Node:
        """Undeclared properties when these demands are met already."""
        if begun and met in self.rules:
            return Ref(self.rules[met])
        if begun:
            self.rules[met] = rule = self.compiler.reserve(f"{self.name}-rest")
        ways: list[Node] = []
        for held, meets, pair in self.pairs:
            if held & met <= meets:
                comma = [self.compiler.comma] if begun else []
                ways.append(sequence(*comma, pair, self.tail(met | meets, begun=True)))
        body = choice(*ways) if ways else NOTHING
        if len(met) == len(self.demands):
            body = optional(body)
        if not begun:
            return body
        self.compiler.rules[rule] = body
        return Ref(rule)


def _subsets(numbers: Iterable[int]) -> Iterator[frozenset[int]]:
    every = list(numbers)
    for count in range(len(every) + 1):
        yield from map(frozenset, itertools.combinations(every, count))


class _Rules:
    """The rules of what stands between an object's braces, `low` to `high` members.

    A state is a member's number and how many were written before it, up to a cap: with more than one rule for
    each state the size would be exponential in the optional properties.
    """

    def __init__(
        self,
        compiler: SchemaCompiler,
        flat: Flat,
        name: str,
        *,
        extra: Node | None,
        count: tuple[int, int | None],
        tails: dict[bool, Node] | None = None,
    ) -> None:
        """tails: what follows the declared members, when some were written and when none were."""
        self.compiler, self.flat, self.name, self.extra, self.tails = compiler, flat, name, extra, tails
        low, high = count
        self.low, self.high, self.cap = low, high, max(1, low) if high is None else high

    def steps(self, state: int, *, needed: bool) -> tuple[int | None, int | None]:
        """The counts after writing a member and after leaving it out; None where that may not be."""
        write = None if self.high is not None and state >= self.high else min(state + 1, self.cap)
        return write, None if needed else state

    def members(self, members: list[tuple[Node, bool]]) -> Node:
        """The pairs in their order, each optional unless it is needed."""
        users: list[dict[int, int]] = [{0: 1}]
        for _, needed in members:
            after: dict[int, int] = {}
            for state in users[-1]:
                for following in dict.fromkeys(self.steps(state, needed=needed)):
                    if following is not None:
                        after[following] = after.get(following, 0) + 1
            users.append(after)
        nodes = {state: self.extras(state) for state in users[-1]}
        for number in range(len(members) - 1, -1, -1):
            pair, needed = members[number]
            shared = {
                state: node if count == 1 or node in {EMPTY, NOTHING} else self.called(node)
                for (state, node), count in zip(nodes.items(), users[number + 1].values(), strict=True)
            }
            before: dict[int, Node] = {}
            for state in users[number]:
                write, leave = self.steps(state, needed=needed)
                written = sequence(self.compiler.comma, pair) if state else pair
                rest = NOTHING if write is None else shared[write]
                if write == leave:
                    before[state] = sequence(optional(written), self.part(rest))
                else:
                    left = NOTHING if leave is None else shared[leave]
                    before[state] = choice(sequence(written, self.part(rest)), left)
            nodes = before
        return nodes[0]

    def extras(self, state: int) -> Node:
        """Undeclared properties, after `state` others."""
        if self.tails is not None:
            return self.tails[state > 0]
        least, most = max(0, self.low - state), None if self.high is None else self.high - state
        if self.extra is None:
            return NOTHING if least else EMPTY
        if least > 1:
            # The same free name could be written twice, and count once.
            place = next(place for place in self.flat if place.has("minProperties"))
            self.compiler.note(place, "minProperties", "a name written twice is counted twice")
        if state == 0:
            return listed(self.extra, self.compiler.comma, least, most)
        return EMPTY if most == 0 else Repeat(sequence(self.compiler.comma, self.extra), least, most)

    def called(self, node: Node) -> Node:
        return node if isinstance(node, Ref) else self.compiler.rule(f"{self.name}-rest", node)

    def part(self, node: Node) -> Node:
        """A node as part of a sequence; a choice becomes a rule, so that groups do not nest without end."""
        return self.called(node) if isinstance(node, Choice) and node.items else node

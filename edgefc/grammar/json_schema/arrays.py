"""Arrays as rules: items in order, counted, and what some of them must be."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgefc.errors import SchemaError
from edgefc.grammar.json_schema.combine import Flat
from edgefc.grammar.json_schema.document import Place, kind_of
from edgefc.grammar.json_schema.keywords import same, size
from edgefc.grammar.rules import EMPTY, NOTHING, Node, Ref, Repeat, choice, listed, optional, sequence

if TYPE_CHECKING:
    from edgefc.grammar.json_schema.compiler import SchemaCompiler

MAX_STATES = 400
MAX_UNIQUE = 7  # values of which each is written at most once: a rule for every set of them


def heads_of(place: Place) -> tuple[int, str, str]:
    """How many items have schemas of their own, the keyword of those, and the keyword of all later items.

    Up to draft 2019-09 `items` could be the array, with `additionalItems` for the rest.
    """
    if isinstance(place.get("items"), list):
        return len(place.get("items")), "items", "additionalItems"
    heads = place.get("prefixItems", [])
    if not isinstance(heads, list):
        raise SchemaError((*place.path, "prefixItems"), f"must be an array of schemas, not {kind_of(heads)}")
    return len(heads), "prefixItems", "items"


def item_of(flat: Flat, number: int | None) -> list[Place]:
    """The schemas that must all hold of an item; None: of every item that has none of its own."""
    places: list[Place] = []
    for place in flat:
        count, head, rest = heads_of(place)
        if number is not None and number < count:
            places.append(place.inside(head, number))
        elif place.has(rest):
            places.append(place.inside(rest))
    return places


def array_of(compiler: SchemaCompiler, flat: Flat, name: str) -> Node:
    """An array that satisfies all places."""
    low, high = size(flat, "minItems", "maxItems")
    for place in flat:
        if any(isinstance(value, list) for value in place.get("~enum", ())):
            if any(value != [] for value in place.get("~enum") if isinstance(value, list)):
                raise compiler.give_up(place, "not", "that an array is not one of some others cannot be enforced")
            low = max(low, 1)
    heads = max((heads_of(place)[0] for place in flat), default=0)
    wanted = wanted_of(flat)
    if (unique := next((place for place in flat if place.get("uniqueItems") is True), None)) is not None:
        if heads == 0 and not wanted and (values := _few_values(compiler, flat)) is not None:
            return _unique(compiler, name, values, low, high)
        if high is None or high > 1:
            compiler.note(unique, "uniqueItems", "equal items cannot be ruled out")
    if high is not None and high < low:
        return NOTHING
    if wanted:
        return _Counted(compiler, flat, name, wanted, low, high).node()
    heads = heads if high is None else min(heads, high)
    more = None if high is None else high - heads
    rest = item_of(flat, None)
    body: Node = EMPTY
    if more != 0 and compiler.alternatives(rest):
        item = compiler.value(*rest)
        if heads == 0:
            return compiler.braces("[", listed(item, compiler.comma, low, high), "]")
        body = Repeat(sequence(compiler.comma, item), max(0, low - heads), more)
    elif low > heads:
        return NOTHING
    for number in range(heads - 1, -1, -1):
        part = compiler.value(*item_of(flat, number))
        body = sequence(*([compiler.comma] if number else []), part, body)
        if number >= low:
            body = optional(compiler.rule(f"{name}-rest", body) if number else body)
    return compiler.braces("[", body, "]")


def _few_values(compiler: SchemaCompiler, flat: Flat) -> list[Any] | None:
    """The values an item may have, when they are few."""
    found: list[Any] = []
    for way in compiler.alternatives(item_of(flat, None)):
        values = compiler.values(way)
        if values is None:
            kinds = compiler.kinds(way)
            if not way or not set(kinds) <= {"boolean", "null"}:
                return None
            values = [word for kind, word in (("boolean", True), ("boolean", False), ("null", None)) if kind in kinds]
        found += [value for value in values if not any(same(value, other) for other in found)]
        if len(found) > MAX_UNIQUE:
            return None
    return found


def _unique(compiler: SchemaCompiler, name: str, values: list[Any], low: int, high: int | None) -> Node:
    """Each value at most once: a rule for each set of values that are left."""
    nodes = [compiler.constant(value) for value in values]
    high = len(values) if high is None else min(high, len(values))
    rests: dict[frozenset[int], Node] = {}
    for count in range(high, -1, -1):
        for used in map(frozenset, itertools.combinations(range(len(values)), count)):
            comma = [compiler.comma] if used else []
            ways = [
                sequence(*comma, node, rests[used | {number}])
                for number, node in enumerate(nodes)
                if number not in used and used | {number} in rests
            ]
            body = choice(*ways) if ways else NOTHING
            if count >= low:
                body = optional(body)
            rests[used] = body if body in {EMPTY, NOTHING} or not used else compiler.rule(f"{name}-rest", body)
    return compiler.braces("[", rests[frozenset()], "]")


@dataclass(frozen=True)
class Wanted:
    """Items of which `low` to `high` must satisfy a place, from the item `first` on."""

    item: Place
    low: int
    high: int | None
    first: int
    owner: Place


def wanted_of(flat: Flat) -> list[Wanted]:
    """What `contains` of the places, and negations, ask of some of the items."""
    found: list[Wanted] = []
    for place in flat:
        if place.has("contains"):
            low, high = size([place], "minContains", "maxContains")
            low = low if place.has("minContains") else 1
            if low or high is not None:
                found.append(Wanted(place.inside("contains"), low, high, 0, place))
        if place.has("~item"):
            first, item = place.get("~item")
            found.append(Wanted(item, 1, None, first, place))
    return found


class _Counted:
    """Arrays in which items of certain kinds are counted: a rule for each number of items and of each kind."""

    def __init__(
        self, compiler: SchemaCompiler, flat: Flat, name: str, wanted: list[Wanted], low: int, high: int | None
    ) -> None:
        self.compiler, self.flat, self.name, self.wanted = compiler, flat, name, wanted
        self.low, self.high = low, high
        heads = max((heads_of(place)[0] for place in flat), default=0)
        # From this number on, the number of items so far makes no difference.
        self.cap = max(heads, low, *(w.first for w in wanted)) if high is None else high
        self.caps = [w.low if w.high is None else w.high for w in wanted]
        states = self.cap + 1
        for cap in self.caps:
            states *= cap + 1
        if states > MAX_STATES or len(wanted) > 3:
            owner = wanted[0].owner
            raise compiler.give_up(owner, "contains", "counting these items takes too many rules")
        self.rules: dict[tuple[int, tuple[int, ...]], str] = {}

    def node(self) -> Node:
        return self.compiler.braces("[", self.rest(0, (0,) * len(self.wanted), begun=False), "]")

    def rest(self, number: int, counts: tuple[int, ...], *, begun: bool) -> Node:
        """What may follow `number` items with these counts."""
        state = (number, counts)
        if begun and state in self.rules:
            return Ref(self.rules[state])
        if begun:
            self.rules[state] = rule = self.compiler.reserve(f"{self.name}-rest")
        ways: list[Node] = []
        if self.high is None or number < self.high:
            after = number + 1 if self.high is not None else min(number + 1, self.cap)
            for matched in itertools.product((True, False), repeat=len(self.wanted)):
                if (item := self.item(number, counts, matched)) is not None:
                    following = tuple(
                        min(count + 1, cap) if is_match else count
                        for count, cap, is_match in zip(counts, self.caps, matched, strict=True)
                    )
                    comma = [self.compiler.comma] if begun else []
                    ways.append(sequence(*comma, item, self.rest(after, following, begun=True)))
        body = choice(*ways) if ways else NOTHING
        if number >= self.low and all(count >= w.low for count, w in zip(counts, self.wanted, strict=True)):
            body = optional(body)
        if not begun:
            return body
        self.compiler.rules[rule] = body
        return Ref(rule)

    def item(self, number: int, counts: tuple[int, ...], matched: tuple[bool, ...]) -> Node | None:
        """An item that is of some of the kinds; None where it may not be."""
        places = list(item_of(self.flat, number))
        for is_match, wanted, count in zip(matched, self.wanted, counts, strict=True):
            counts_here = number >= wanted.first
            full = wanted.high is not None and count >= wanted.high
            if is_match:
                # Without an upper bound, what is found needs no more counting.
                if not counts_here or full or (wanted.high is None and count >= wanted.low):
                    return None
                places.append(wanted.item)
            elif wanted.high is not None and counts_here:
                places.append(wanted.item.negated((wanted.owner.path, "contains")))
        return self.compiler.value(*places) if self.compiler.alternatives(places) else None

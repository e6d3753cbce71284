"""Arrays as rules: items in order, counted, some of them with demands of their own."""

from __future__ import annotations

import itertools
from typing import Any

from edgefc.grammar.json_schema.context import RuleContext
from edgefc.grammar.json_schema.document import Conjunction
from edgefc.grammar.json_schema.findings import unenforceable
from edgefc.grammar.json_schema.keywords import count_bounds, json_equal, json_types
from edgefc.grammar.json_schema.members import CountedItems, counted_items, item_subschemas, prefix_items
from edgefc.grammar.rules import EMPTY, NOTHING, Node, Ref, Repeat, choice, optional, separated, sequence

MAX_STATES = 400
MAX_UNIQUE = 7  # distinct values of unique items: there is a rule for every set of them


def array_node(context: RuleContext, conjunction: Conjunction, name: str) -> Node:
    """Return the arrays that satisfy a conjunction."""
    low, high = count_bounds(conjunction, "minItems", "maxItems")
    low = max(low, _least_without_excluded(conjunction))
    prefix = max((prefix_items(subschema)[0] for subschema in conjunction), default=0)
    counted = counted_items(conjunction)
    if (unique := next((s for s in conjunction if s.get("uniqueItems") is True), None)) is not None:
        if prefix == 0 and not counted and (values := _few_values(context, conjunction)) is not None:
            return _unique(context, name, values, low, high)
        if high is None or high > 1:
            context.schemas.note(unique, "uniqueItems", "equal items cannot be ruled out")
    if high is not None and high < low:
        return NOTHING
    if counted:
        return _CountedArray(context, conjunction, name, counted, low, high).node()
    return _plain(context, conjunction, name, prefix if high is None else min(prefix, high), low, high)


def _least_without_excluded(conjunction: Conjunction) -> int:
    """Return the least number of items that excluded values allow: 1 where `[]` is excluded."""
    least = 0
    for subschema in conjunction:
        excluded = [value for value in subschema.get("~enum", ()) if isinstance(value, list)]
        if any(excluded):
            raise unenforceable(subschema, "not", "that an array differs from others cannot be enforced")
        least = 1 if excluded else least
    return least


def _plain(context: RuleContext, conjunction: Conjunction, name: str, prefix: int, low: int, high: int | None) -> Node:
    """Return arrays of `low` to `high` items, the first `prefix` of which have subschemas of their own."""
    layout = context.layout
    more = None if high is None else high - prefix
    rest = item_subschemas(conjunction, None)
    body: Node = EMPTY
    if more != 0 and context.schemas.disjuncts(rest):
        item = context.value(*rest)
        if prefix == 0:
            return layout.enclose("[", separated(item, layout.comma, low, high), "]")
        body = Repeat(sequence(layout.comma, item), max(0, low - prefix), more)
    elif low > prefix:
        return NOTHING
    for number in range(prefix - 1, -1, -1):
        part = context.value(*item_subschemas(conjunction, number))
        body = sequence(*([layout.comma] if number else []), part, body)
        if number >= low:
            body = optional(context.names.add(f"{name}-rest", body) if number else body)
    return layout.enclose("[", body, "]")


def _few_values(context: RuleContext, conjunction: Conjunction) -> list[Any] | None:
    """Return the values an item may have; None: there are too many, or infinitely many."""
    found: list[Any] = []
    for disjunct in context.schemas.disjuncts(item_subschemas(conjunction, None)):
        values = context.schemas.values(disjunct)
        if values is None:
            types = json_types(disjunct)
            if not disjunct or not set(types) <= {"boolean", "null"}:
                return None
            words = (("boolean", True), ("boolean", False), ("null", None))
            values = [word for type_, word in words if type_ in types]
        found += [value for value in values if not any(json_equal(value, other) for other in found)]
        if len(found) > MAX_UNIQUE:
            return None
    return found


def _unique(context: RuleContext, name: str, values: list[Any], low: int, high: int | None) -> Node:
    """Return arrays with each value at most once: a rule for each set of values used so far."""
    layout = context.layout
    nodes = [layout.constant(value) for value in values]
    high = len(values) if high is None else min(high, len(values))
    rests: dict[frozenset[int], Node] = {}
    for count in range(high, -1, -1):
        for used in map(frozenset, itertools.combinations(range(len(values)), count)):
            comma = [layout.comma] if used else []
            branches = [
                sequence(*comma, node, rests[used | {number}])
                for number, node in enumerate(nodes)
                if number not in used and used | {number} in rests
            ]
            body = choice(*branches) if branches else NOTHING
            if count >= low:
                body = optional(body)
            is_inline = body in {EMPTY, NOTHING} or not used
            rests[used] = body if is_inline else context.names.add(f"{name}-rest", body)
    return layout.enclose("[", rests[frozenset()], "]")


class _CountedArray:
    """Arrays in which items that satisfy some subschemas are counted: a rule for each combination of counts."""

    def __init__(
        self,
        context: RuleContext,
        conjunction: Conjunction,
        name: str,
        demands: list[CountedItems],
        low: int,
        high: int | None,
    ) -> None:
        self.context, self.conjunction, self.name, self.demands = context, conjunction, name, demands
        self.low, self.high = low, high
        prefix = max((prefix_items(subschema)[0] for subschema in conjunction), default=0)
        # From this number on, the number of items so far makes no difference.
        self.cap = max(prefix, low, *(demand.first for demand in demands)) if high is None else high
        self.caps = [demand.low if demand.high is None else demand.high for demand in demands]
        states = self.cap + 1
        for cap in self.caps:
            states *= cap + 1
        if states > MAX_STATES or len(demands) > 3:
            raise unenforceable(demands[0].owner, "contains", "counting these items takes too many rules")
        self.rules: dict[tuple[int, tuple[int, ...]], str] = {}

    def node(self) -> Node:
        return self.context.layout.enclose("[", self.items(0, (0,) * len(self.demands), comma=[]), "]")

    def rest(self, number: int, counts: tuple[int, ...]) -> Node:
        """Return the rule of the items after the first `number`, which have these counts."""
        state = (number, counts)
        if state not in self.rules:
            rule = self.rules[state] = self.context.names.reserve(f"{self.name}-rest")
            self.context.names.rules[rule] = self.items(number, counts, comma=[self.context.layout.comma])
        return Ref(self.rules[state])

    def items(self, number: int, counts: tuple[int, ...], *, comma: list[Node]) -> Node:
        branches: list[Node] = []
        if self.high is None or number < self.high:
            following = number + 1 if self.high is not None else min(number + 1, self.cap)
            for matched in itertools.product((True, False), repeat=len(self.demands)):
                if (item := self.item(number, counts, matched)) is not None:
                    new_counts = tuple(
                        min(count + 1, cap) if is_match else count
                        for count, cap, is_match in zip(counts, self.caps, matched, strict=True)
                    )
                    branches.append(sequence(*comma, item, self.rest(following, new_counts)))
        body = choice(*branches) if branches else NOTHING
        if number >= self.low and all(count >= demand.low for count, demand in zip(counts, self.demands, strict=True)):
            body = optional(body)
        return body

    def item(self, number: int, counts: tuple[int, ...], matched: tuple[bool, ...]) -> Node | None:
        """Return an item that satisfies the matched demands; None where it must not occur."""
        subschemas = list(item_subschemas(self.conjunction, number))
        for is_match, demand, count in zip(matched, self.demands, counts, strict=True):
            is_counted = number >= demand.first
            is_full = demand.high is not None and count >= demand.high
            if is_match:
                # Without an upper bound, items beyond the lower one need no more counting.
                if not is_counted or is_full or (demand.high is None and count >= demand.low):
                    return None
                subschemas.append(demand.item)
            elif demand.high is not None and is_counted:
                subschemas.append(demand.item.negated((demand.owner.path, "contains")))
        return self.context.value(*subschemas) if self.context.schemas.disjuncts(subschemas) else None

"""Objects as rules: declared properties in the schema's order, counted, each once; then those of any name."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from edgefc.errors import SchemaError
from edgefc.grammar import strings
from edgefc.grammar.automata import TooLargeError, common
from edgefc.grammar.json_schema.context import RuleContext
from edgefc.grammar.json_schema.document import Conjunction, Subschema
from edgefc.grammar.json_schema.findings import UnenforceableError, unenforceable
from edgefc.grammar.json_schema.keywords import count_bounds, entries, json_types
from edgefc.grammar.json_schema.members import declared_names, is_closed, property_subschemas, required_names
from edgefc.grammar.json_schema.scalars import pattern_node, text_node
from edgefc.grammar.rules import (
    ANY_CHAR,
    ANY_TEXT,
    EMPTY,
    NOTHING,
    And,
    Choice,
    Literal,
    Node,
    Not,
    Ref,
    Repeat,
    choice,
    is_empty_text,
    is_nothing,
    optional,
    separated,
    sequence,
)

MAX_STATES = 5_000
MAX_PATTERNS = 6
MAX_DEMANDS = 3
MAX_DECLARED = 20
MAX_ANY_ORDER = 6  # properties that may come in any order: there is a rule for every set of them

Member = tuple[Node, bool]  # the pair of a declared property, and whether it is required


def object_node(context: RuleContext, conjunction: Conjunction, name: str) -> Node:
    """Return the objects that satisfy a conjunction. A rule for each tail keeps the size linear in the properties."""
    required = required_names(conjunction)
    low, high = count_bounds(conjunction, "minProperties", "maxProperties")
    for subschema in conjunction:
        excluded = [value for value in subschema.get("~enum", ()) if isinstance(value, Mapping)]
        if any(excluded):
            raise unenforceable(subschema, "not", "that an object differs from others cannot be enforced")
        low = max(low, 1) if excluded else low
    demands = [subschema for subschema in conjunction if subschema.has("~some")]
    if demands:
        return _demanding(context, conjunction, name, demands)
    return _object(context, conjunction, name, required, low, high)


def _object(
    context: RuleContext, conjunction: Conjunction, name: str, required: dict[str, None], low: int, high: int | None
) -> Node:
    members = _members(context, conjunction, required)
    if members is None:
        return NOTHING
    regions = _regions(context, conjunction, [*declared_names(conjunction), *required])
    pairs = [_pair(context, region, context.value(*region.subschemas)) for region in regions]
    extra = choice(*pairs) if pairs else None
    if extra is None and high is not None and high >= len(members):
        high = None
    if low <= len(required):
        low = 0
    if high is not None and high < max(low, len(required)):
        return NOTHING
    rules = _MemberRules(context, conjunction, name, extra=extra, count=(low, high))
    if len(members) * rules.cap > MAX_STATES:
        owner = next(s for s in conjunction if s.has("minProperties") or s.has("maxProperties"))
        keyword = "minProperties" if owner.has("minProperties") else "maxProperties"
        raise unenforceable(owner, keyword, "counting this many properties takes too many rules")
    if context.any_order and len(members) <= MAX_ANY_ORDER and (low, high) == (0, None):
        return context.layout.enclose("{", _in_any_order(context, members, rules), "}")
    return context.layout.enclose("{", rules.members(members), "}")


def _in_any_order(context: RuleContext, members: list[Member], rules: _MemberRules) -> Node:
    """Return the pairs in any order, then undeclared ones: a rule for each set of pairs that were written."""
    required = sum(1 << number for number, (_, is_required) in enumerate(members) if is_required)
    rests: dict[int, Node] = {}
    for written in range((1 << len(members)) - 1, -1, -1):
        comma = [context.layout.comma] if written else []
        branches = [
            sequence(*comma, pair, rests[written | 1 << number])
            for number, (pair, _) in enumerate(members)
            if not written >> number & 1
        ]
        end = [rules.extras(1 if written else 0)] if required & ~written == 0 else []
        body = choice(*branches, *end)
        rests[written] = rules.as_rule(body) if written and (branches or end[0] != EMPTY) else body
    return rests[0]


def _members(context: RuleContext, conjunction: Conjunction, required: dict[str, None]) -> list[Member] | None:
    """Return the pairs of declared properties; None if a required one is impossible."""
    members: list[Member] = []
    names: Iterable[str] = {**declared_names(conjunction), **required}
    for key in sorted(names, key=str.lower) if context.layout.sorts_keys else names:
        if not context.layout.can_spell(key):
            path = (*conjunction[0].path, "properties", key)
            raise SchemaError(path, "this family's calls cannot spell the name", "Rename the property.")
        subschemas = property_subschemas(context.schemas, conjunction, key)
        if context.schemas.disjuncts(subschemas):
            members.append((sequence(context.layout.key(key), context.value(*subschemas)), key in required))
        elif key in required:
            return None
    return members


@dataclass(frozen=True)
class _Region:
    """Undeclared properties that are all subject to the same subschemas.

    key         the names; None: any name
    subschemas  must hold of their values
    """

    key: Node | None
    subschemas: Conjunction


def _regions(context: RuleContext, conjunction: Conjunction, names: list[str]) -> list[_Region]:
    """Return the regions of names other than these."""
    base: list[Node] = [strings.none_of(names)] if names else []
    for subschema in conjunction:
        if subschema.has("~absent"):
            base.append(strings.none_of(subschema.get("~absent")))
        if subschema.has("propertyNames"):
            base.append(_names_node(context, subschema.child("propertyNames")))
    closed = is_closed(context.schemas, conjunction)
    found: dict[Conjunction, list[Node]] = {}
    for nodes, matching in _split_by_patterns(conjunction, base):
        subschemas = _undeclared_subschemas(conjunction, matching)
        if (matching or not closed) and context.schemas.disjuncts(subschemas):
            found.setdefault(subschemas, []).append(_intersection(nodes))
    return [_Region(choice(*nodes) if ANY_TEXT not in nodes else None, s) for s, nodes in found.items()]


def _split_by_patterns(conjunction: Conjunction, base: list[Node]) -> list[tuple[list[Node], frozenset[str]]]:
    """Split names by the `patternProperties` that match them; each part is an intersection and its patterns."""
    patterns = {
        pattern: pattern_node(subschema, "patternProperties", pattern)
        for subschema in conjunction
        for pattern in entries(subschema, "patternProperties")
    }
    if not patterns:
        return [(base, frozenset())]
    parts: list[tuple[list[Node], frozenset[str]]] = []
    owner = next(subschema for subschema in conjunction if subschema.has("patternProperties"))
    if len(patterns) > MAX_PATTERNS:
        raise unenforceable(owner, "patternProperties", f"more than {MAX_PATTERNS} patterns")
    try:
        sets = common(_intersection(base), list(patterns.values()))
    except TooLargeError:
        raise unenforceable(owner, "patternProperties", "these patterns take too many rules") from None
    for matched in itertools.product((True, False), repeat=len(patterns)):
        if frozenset(itertools.compress(itertools.count(), matched)) in sets:
            nodes = [node if is_match else Not(node) for node, is_match in zip(patterns.values(), matched, strict=True)]
            parts.append(([*base, *nodes], frozenset(itertools.compress(patterns, matched))))
    return parts


def _intersection(nodes: list[Node]) -> Node:
    distinct = [node for node in dict.fromkeys(nodes) if node not in {ANY_TEXT, Not(NOTHING)}]
    return And(tuple(distinct)) if len(distinct) > 1 else distinct[0] if distinct else ANY_TEXT


def _undeclared_subschemas(conjunction: Conjunction, matching: frozenset[str]) -> Conjunction:
    """Return the subschemas of undeclared properties whose names match exactly these patterns."""
    found: list[Subschema] = []
    for subschema in conjunction:
        own = [pattern for pattern in entries(subschema, "patternProperties") if pattern in matching]
        found += [subschema.child("patternProperties", pattern) for pattern in own]
        if not own and subschema.has("additionalProperties"):
            found.append(subschema.child("additionalProperties"))
    return tuple(found)


def _names_node(context: RuleContext, subschema: Subschema) -> Node:
    """Return the string values that satisfy a subschema."""
    branches: list[Node] = []
    for conjunction in context.schemas.disjuncts([subschema]):
        values = context.schemas.values(conjunction)
        if values is not None:
            branches += [Literal(value) if value else EMPTY for value in values if isinstance(value, str)]
        elif "string" in json_types(conjunction):
            low, high = count_bounds(conjunction, "minLength", "maxLength")
            text = text_node(conjunction)
            branches.append(text if (low, high) == (0, None) else And((text, Repeat(ANY_CHAR, low, high))))
    return choice(*branches)


def _pair(context: RuleContext, region: _Region, value: Node) -> Node:
    """Return an undeclared property of a region; NOTHING if it has no names."""
    try:
        key = context.layout.free_key(region.key)
    except TooLargeError:
        path = region.subschemas[0].path if region.subschemas else ()
        raise UnenforceableError(path, "propertyNames", "these names take too many rules") from None
    return NOTHING if key == NOTHING else sequence(key, value)


def _demanding(context: RuleContext, conjunction: Conjunction, name: str, demands: list[Subschema]) -> Node:
    """Return objects that must have properties whose names are not fixed (`~some`).

    Such a property is a declared one, or an undeclared one after all declared ones.
    """
    first, others = demands[0], tuple(subschema for subschema in conjunction if subschema != demands[0])
    key, value = first.get("~some")
    declared = [*declared_names(conjunction), *required_names(conjunction)]
    if len(demands) > MAX_DEMANDS or len(declared) > MAX_DECLARED:
        raise unenforceable(first, "not", "so many properties of any name cannot be demanded")
    branches: list[Node] = []
    for number, property_name in enumerate(dict.fromkeys(declared)):
        if context.schemas.admits(property_name, key):
            schema = {"required": [property_name], "~member": {property_name: value}}
            met = first.derive(f"{number}", schema)
            branches.append(object_node(context, (*others, met), f"{name}-{number + 1}"))
    branches.append(_DemandRules(context, conjunction, name, demands).node())
    return choice(*(branch for branch in branches if branch != NOTHING))


class _DemandRules:
    """Objects in which undeclared properties meet demands: a rule for each set of demands that are met.

    A name that is written twice takes back what its first value met, so a property that could do so must meet the
    demand as well.
    """

    def __init__(self, context: RuleContext, conjunction: Conjunction, name: str, demands: list[Subschema]) -> None:
        self.context, self.name, self.demands = context, name, demands
        self.conjunction = tuple(subschema for subschema in conjunction if subschema not in demands)
        low, high = count_bounds(conjunction, "minProperties", "maxProperties")
        if low > len(demands) or high is not None:
            keyword = "maxProperties" if high is not None else "minProperties"
            owner = next(subschema for subschema in conjunction if subschema.has(keyword))
            raise unenforceable(owner, keyword, "cannot be enforced beside demanded properties")
        self.required = required_names(self.conjunction)
        self.keys = [_names_node(context, subschema.get("~some")[0]) for subschema in demands]
        self.rules: dict[frozenset[int], str] = {}
        self.pairs = list(self._pairs())

    def _pairs(self) -> Iterator[tuple[frozenset[int], frozenset[int], Node]]:
        """Yield undeclared pairs, each with the demands whose names it has and those that it meets."""
        regions = _regions(self.context, self.conjunction, [*declared_names(self.conjunction), *self.required])
        numbers = range(len(self.demands))
        for region, named in itertools.product(regions, _subsets(numbers)):
            if named not in common(ANY_TEXT if region.key is None else region.key, self.keys):
                continue
            keys = [self.keys[n] if n in named else Not(self.keys[n]) for n in numbers]
            key = _intersection([*([] if region.key is None else [region.key]), *keys])
            for met in _subsets(named):
                subschemas = [*region.subschemas, *(self.demands[n].get("~some")[1] for n in met)]
                if self.context.schemas.disjuncts(subschemas):
                    value = self.context.value(*subschemas)
                    yield named, met, _pair(self.context, _Region(key, ()), value)

    def node(self) -> Node:
        members = _members(self.context, self.conjunction, self.required)
        if members is None:
            return NOTHING
        tails = {True: self.tail(frozenset()), False: self.extras(frozenset(), comma=[])}
        if NOTHING in tails.values():
            return NOTHING
        rules = _MemberRules(self.context, self.conjunction, self.name, extra=None, count=(0, None), tails=tails)
        return self.context.layout.enclose("{", rules.members(members), "}")

    def tail(self, met: frozenset[int]) -> Node:
        """Return the rule of undeclared properties after others, when these demands are met already."""
        if met not in self.rules:
            rule = self.rules[met] = self.context.names.reserve(f"{self.name}-rest")
            self.context.names.rules[rule] = self.extras(met, comma=[self.context.layout.comma])
        return Ref(self.rules[met])

    def extras(self, met: frozenset[int], *, comma: list[Node]) -> Node:
        branches: list[Node] = []
        for named, meets, pair in self.pairs:
            if named & met <= meets:
                branches.append(sequence(*comma, pair, self.tail(met | meets)))
        body = choice(*branches) if branches else NOTHING
        return optional(body) if len(met) == len(self.demands) else body


def _subsets(numbers: Iterable[int]) -> list[frozenset[int]]:
    every = list(numbers)
    return [frozenset(part) for count in range(len(every) + 1) for part in itertools.combinations(every, count)]


class _MemberRules:
    """The rules of `low` to `high` members between an object's braces.

    A state is a member's number and how many were written before it, up to a cap: without shared states, the size
    would be exponential in the optional properties.
    """

    def __init__(
        self,
        context: RuleContext,
        conjunction: Conjunction,
        name: str,
        *,
        extra: Node | None,
        count: tuple[int, int | None],
        tails: dict[bool, Node] | None = None,
    ) -> None:
        """`extra` is an undeclared pair; `tails` replaces it: the rest after some members (True) or after none."""
        self.context, self.conjunction, self.name, self.extra, self.tails = context, conjunction, name, extra, tails
        low, high = count
        self.low, self.high, self.cap = low, high, max(1, low) if high is None else high

    def next_states(self, state: int, *, is_required: bool) -> tuple[int | None, int | None]:
        """Return the states after writing a member and after leaving it out; None where that is not allowed."""
        write = None if self.high is not None and state >= self.high else min(state + 1, self.cap)
        return write, None if is_required else state

    def members(self, members: list[Member]) -> Node:
        """Return the pairs in their order, each optional unless it is required."""
        users = self._count_users(members)
        nodes = {state: self.extras(state) for state in users[-1]}
        for number in range(len(members) - 1, -1, -1):
            pair, is_required = members[number]
            shared = {
                state: node if count == 1 or is_empty_text(node) or is_nothing(node) else self.as_rule(node)
                for (state, node), count in zip(nodes.items(), users[number + 1].values(), strict=True)
            }
            before: dict[int, Node] = {}
            for state in users[number]:
                write, omit = self.next_states(state, is_required=is_required)
                written = sequence(self.context.layout.comma, pair) if state else pair
                rest = NOTHING if write is None else shared[write]
                if write == omit:
                    before[state] = sequence(optional(written), self.as_part(rest))
                else:
                    omitted = NOTHING if omit is None else shared[omit]
                    before[state] = choice(sequence(written, self.as_part(rest)), omitted)
            nodes = before
        return nodes[0]

    def _count_users(self, members: list[Member]) -> list[dict[int, int]]:
        """Count, for the states before each member and after the last one, the states that lead to them."""
        users: list[dict[int, int]] = [{0: 1}]
        for _, is_required in members:
            following: dict[int, int] = {}
            for state in users[-1]:
                for target in dict.fromkeys(self.next_states(state, is_required=is_required)):
                    if target is not None:
                        following[target] = following.get(target, 0) + 1
            users.append(following)
        return users

    def extras(self, state: int) -> Node:
        """Return undeclared properties after `state` others."""
        if self.tails is not None:
            return self.tails[state > 0]
        least, most = max(0, self.low - state), None if self.high is None else self.high - state
        if self.extra is None:
            return NOTHING if least else EMPTY
        if least > 1:
            # The same free name could be written twice, and count once.
            owner = next(subschema for subschema in self.conjunction if subschema.has("minProperties"))
            self.context.schemas.note(owner, "minProperties", "a name written twice is counted twice")
        if state == 0:
            return separated(self.extra, self.context.layout.comma, least, most)
        return EMPTY if most == 0 else Repeat(sequence(self.context.layout.comma, self.extra), least, most)

    def as_rule(self, node: Node) -> Node:
        return node if isinstance(node, Ref) else self.context.names.add(f"{self.name}-rest", node)

    def as_part(self, node: Node) -> Node:
        """Return a node as part of a sequence; a choice becomes a rule, so that groups do not nest without bound."""
        return self.as_rule(node) if isinstance(node, Choice) and node.items else node

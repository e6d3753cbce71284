"""Objects and arrays as rules: members in the schema's order, counted, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefc.errors import SchemaError
from edgefc.grammar import strings
from edgefc.grammar.document import Place, kind_of
from edgefc.grammar.keywords import mapping, size
from edgefc.grammar.rules import (
    EMPTY,
    NOTHING,
    Choice,
    Node,
    Ref,
    Repeat,
    Token,
    choice,
    listed,
    optional,
    sequence,
)

if TYPE_CHECKING:
    from edgefc.grammar.schema import Flat, SchemaCompiler

MAX_STATES = 5_000


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
    return {name: None for place in flat for name in mapping(place, "properties")}


def member_of(flat: Flat, name: str) -> list[Place]:
    """The schemas that must all hold of a property's value."""
    places: list[Place] = []
    for place in flat:
        if name in mapping(place, "properties"):
            places.append(place.inside("properties", name))
        elif place.has("additionalProperties"):
            places.append(place.inside("additionalProperties"))
    return places


def is_closed(flat: Flat) -> bool:
    """Whether undeclared properties are left out: where they are forbidden, and where nothing is said of them.

    The standard would allow them by default, but a call has no use for invented arguments.
    """
    extras = [place.get("additionalProperties") for place in flat if place.has("additionalProperties")]
    return False in [extra for extra in extras if isinstance(extra, bool)] or (not extras and bool(declared_of(flat)))


def object_of(compiler: SchemaCompiler, flat: Flat, name: str) -> Node:
    """An object that satisfies all places. A rule for each tail keeps its size linear in the properties."""
    required = required_of(flat)
    members = [
        (sequence(compiler.key(key), compiler.value(*member_of(flat, key))), key in required)
        for key in {**declared_of(flat), **required}
    ]
    low, high = size(flat, "minProperties", "maxProperties")
    extra: Node | None = None
    if not is_closed(flat):
        value = compiler.value(
            *(place.inside("additionalProperties") for place in flat if place.has("additionalProperties"))
        )
        key = strings.string(0, None) if not members else strings.other_than([*declared_of(flat), *required])
        extra = sequence(Token(key), compiler.colon, value)
    elif high is not None and high >= len(members):
        high = None
    if low <= len(required):
        low = 0
    if high is not None and high < max(low, len(required)):
        return NOTHING
    rules = _Rules(compiler, flat, name, extra=extra, count=(low, high))
    if len(members) * rules.cap > MAX_STATES:
        place = next(place for place in flat if place.has("minProperties") or place.has("maxProperties"))
        raise SchemaError(place.path, "counting this many properties takes too many rules", "Drop the count.")
    return compiler.braces("{", rules.members(members), "}")


class _Rules:
    """The rules of what stands between an object's braces, `low` to `high` members.

    A state is a member's number and how many were written before it, up to a cap: with more than one rule for
    each state the size would be exponential in the optional properties.
    """

    def __init__(
        self, compiler: SchemaCompiler, flat: Flat, name: str, *, extra: Node | None, count: tuple[int, int | None]
    ) -> None:
        self.compiler, self.flat, self.name, self.extra = compiler, flat, name, extra
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
        least, most = max(0, self.low - state), None if self.high is None else self.high - state
        if self.extra is None:
            return NOTHING if least else EMPTY
        if least > 1:
            # The same free name could be written twice, and count once.
            place = next(place for place in self.flat if place.has("minProperties"))
            reason = "cannot be enforced for properties of any name"
            raise SchemaError((*place.path, "minProperties"), reason, "Drop it.")
        if state == 0:
            return listed(self.extra, self.compiler.comma, least, most)
        return EMPTY if most == 0 else Repeat(sequence(self.compiler.comma, self.extra), least, most)

    def called(self, node: Node) -> Node:
        return node if isinstance(node, Ref) else self.compiler.rule(f"{self.name}-rest", node)

    def part(self, node: Node) -> Node:
        """A node as part of a sequence; a choice becomes a rule, so that groups do not nest without end."""
        return self.called(node) if isinstance(node, Choice) and node.items else node


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
    if high is not None and high < low:
        return NOTHING
    heads = max((heads_of(place)[0] for place in flat), default=0)
    heads = heads if high is None else min(heads, high)
    more = None if high is None else high - heads
    rest = item_of(flat, None)
    body: Node = EMPTY
    if more != 0 and not any(place.schema is False for place in rest):
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

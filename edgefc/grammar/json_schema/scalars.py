"""Strings, numbers, booleans and null as nodes."""

from __future__ import annotations

from typing import Any

from edgefc.errors import SchemaError
from edgefc.grammar import backtracking, numbers, strings
from edgefc.grammar.automata import TooLargeError
from edgefc.grammar.json_schema.bounds import integer_bounds, is_whole, number_bounds, step_of
from edgefc.grammar.json_schema.document import Conjunction, Subschema, describe_type
from edgefc.grammar.json_schema.findings import UnenforceableError, UnsupportedPatternError, unenforceable
from edgefc.grammar.json_schema.keywords import (
    count_bounds,
    excluded_values,
    json_equal,
    json_type,
    json_types,
)
from edgefc.grammar.json_schema.layout import JsonLayout
from edgefc.grammar.json_schema.string_formats import format_node
from edgefc.grammar.patterns import PatternError, compile_pattern
from edgefc.grammar.rules import ANY_TEXT, NOTHING, And, Node, Not


def number_node(conjunction: Conjunction, layout: JsonLayout) -> Node:
    """Return the numbers that satisfy a conjunction: integers, fractions or both."""
    return layout.plain(_number(conjunction))


def _number(conjunction: Conjunction) -> Node:
    types = json_types(conjunction)
    if "integer" in types and any(
        subschema.has("multipleOf") and is_whole(step_of(subschema, "multipleOf")) for subschema in conjunction
    ):
        types = ["integer"]
    bounds, conditions = number_bounds(conjunction), _number_conditions(conjunction)
    if "fraction" not in types:
        form = numbers.integer(*integer_bounds(conjunction)) if bounds or not conditions else numbers.WHOLE
    elif bounds is not None:
        form = numbers.decimal(*bounds)
    else:
        form = numbers.DECIMAL if conditions or "integer" not in types else numbers.number()
    if "integer" not in types:
        conditions.append(Not(numbers.INTEGRAL))
    if not conditions or form == NOTHING:
        return form
    if "fraction" in types:
        conditions.append(numbers.EXACT)
    try:
        node = numbers.intersection(form, conditions)
        has_multiples = any(subschema.has("multipleOf") or subschema.has("~multiple") for subschema in conjunction)
        return node if bounds is not None or has_multiples else numbers.limited(node)
    except TooLargeError:
        owner = next(s for s in reversed(conjunction) if s.has("multipleOf") or s.has("~multiple") or s.has("~enum"))
        raise unenforceable(owner, "multipleOf", "multiples of this number take too many rules") from None


def _number_conditions(conjunction: Conjunction) -> list[Node]:
    """Return the demands of `multipleOf` and of negations."""
    nodes: list[Node] = []
    for subschema in conjunction:
        for keyword in ("multipleOf", "~multiple"):
            if subschema.has(keyword):
                node = numbers.multiple_of(step_of(subschema, keyword))
                nodes.append(node if keyword == "multipleOf" else Not(node))
    values = [value for value in excluded_values(conjunction) if json_type(value) in {"integer", "fraction"}]
    return nodes + [Not(numbers.equal_to(value)) for value in values]


def string_node(conjunction: Conjunction, layout: JsonLayout) -> Node:
    """Return the strings that satisfy a conjunction."""
    low, high = count_bounds(conjunction, "minLength", "maxLength")
    if high is not None and high < low:
        return NOTHING
    try:
        return layout.string(text_node(conjunction), low, high)
    except TooLargeError:
        raise _text_too_large(conjunction) from None


def text_node(conjunction: Conjunction) -> Node:
    """Return the string values that satisfy a conjunction, whatever their length."""
    nodes: list[Node] = []
    for subschema in conjunction:
        for keyword in ("pattern", "~pattern"):
            if subschema.has(keyword):
                node = pattern_node(subschema, keyword, subschema.get(keyword))
                nodes.append(node if keyword == "pattern" else Not(node))
        if isinstance(name := subschema.get("format"), str) and (of_format := format_node(name)) is not None:
            nodes.append(of_format)
    if values := [value for value in excluded_values(conjunction) if isinstance(value, str)]:
        nodes.append(strings.none_of(values))
    nodes = [node for node in dict.fromkeys(nodes) if node != ANY_TEXT]
    return And(tuple(nodes)) if len(nodes) > 1 else nodes[0] if nodes else ANY_TEXT


def pattern_node(subschema: Subschema, keyword: str, pattern: Any) -> Node:
    """Return the texts that a pattern matches.

    Raises SchemaError for what is no pattern, UnsupportedPatternError for one that no automaton has.
    """
    path = (*subschema.path, keyword)
    if not isinstance(pattern, str):
        raise SchemaError(path, f"must be a string, not {describe_type(pattern)}")
    try:
        return compile_pattern(pattern)
    except PatternError as error:
        reason, hint = f"{pattern[:80]!r}: {error}", "Correct or simplify the pattern."
        if not backtracking.is_valid(pattern):
            raise SchemaError(path, f"invalid pattern {reason}", hint) from None
        refusal = SchemaError(
            path, f"unsupported pattern {reason}", f"{hint} With on_unsupported='check' it is checked after decoding."
        )
        raise UnsupportedPatternError(subschema, keyword, refusal) from None


def _text_too_large(conjunction: Conjunction) -> UnenforceableError:
    keyword, owner = next(
        (keyword, subschema)
        for keyword in ("maxLength", "minLength", "~pattern", "pattern", "format", "~enum")
        for subschema in reversed(conjunction)
        if subschema.has(keyword)
    )
    return unenforceable(owner, keyword, "together with the rest takes too many rules")


def boolean_node(conjunction: Conjunction, layout: JsonLayout) -> Node:
    excluded = excluded_values(conjunction)
    allowed = [word for word in (True, False) if not any(json_equal(word, value) for value in excluded)]
    return layout.words(allowed)


def null_node(conjunction: Conjunction, layout: JsonLayout) -> Node:
    return NOTHING if None in excluded_values(conjunction) else layout.words([None])

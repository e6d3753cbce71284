"""JSON Schema → rules. Keywords that cannot be enforced exactly are listed or refused with their path.

The language of a compiled schema is a subset of the schema's: one spelling of white space, properties in the
schema's order, and only declared ones unless `additionalProperties` allows others. Every text it accepts is valid,
except for the keywords listed as unenforced.

A value is compiled from the subschemas that must all hold of it. References and `allOf` add subschemas, `anyOf` and
`oneOf` split them into disjuncts; the remaining keywords assert types, values and bounds. The same subschemas always
lead to the same rule, so recursion and shared definitions cost nothing.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgefc.errors import FieldPath, SchemaError
from edgefc.grammar import numbers
from edgefc.grammar.automata import TooLargeError, automaton
from edgefc.grammar.deadline import OutOfStepsError, step_limit
from edgefc.grammar.json_schema.array_types import expand_array_types
from edgefc.grammar.json_schema.arrays import array_node
from edgefc.grammar.json_schema.document import NAMED_SCHEMAS, Conjunction, Subschema
from edgefc.grammar.json_schema.expander import Expander
from edgefc.grammar.json_schema.findings import Finding, UnenforceableError, UnsupportedPatternError
from edgefc.grammar.json_schema.keywords import json_types
from edgefc.grammar.json_schema.layout import JsonLayout, Spacing
from edgefc.grammar.json_schema.members import are_text_lists, types_of
from edgefc.grammar.json_schema.names import RuleNames
from edgefc.grammar.json_schema.objects import object_node
from edgefc.grammar.json_schema.scalars import boolean_node, null_node, number_node, string_node
from edgefc.grammar.machines import is_plain
from edgefc.grammar.rules import (
    ANY_TEXT,
    EMPTY,
    NOTHING,
    Choice,
    Lexeme,
    Literal,
    Node,
    Ref,
    Rules,
    children,
    choice,
    separated,
    sequence,
)

MAX_STEPS = 3_500  # of work before costly keywords are left out, 50 to 100 ms
# A scalar longer than this becomes a rule of its own, so that references to it stay short.
MAX_INLINE = 400
ALSO: FieldPath = ("(also)",)


class SchemaCompiler:
    """Compiles the schemas of one document into rules.

    document   the target of `$ref`
    rules      the grammar to which rules are added
    prefix     begins the name of every rule added
    also       a schema that must hold of the root as well
    spacing    white space around punctuation
    layout     that of the root; None: JSON's in this spacing
    closed     whether objects that declare properties allow no others where `additionalProperties` is missing
    any_order  whether small objects may have their properties in any order
    check_patterns  whether patterns that no automaton has are listed as unenforced, instead of refused
    """

    def __init__(
        self,
        document: Any,
        rules: Rules,
        prefix: str,
        *,
        also: Any = True,
        spacing: Spacing = "json",
        layout: JsonLayout | None = None,
        closed: bool = True,
        any_order: bool = False,
        check_patterns: bool = False,
    ) -> None:
        document, notes = expand_array_types(document)
        self.schemas = Expander(document, closed=closed)
        for path, reason in notes:
            self.note_change(path, reason)
        self._check_patterns = check_patterns
        self.any_order = any_order
        self._layout = layout or JsonLayout(spacing)
        self._rules, self._prefix, self._also = rules, prefix, also
        self._reset()

    def _reset(self) -> None:
        self.names = RuleNames(self._rules, self._prefix)
        self._views: dict[JsonLayout, _View] = {}
        self._named: dict[tuple[JsonLayout, tuple[Conjunction, ...]], str] = {}
        self._has_text_lists = False
        self._pending: deque[tuple[str, tuple[Conjunction, ...], JsonLayout]] = deque()
        self._number_lexemes: set[Node] = set()
        self._is_satisfiable: dict[FieldPath, bool] = {}

    @property
    def unenforced(self) -> tuple[Finding, ...]:
        """The keywords that the compiled rules do not assert."""
        return tuple(self.schemas.unenforced.values())

    @property
    def changes(self) -> tuple[Finding, ...]:
        """The keywords that are read differently from draft 2020-12."""
        return tuple(self.schemas.changes)

    @property
    def unsatisfiable(self) -> tuple[Finding, ...]:
        """The properties, items and branches that no value satisfies, but `false` and those inside of others."""
        paths = [path for path, is_satisfiable in self._is_satisfiable.items() if not is_satisfiable and path]
        innermost = [path for path in paths if not any(other[: len(path)] == path != other for other in paths)]
        return tuple(Finding(path, "no value satisfies this, so no call will have it") for path in innermost)

    @property
    def impossible(self) -> SchemaError | None:
        """The first location found that nothing can satisfy."""
        return self.schemas.impossible

    def note_change(self, path: FieldPath, reason: str) -> None:
        """List a location that is read differently from its text."""
        self.schemas.changes[Finding(path, reason)] = None

    def compile(self) -> Node:
        """Return the node of the document's root. Raises SchemaError.

        A keyword that turns out to be unenforceable is left out, and everything is compiled again.
        """
        before = dict(self._rules)
        while True:
            try:
                with step_limit(None if self.schemas.omit_costly else MAX_STEPS):
                    return self._compile()
            except OutOfStepsError:
                self.schemas.omit_costly = True
            except UnenforceableError as error:
                self.schemas.give_up(error)
            except UnsupportedPatternError as error:
                if not self._check_patterns:
                    raise error.refusal from None
                self.schemas.give_up(error.as_unenforceable())
            self._rules.clear()
            self._rules.update(before)
            self.schemas.reset()
            self._reset()

    def _compile(self) -> Node:
        root = Subschema((), self.schemas.document.root), Subschema(ALSO, self._also)
        # Of a tool with several ways to call it, the text would not tell how an argument is to be read.
        self._has_text_lists = len(self.schemas.disjuncts(root)) == 1
        node = self.value_in(self._layout, root)
        while self._pending:
            name, disjuncts, layout = self._pending.popleft()
            self._rules[name] = self._any_of(disjuncts, name, layout)
        self.schemas.complete()
        return node

    def value_in(self, layout: JsonLayout, subschemas: Conjunction) -> Node:
        """Return the node of a value that satisfies all subschemas; compiled later if it needs several lexemes."""
        disjuncts = self.schemas.disjuncts(subschemas)
        if disjuncts == ((),):
            return self._any_value(layout)
        if all(self._is_scalar(conjunction) for conjunction in disjuncts):
            node = self._any_of(disjuncts, "", layout)
            if _is_short(node):
                return node
        if (layout, disjuncts) not in self._named:
            name = self.names.fresh(_name_hint(disjuncts, subschemas))
            self._named[layout, disjuncts] = name
            self._rules[name] = EMPTY  # keeps the order
            self._pending.append((name, disjuncts, layout))
        return Ref(self._named[layout, disjuncts])

    def _any_value(self, layout: JsonLayout) -> Node:
        """Return any value, nested to any depth."""
        inner = layout.values
        name, object_name, array_name = (f"{inner.name}-{kind}" for kind in ("value", "object", "array"))
        if name not in self._rules:
            value, text, comma = Ref(name), inner.string(ANY_TEXT, 0, None), inner.comma
            words = (inner.words([word]) for word in _WORDS)
            self._rules[name] = choice(Ref(object_name), Ref(array_name), text, inner.plain(numbers.number()), *words)
            pair = sequence(inner.free_key(None), value)
            self._rules[object_name] = inner.enclose("{", separated(pair, comma, 0, None), "}")
            self._rules[array_name] = inner.enclose("[", separated(value, comma, 0, None), "]")
        return layout.any_text or Ref(name)

    def _any_of(self, disjuncts: tuple[Conjunction, ...], name: str, layout: JsonLayout) -> Node:
        """Return the node of values that satisfy one of these conjunctions; `name` begins the names of its rules."""
        nodes = [self._recorded(conjunction, name, layout) for conjunction in disjuncts]
        if layout.text_lists is not None and self._has_text_lists and are_text_lists(self.schemas, disjuncts):
            view, name = self._view(layout.text_lists), f"{name}-texts"
            nodes += [array_node(view, (*one, one[0].derive("texts", {"minItems": 1})), name) for one in disjuncts]
        return self._union(nodes, layout)

    def _view(self, layout: JsonLayout) -> _View:
        if layout not in self._views:
            self._views[layout] = _View(self, layout)
        return self._views[layout]

    def _is_scalar(self, conjunction: Conjunction) -> bool:
        return not {"object", "array"} & types_of(self.schemas, conjunction)

    def _recorded(self, conjunction: Conjunction, name: str, layout: JsonLayout) -> Node:
        """Return the node of a conjunction, and note for each of its schemas whether it admits anything at all."""
        node = self._conjunction(conjunction, name, layout)
        for subschema in conjunction:
            if not (subschema.is_synthetic or subschema.is_negated or subschema.origin or subschema.path == ALSO):
                known = self._is_satisfiable.get(subschema.path, False)
                self._is_satisfiable[subschema.path] = known or node != NOTHING
        return node

    def _conjunction(self, conjunction: Conjunction, name: str, layout: JsonLayout) -> Node:
        if not conjunction:
            return self._any_value(layout)
        values = self.schemas.values(conjunction)
        if values is not None:
            return self._enumeration(conjunction, values, layout)
        types = json_types(conjunction)
        if not types:
            return self._impossible(conjunction, "no type of value is left")
        # Numbers are one node, for integers as well as fractions.
        types = [type_ for type_ in types if not (type_ == "fraction" and "integer" in types)]
        if layout.only_strings:
            types = [type_ for type_ in types if type_ == "string"]
        return layout.union([self._of_type(type_, conjunction, name, layout) for type_ in types])

    def _enumeration(self, conjunction: Conjunction, values: list[Any], layout: JsonLayout) -> Node:
        if not values:
            return self._impossible(conjunction, "no value of enum or const satisfies the rest")
        scalars = [value for value in values if not isinstance(value, Mapping | list)]
        nested = [layout.constant(value) for value in values if isinstance(value, Mapping | list)]
        node = choice(*([layout.scalars(scalars)] if scalars else []), *nested)
        if node == NOTHING and not layout.only_strings:
            return self._impossible(conjunction, "this family's calls can spell no value of it")
        return node

    def _of_type(self, type_: str, conjunction: Conjunction, name: str, layout: JsonLayout) -> Node:
        if type_ == "object":
            return object_node(self._view(layout), conjunction, name)
        if type_ == "array":
            return array_node(self._view(layout), conjunction, name)
        word, build = _SCALARS[type_]
        node = build(conjunction, layout)
        if node == NOTHING:
            return self._impossible(conjunction, f"no {word} is within the bounds")
        if word == "number":
            self._number_lexemes.add(node)
        return node

    def _union(self, nodes: Iterable[Node], layout: JsonLayout) -> Node:
        """Return a choice. Numbers become one lexeme together: a lexer would prefer the one that reads further."""
        node = layout.union(nodes)
        items = node.items if isinstance(node, Choice) else ()
        apart = [item for item in items if isinstance(item, Lexeme) and item in self._number_lexemes]
        if len(apart) < 2 or all(is_plain(item.item) for item in apart):
            return node
        together = Lexeme(choice(*(item.item for item in apart)))
        try:
            automaton(together.item)
        except TooLargeError:
            return node  # each by itself is small enough
        return choice(*(item for item in items if item not in self._number_lexemes), together)

    def _impossible(self, conjunction: Conjunction, reason: str) -> Node:
        self.schemas.mark_impossible(conjunction[0], reason)
        return NOTHING


@dataclass(frozen=True, slots=True)
class _View:
    """The compiler as the rules of objects and arrays in one layout see it. Implements `RuleContext`."""

    compiler: SchemaCompiler
    layout: JsonLayout

    @property
    def any_order(self) -> bool:
        return self.compiler.any_order

    @property
    def schemas(self) -> Expander:
        return self.compiler.schemas

    @property
    def names(self) -> RuleNames:
        return self.compiler.names

    def value(self, *subschemas: Subschema) -> Node:
        return self.compiler.value_in(self.layout.values, subschemas)


_WORDS = (True, False, None)
_SCALARS: dict[str, tuple[str, Callable[[Conjunction, JsonLayout], Node]]] = {
    "string": ("string", string_node),
    "integer": ("number", number_node),
    "fraction": ("number", number_node),
    "boolean": ("boolean", boolean_node),
    "null": ("null", null_node),
}


def _name_hint(disjuncts: tuple[Conjunction, ...], subschemas: Conjunction) -> str:
    """Return a name for a value's rule: the last names of its path."""
    path = next((conjunction[0].path for conjunction in disjuncts if conjunction), subschemas[0].path)
    names = [str(part) for part in path if part not in NAMED_SCHEMAS and part not in {"anyOf", "oneOf", "allOf"}]
    return "-".join(names[-3:]) or "args"


@functools.lru_cache(maxsize=256)
def _is_short(node: Node) -> bool:
    """Return whether a node's text has up to about MAX_INLINE characters."""
    return _room_left(node, MAX_INLINE) >= 0


def _room_left(node: Node, room: int) -> int:
    """Return about how many of `room` characters a node's text leaves free; below zero, it stops counting."""
    if isinstance(node, Literal):
        return room - len(node.text)
    room -= 4
    for item in children(node):
        if room < 0:
            break
        room = _room_left(item, room)
    return room

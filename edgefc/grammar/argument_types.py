"""The types that a tool's schema allows for each argument, for readers of text in which types are not marked.

The compiler of schemas is imported when a type is asked for: many commands read no answer.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from edgefc.errors import SchemaError
from edgefc.grammar.automata import TooLargeError
from edgefc.grammar.json_schema.findings import UnenforceableError, UnsupportedPatternError

if TYPE_CHECKING:
    from edgefc.grammar.json_schema.document import Subschema
    from edgefc.grammar.json_schema.expander import Expander

_UNREADABLE = (SchemaError, UnenforceableError, UnsupportedPatternError, TooLargeError, RecursionError)


class ArgumentTypes:
    """The types of a tool's arguments. `parameters` is the schema; nothing is read before it is needed."""

    def __init__(self, parameters: Any) -> None:
        self._parameters = parameters
        self._types: dict[str, frozenset[str] | None] = {}
        self._text_lists: dict[str, bool] = {}

    def of(self, name: str) -> frozenset[str] | None:
        """Return the JSON types that an argument may have, `integer` and `fraction` for numbers; None: unknown."""
        if name not in self._types:
            try:
                self._types[name] = self._find(name)
            except _UNREADABLE:
                self._types[name] = None
        return self._types[name]

    def is_text_list(self, name: str) -> bool:
        """Return whether an argument is an array that may be a list of strings, as `are_text_lists` has it."""
        if name not in self._text_lists:
            try:
                self._text_lists[name] = self._find_text_list(name)
            except _UNREADABLE:
                self._text_lists[name] = False
        return self._text_lists[name]

    def admits(self, name: str, value: Any) -> bool:
        """Return whether an argument may have this value."""
        from edgefc.grammar.json_schema.validity import satisfies

        try:
            return any(satisfies(self._schemas, value, subschemas) for subschemas in self._subschemas(name))
        except _UNREADABLE:
            return True

    def _find(self, name: str) -> frozenset[str]:
        from edgefc.grammar.json_schema.members import types_of

        conjunctions = (one for subschemas in self._subschemas(name) for one in self._schemas.disjuncts(subschemas))
        return frozenset().union(*(types_of(self._schemas, one) for one in conjunctions))

    def _find_text_list(self, name: str) -> bool:
        from edgefc.grammar.json_schema.members import are_text_lists

        ways = self._subschemas(name)
        # With several ways to satisfy the schema, the text would not tell which of them it is in.
        return len(ways) == 1 and are_text_lists(self._schemas, self._schemas.disjuncts(ways[0]))

    def _subschemas(self, name: str) -> list[tuple[Subschema, ...]]:
        """Return, for each way to satisfy the schema, what must hold of an argument."""
        from edgefc.grammar.json_schema.document import Subschema
        from edgefc.grammar.json_schema.members import property_subschemas

        root = Subschema((), self._schemas.document.root)
        return [
            tuple(property_subschemas(self._schemas, conjunction, name))
            for conjunction in self._schemas.disjuncts([root])
        ]

    @functools.cached_property
    def _schemas(self) -> Expander:
        from edgefc.grammar.json_schema.array_types import expand_array_types
        from edgefc.grammar.json_schema.expander import Expander
        from edgefc.grammar.parameters import read_parameters

        schema, _ = read_parameters(self._parameters)
        return Expander(expand_array_types(schema)[0], closed=True)

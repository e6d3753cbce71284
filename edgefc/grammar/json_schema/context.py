"""Interfaces through which the parts of the compiler call back into it: schemas contain schemas.

The parts import only these protocols, so that imports run one way: `Expander` implements the first, `SchemaCompiler`
the second.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from edgefc.grammar.json_schema.document import Conjunction, Document, Subschema
from edgefc.grammar.json_schema.layout import JsonLayout
from edgefc.grammar.json_schema.names import RuleNames
from edgefc.grammar.rules import Node


class SchemaContext(Protocol):
    """Answers about the schemas of one document, before any rule is built.

    closed  whether objects that declare properties allow no others where `additionalProperties` is missing
    """

    closed: bool

    @property
    def document(self) -> Document: ...

    def disjuncts(self, subschemas: Iterable[Subschema]) -> tuple[Conjunction, ...]:
        """Return the ways in which all subschemas can hold, each without references and combinators; maybe none."""
        ...

    def values(self, conjunction: Conjunction) -> list[Any] | None:
        """Return the values that `enum` and `const` leave and the rest admits; None: there is neither keyword."""
        ...

    def admits(self, value: Any, subschema: Subschema) -> bool:
        """Return whether a value satisfies a subschema, as the standard reads it."""
        ...

    def overlapping(self, subschema: Subschema, branches: list[Subschema]) -> set[tuple[int, int]]:
        """Return the pairs of `oneOf` branches that one value may satisfy."""
        ...

    def note(self, subschema: Subschema, keyword: str, reason: str) -> None:
        """List a keyword as not fully enforced, but keep what the rules do assert of it."""
        ...


class RuleContext(Protocol):
    """Builds rules for the schemas of one document.

    any_order  whether small objects may have their properties in any order
    """

    @property
    def any_order(self) -> bool: ...

    @property
    def schemas(self) -> SchemaContext: ...

    @property
    def layout(self) -> JsonLayout: ...

    @property
    def names(self) -> RuleNames: ...

    def value(self, *subschemas: Subschema) -> Node:
        """Return the node of a value that satisfies all subschemas."""
        ...

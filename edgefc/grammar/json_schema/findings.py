"""Remarks of the compiler about a schema, besides its grammar."""

from __future__ import annotations

from dataclasses import dataclass

from edgefc.errors import FieldPath, SchemaError, format_path
from edgefc.grammar.json_schema.document import Subschema


@dataclass(frozen=True, slots=True)
class Finding:
    """A remark about one location of a schema, for its author."""

    path: FieldPath
    reason: str

    def __str__(self) -> str:
        location = format_path(self.path)
        return f"{location}: {self.reason}" if location else self.reason

    def under(self, *outer: str | int) -> Finding:
        """Return the same finding seen from an enclosing document."""
        return Finding((*outer, *self.path), self.reason)


class UnenforceableError(Exception):
    """A keyword that the grammar cannot assert. The compiler catches it, lists the keyword and starts again."""

    def __init__(self, path: FieldPath, keyword: str, reason: str) -> None:
        super().__init__(path, keyword, reason)
        self.path, self.keyword, self.reason = path, keyword, reason


class UnsupportedPatternError(Exception):
    """A pattern that no automaton has. It is refused, or checked after decoding by a regex engine that has it.

    refusal  the error if it is refused
    """

    def __init__(self, subschema: Subschema, keyword: str, refusal: SchemaError) -> None:
        super().__init__(subschema, keyword, refusal)
        self.refusal = refusal
        self._path, self._keyword = subschema.origin or (subschema.path, keyword)

    def as_unenforceable(self) -> UnenforceableError:
        """Return the error that has the keyword left out and listed."""
        return UnenforceableError(self._path, self._keyword, f"{self.refusal.reason}; checked after decoding")


def unenforceable(subschema: Subschema, keyword: str, reason: str) -> UnenforceableError:
    """Return the error of a keyword that cannot be asserted; of a negated one, that of the negation's keyword."""
    return UnenforceableError(*(subschema.origin or (subschema.path, keyword)), reason)

"""What a compiler has to tell about a schema besides its grammar."""

from __future__ import annotations

from dataclasses import dataclass

from edgefc.errors import SchemaPath, format_path


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one place of a schema that its author should know."""

    path: SchemaPath
    reason: str

    def __str__(self) -> str:
        place = format_path(self.path)
        return f"{place}: {self.reason}" if place else self.reason

    def under(self, *outer: str | int) -> Finding:
        """The same finding seen from an enclosing document."""
        return Finding((*outer, *self.path), self.reason)


class Unenforceable(Exception):  # noqa: N818 - it is caught, and becomes a finding
    """A keyword that the grammar cannot assert. The compiler starts anew without it, and lists it."""

    def __init__(self, path: SchemaPath, keyword: str, reason: str) -> None:
        super().__init__(path, keyword, reason)
        self.path, self.keyword, self.reason = path, keyword, reason

"""`$ref` inside a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from edgefc.errors import ToolError

MAX_HOPS = 20
LONGEST = 200  # characters of a reference that is named in an error


class References:
    """Resolves JSON pointers in a document."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def resolve(self, reference: Any) -> Any:
        """Return the value that a reference names. Raises ToolError."""
        name = repr(reference if not isinstance(reference, str) else reference[:LONGEST])
        if not isinstance(reference, str):
            raise ToolError(f"$ref must be text, not {name[:LONGEST]}")
        if not reference.startswith("#"):
            raise ToolError(f"the reference {name} leaves the document")
        pointer = unquote(reference[1:])
        if pointer and not pointer.startswith("/"):
            raise ToolError(f"the reference {name} is no path in the document")
        value: Any = self._root
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(value, Mapping) and key in value:
                value = value[key]
            elif isinstance(value, list) and key.isdecimal() and len(key) < 7 and int(key) < len(value):
                value = value[int(key)]
            else:
                raise ToolError(f"the document has no {name}")
        return value

    def follow(self, node: Any, what: str) -> Mapping[str, Any]:
        """Return an object, or the one that its `$ref` names. Raises ToolError."""
        for _ in range(MAX_HOPS):
            if not isinstance(node, Mapping):
                raise ToolError(f"{what} must be an object")
            if "$ref" not in node:
                return node
            node = self.resolve(node["$ref"])
        raise ToolError(f"{what} has a reference to itself")

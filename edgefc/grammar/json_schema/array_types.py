"""Types that name an array with its items, such as `string[]`, `List[int]` or `array of strings`."""

from __future__ import annotations

import re
from typing import Any

from edgefc.errors import FieldPath
from edgefc.grammar.json_schema.keywords import TYPES, standard_type
from edgefc.tools.schemas import Note, map_schemas

_FORMS = (
    re.compile(r"(?P<item>.+?)\s*\[\s*\]"),
    re.compile(
        r"(?:readonly\s*)?(?:array|list|set|sequence|iterable)\s*[<\[(]\s*(?P<item>.+?)\s*[>\])]", re.IGNORECASE
    ),
    re.compile(r"(?:array|list|set)\s+of\s+(?P<item>[a-z]+?)s?", re.IGNORECASE),
)
MAX_NESTED = 8


def expand_array_types(schema: Any) -> tuple[Any, list[Note]]:
    """Return a schema with arrays and items instead of such types, and where they were."""
    notes: list[Note] = []

    def expand(node: dict[str, Any], path: FieldPath) -> dict[str, Any]:
        written = node.get("type")
        names = written if isinstance(written, list) else [written]
        items = [item for name in names if isinstance(name, str) and (item := _items(name)) is not None]
        if not items:
            return node
        types = ["array" if isinstance(name, str) and _items(name) is not None else name for name in names]
        node["type"] = list(dict.fromkeys(types)) if isinstance(written, list) else "array"
        notes.append(((*path, "type"), f"{written!r} is read as an array with items"))
        if "items" not in node and "prefixItems" not in node:
            node["items"] = items[0] if len(items) == 1 else {"anyOf": items}
        return node

    return map_schemas(schema, expand), notes


def _items(name: str, level: int = 0) -> dict[str, Any] | None:
    """Return the schema of the items that a type's name states; None: it is no such name."""
    if level > MAX_NESTED or len(name) > 100:
        return None
    for form in _FORMS:
        if (match := form.fullmatch(name.strip())) is None:
            continue
        inner = match["item"].strip("() ")
        if (nested := _items(inner, level + 1)) is not None:
            return {"type": "array", "items": nested}
        standard = standard_type(inner)
        if standard == "any":
            return {}
        if standard in TYPES:
            return {"type": standard}
    return None

"""A schema as a JSON document: its limits, its places and the references between them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from edgefc.errors import SchemaError, SchemaPath

MAX_BYTES = 1 << 20
MAX_BITS = 4096
MAX_NESTING = 256  # of JSON; how deep schemas may nest is MAX_DEPTH
MAX_DEPTH = 64
# Where values stand that only look like schemas.
NO_SCHEMAS = {"const", "enum", "default", "examples", "example"}
NAMED_SCHEMAS = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}


@dataclass(frozen=True, slots=True)
class Place:
    """A schema and where it stands. Schemas made on the way, such as by `not`, have paths of their own.

    done      keywords that have been dealt with
    negative  whether the schema must not hold
    own       whether the compiler made it
    origin    the keyword because of which a schema is negated, to be given up when that cannot be enforced
    """

    path: SchemaPath
    schema: Any = field(compare=False)
    done: frozenset[str] = frozenset()
    negative: bool = False
    own: bool = field(default=False, compare=False)
    origin: tuple[SchemaPath, str] | None = field(default=None, compare=False)

    def has(self, keyword: str) -> bool:
        return isinstance(self.schema, dict) and keyword in self.schema and keyword not in self.done

    def get(self, keyword: str, default: Any = None) -> Any:
        if isinstance(self.schema, dict) and keyword in self.schema and keyword not in self.done:
            return self.schema[keyword]
        return default

    def inside(self, *parts: str | int) -> Place:
        """The schema at a path below this one."""
        node = self.schema
        for part in parts:
            node = node[part]
        return node if isinstance(node, Place) else Place((*self.path, *parts), node, origin=self.origin)

    def without(self, *keywords: str) -> Place:
        return replace(self, done=self.done.union(keywords))

    def negated(self, because: tuple[SchemaPath, str] | None = None) -> Place:
        """The place that holds where this one does not."""
        return replace(self, negative=not self.negative, origin=self.origin or because)

    def made(self, name: str, schema: dict[str, Any]) -> Place:
        """A schema of the compiler's own that stands for something of this one's."""
        return Place((*self.path, f"~{name}"), schema, own=True, origin=self.origin)


def check_document(document: Any) -> str:
    """The document as JSON text. Raises SchemaError for what is not JSON or beyond a limit.

    Iterative: the deepest input must not exhaust the stack before it is measured.
    """
    for value, path in _walk(document):
        if isinstance(value, Mapping | list | tuple):
            if len(path) >= MAX_NESTING:
                raise SchemaError(path[:8], f"nested deeper than {MAX_NESTING} levels of JSON")
            odd = [key for key in value if not isinstance(key, str)] if isinstance(value, Mapping) else []
            if odd:
                raise SchemaError(path, f"the name {odd[0]!r} is not a text")
        elif isinstance(value, float) and not math.isfinite(value):
            raise SchemaError(path, f"{value!r} is not a JSON number")
        elif value is not None and not isinstance(value, str | int | float):
            raise SchemaError(path, f"a {type(value).__name__} is not JSON")
        elif isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise SchemaError(path, "a number of so many digits is beyond what JSON readers take")
    text = json.dumps(document, ensure_ascii=False, default=dict)
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise SchemaError((), f"larger than {MAX_BYTES:,} bytes")
    return text


class Document:
    """Resolves references inside one schema document; nothing is ever fetched."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._targets: dict[str, SchemaPath] | None = None
        self._bases: dict[SchemaPath, str] = {}
        self._dynamic_anchors: dict[str, int] = {}

    def resolve(self, place: Place, keyword: str = "$ref") -> Place:
        """What the place's `$ref` refers to (RFC 6901 pointers, `$anchor`, `$id` of an embedded schema).

        A `$dynamicRef` is a `$ref` as long as no other schema has a `$dynamicAnchor` of that name.
        """
        pointer, where = place.get(keyword), (*place.path, keyword)
        if not isinstance(pointer, str):
            raise SchemaError(where, f"must be a string, not {kind_of(pointer)}")
        base, fragment = urldefrag(urljoin(self._base(place.path), pointer))
        if keyword == "$dynamicRef" and self._dynamic(fragment) > 1:
            raise SchemaError(where, f"several schemas have the $dynamicAnchor {fragment!r}", "Use $ref.")
        root: SchemaPath | None = () if base == "" else self._index().get(base)
        if root is None:
            raise SchemaError(where, f"{pointer!r} is outside this schema", "Copy the definition into $defs.")
        if fragment and not fragment.startswith("/"):
            anchored = self._index().get(f"{base}#{fragment}")
            if anchored is None:
                raise SchemaError(where, f"there is no anchor {fragment!r}")
            return replace(Place((), self.root).inside(*anchored), origin=place.origin)
        node, path = Place((), self.root).inside(*root).schema, root
        for part in fragment.split("/")[1:]:
            key: str | int = unquote(part).replace("~1", "/").replace("~0", "~")
            try:
                key = int(key) if isinstance(node, list) else key
                node, path = node[key], (*path, key)
            except (KeyError, IndexError, ValueError, TypeError):
                raise SchemaError(where, f"{pointer!r} refers to nothing") from None
        return Place(path, node, origin=place.origin)

    def _dynamic(self, name: str) -> int:
        self._index()
        return self._dynamic_anchors.get(name, 0)

    def _base(self, path: SchemaPath) -> str:
        """The URI that references at this place are relative to; empty for the document itself."""
        self._index()
        return next((self._bases[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self._bases), "")

    def _index(self) -> dict[str, SchemaPath]:
        """Where every `$id` and `$anchor` stands, by its URI."""
        if self._targets is None:
            self._targets = {}
            pending: list[tuple[Any, SchemaPath, str]] = [(self.root, (), "")]
            while pending:
                node, path, base = pending.pop()
                if isinstance(node, Mapping):
                    own = node.get("$id")
                    if isinstance(own, str) and not own.startswith("#"):
                        base = urldefrag(urljoin(base, own))[0]
                        self._bases[path] = base
                        self._targets.setdefault(base, path)
                    for keyword in ("$anchor", "$dynamicAnchor"):
                        if isinstance(node.get(keyword), str):
                            self._targets.setdefault(f"{base}#{node[keyword]}", path)
                    if isinstance(name := node.get("$dynamicAnchor"), str):
                        self._dynamic_anchors[name] = self._dynamic_anchors.get(name, 0) + 1
                    for key, value in node.items():
                        if key in NAMED_SCHEMAS and isinstance(value, Mapping):
                            pending += [(item, (*path, key, name), base) for name, item in value.items()]
                        elif key not in NO_SCHEMAS:
                            pending.append((value, (*path, key), base))
                elif isinstance(node, list):
                    pending += [(item, (*path, index), base) for index, item in enumerate(node)]
        return self._targets


def _walk(document: Any) -> Iterator[tuple[Any, SchemaPath]]:
    pending: list[tuple[Any, SchemaPath]] = [(document, ())]
    while pending:
        value, path = pending.pop()
        yield value, path
        if isinstance(value, Mapping):
            pending += [(item, (*path, key)) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            pending += [(item, (*path, index)) for index, item in enumerate(value)]


def kind_of(value: Any) -> str:
    """What a JSON value is, in words for an error."""
    if isinstance(value, Mapping):
        return "an object"
    words = {list: "an array", tuple: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return words.get(type(value), "a number")

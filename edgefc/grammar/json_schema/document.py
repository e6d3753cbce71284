"""A schema as a JSON document: its limits, its subschemas and the references between them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from edgefc.errors import FieldPath, SchemaError

MAX_BYTES = 1 << 20
MAX_BITS = 4096
MAX_NESTING = 256  # levels of JSON; MAX_DEPTH limits levels of schemas
MAX_DEPTH = 64
# Keywords whose values may look like schemas, but are none.
NO_SCHEMAS = {"const", "enum", "default", "examples", "example"}
NAMED_SCHEMAS = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}


@dataclass(frozen=True, slots=True)
class Subschema:
    """A schema and its path in the document. Schemas that the compiler derives, for `not` or so, have paths too.

    handled       keywords that have been dealt with
    is_negated    whether the schema must not hold
    is_synthetic  whether the compiler derived it
    origin        the keyword because of which a schema is negated; it is listed if the negation cannot be enforced
    """

    path: FieldPath
    schema: Any = field(compare=False)
    handled: frozenset[str] = frozenset()
    is_negated: bool = False
    is_synthetic: bool = field(default=False, compare=False)
    origin: tuple[FieldPath, str] | None = field(default=None, compare=False)

    def __hash__(self) -> int:
        return hash(self.path)  # nearly always enough to tell schemas apart, and much faster than all fields

    def has(self, keyword: str) -> bool:
        return isinstance(self.schema, dict) and keyword in self.schema and keyword not in self.handled

    def get(self, keyword: str, default: Any = None) -> Any:
        if isinstance(self.schema, dict) and keyword in self.schema and keyword not in self.handled:
            return self.schema[keyword]
        return default

    def child(self, *parts: str | int) -> Subschema:
        """Return the schema at a path below this one."""
        node = self.schema
        for part in parts:
            node = node[part]
        return node if isinstance(node, Subschema) else Subschema((*self.path, *parts), node, origin=self.origin)

    def without(self, *keywords: str) -> Subschema:
        return replace(self, handled=self.handled.union(keywords))

    def negated(self, origin: tuple[FieldPath, str] | None = None) -> Subschema:
        """Return the schema that holds where this one does not."""
        return replace(self, is_negated=not self.is_negated, origin=self.origin or origin)

    def derive(self, name: str, schema: dict[str, Any]) -> Subschema:
        """Return a schema of the compiler's own that stands for a part of this one."""
        return Subschema((*self.path, f"~{name}"), schema, is_synthetic=True, origin=self.origin)


Conjunction = tuple[Subschema, ...]  # subschemas that must all hold of a value; once expanded, without combinators
Trail = frozenset[tuple[FieldPath, bool]]  # path and negation of the subschemas that led to one
Step = tuple[Subschema, Trail]


def to_json_checked(document: Any) -> str:
    """Return the document as JSON text. Raises SchemaError for values that are not JSON or exceed a limit.

    Iterative: the deepest input must not exhaust the stack before its depth is known.
    """
    for value, path in _walk(document):
        if isinstance(value, Mapping | list | tuple):
            if len(path) >= MAX_NESTING:
                raise SchemaError(path[:8], f"nested deeper than {MAX_NESTING} levels of JSON")
            if isinstance(value, Mapping) and (others := [key for key in value if not isinstance(key, str)]):
                raise SchemaError(path, f"invalid name {others[0]!r}: it must be a string")
        elif isinstance(value, float) and not math.isfinite(value):
            raise SchemaError(path, f"invalid number {value!r}: JSON has only finite numbers")
        elif value is not None and not isinstance(value, str | int | float):
            raise SchemaError(path, f"unsupported type {type(value).__name__!r}: it is not part of JSON")
        elif isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise SchemaError(path, f"integer of more than {MAX_BITS:,} bits")
    text = json.dumps(document, ensure_ascii=False, default=dict)
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise SchemaError((), f"larger than {MAX_BYTES:,} bytes")
    return text


class Document:
    """Resolves references inside one schema document; nothing is ever downloaded."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._targets: dict[str, FieldPath] | None = None
        self._bases: dict[FieldPath, str] = {}
        self._dynamic_anchors: dict[str, int] = {}

    def resolve(self, subschema: Subschema, keyword: str = "$ref") -> Subschema:
        """Return the target of a `$ref` (RFC 6901 pointer, `$anchor`, or `$id` of an embedded schema).

        A `$dynamicRef` is a `$ref` as long as no other schema has a `$dynamicAnchor` of that name.
        """
        reference, where = subschema.get(keyword), (*subschema.path, keyword)
        if not isinstance(reference, str):
            raise SchemaError(where, f"must be a string, not {describe_type(reference)}")
        base, fragment = urldefrag(urljoin(self._base(subschema.path), reference))
        if keyword == "$dynamicRef" and self._count_dynamic_anchors(fragment) > 1:
            raise SchemaError(where, f"several schemas have the $dynamicAnchor {fragment!r}", "Use $ref.")
        root: FieldPath | None = () if base == "" else self._index().get(base)
        if root is None:
            raise SchemaError(where, f"{reference!r} is outside this schema", "Copy the definition into $defs.")
        if fragment and not fragment.startswith("/"):
            anchored = self._index().get(f"{base}#{fragment}")
            if anchored is None:
                raise SchemaError(where, f"unknown anchor {fragment!r}")
            return replace(Subschema((), self.root).child(*anchored), origin=subschema.origin)
        node, path = Subschema((), self.root).child(*root).schema, root
        for part in fragment.split("/")[1:]:
            key: str | int = unquote(part).replace("~1", "/").replace("~0", "~")
            try:
                key = int(key) if isinstance(node, list) else key
                node, path = node[key], (*path, key)
            except (KeyError, IndexError, ValueError, TypeError):
                raise SchemaError(where, f"{reference!r} refers to nothing") from None
        return Subschema(path, node, origin=subschema.origin)

    def _count_dynamic_anchors(self, name: str) -> int:
        self._index()
        return self._dynamic_anchors.get(name, 0)

    def _base(self, path: FieldPath) -> str:
        """Return the URI that references at this path are relative to; empty for the document itself."""
        self._index()
        return next((self._bases[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self._bases), "")

    def _index(self) -> dict[str, FieldPath]:
        """Return the path of every `$id` and `$anchor`, by its URI."""
        if self._targets is None:
            self._targets = {}
            pending: list[tuple[Any, FieldPath, str]] = [(self.root, (), "")]
            while pending:
                node, path, base = pending.pop()
                if isinstance(node, Mapping):
                    base = self._index_names(self._targets, node, path, base)
                pending += [(item, (*path, *parts), base) for item, parts in _schema_parts(node)]
        return self._targets

    def _index_names(self, targets: dict[str, FieldPath], node: Mapping[str, Any], path: FieldPath, base: str) -> str:
        """Record a schema's `$id` and anchors; return the base of what is inside of it."""
        own = node.get("$id")
        if isinstance(own, str) and not own.startswith("#"):
            base = urldefrag(urljoin(base, own))[0]
            self._bases[path] = base
            targets.setdefault(base, path)
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(node.get(keyword), str):
                targets.setdefault(f"{base}#{node[keyword]}", path)
        if isinstance(name := node.get("$dynamicAnchor"), str):
            self._dynamic_anchors[name] = self._dynamic_anchors.get(name, 0) + 1
        return base


def _schema_parts(node: Any) -> Iterator[tuple[Any, FieldPath]]:
    """Yield the parts of a schema or a list in which schemas may stand, with their relative paths."""
    if isinstance(node, list):
        yield from ((item, (index,)) for index, item in enumerate(node))
    elif isinstance(node, Mapping):
        for key, value in node.items():
            if key in NAMED_SCHEMAS and isinstance(value, Mapping):
                yield from ((item, (key, name)) for name, item in value.items())
            elif key not in NO_SCHEMAS:
                yield value, (key,)


def _walk(document: Any) -> Iterator[tuple[Any, FieldPath]]:
    pending: list[tuple[Any, FieldPath]] = [(document, ())]
    while pending:
        value, path = pending.pop()
        yield value, path
        if isinstance(value, Mapping):
            pending += [(item, (*path, key)) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            pending += [(item, (*path, index)) for index, item in enumerate(value)]


def describe_type(value: Any) -> str:
    """Return the type of a JSON value in words, for an error."""
    if isinstance(value, Mapping):
        return "an object"
    words = {list: "an array", tuple: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return words.get(type(value), "a number")

"""A schema as a JSON document: its limits, its references, its type names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from edgefc.errors import SchemaError, SchemaPath

MAX_BYTES = 1 << 20
MAX_BITS = 4096
MAX_NESTING = 256  # of JSON; a schema's own depth is counted by the compiler


def check_document(document: Any) -> str:
    """The document as canonical JSON text. Raises SchemaError for what is not JSON or beyond a limit.

    Iterative: the deepest input must not exhaust the stack before it is measured.
    """
    pending: list[tuple[Any, SchemaPath]] = [(document, ())]
    while pending:
        value, path = pending.pop()
        if isinstance(value, Mapping | list | tuple):
            if len(path) >= MAX_NESTING:
                raise SchemaError(path[:8], f"nested deeper than {MAX_NESTING} levels of JSON")
            if isinstance(value, Mapping):
                if odd := [key for key in value if not isinstance(key, str)]:
                    raise SchemaError(path, f"the name {odd[0]!r} is not a text")
                pending += [(item, (*path, key)) for key, item in value.items()]
            else:
                pending += [(item, (*path, index)) for index, item in enumerate(value)]
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


def kind_of(value: Any) -> str:
    """What a JSON value is, in words for an error."""
    if isinstance(value, Mapping):
        return "an object"
    words = {list: "an array", tuple: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return words.get(type(value), "a number")

"""Bodies that are forms: which fields a model can fill in, and how their values are written.

Fields of `application/x-www-form-urlencoded` and `multipart/form-data` are texts; objects are JSON, and each item of a
list is a field of its own, unless the document's `encoding` says otherwise. Files cannot be sent.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from edgefc.errors import ToolError
from edgefc.openapi.references import References

URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
STYLES = ("form", "spaceDelimited", "pipeDelimited", "deepObject")
NEEDS_FILE = "its body needs a file, which cannot be sent"


def form_type(media_type: str) -> str:
    """Return the type of a form without its parameters; "" for other types."""
    base = media_type.partition(";")[0].strip().lower()
    return base if base in {URLENCODED, MULTIPART} else ""


def is_file(schema: Any, encoding: Any, references: References) -> bool:
    """Return True for a field that holds a file, or several."""
    kind = encoding.get("contentType") if isinstance(encoding, Mapping) else None
    if isinstance(kind, str):
        return not any(_is_text(one) for one in kind.split(","))
    if not isinstance(schema, Mapping):
        return False
    node = references.follow(schema, "a schema")
    if node.get("type") == "array":
        return is_file(node.get("items"), None, references)
    return node.get("format") in {"binary", "byte"} or "contentMediaType" in node or "contentEncoding" in node


def _is_text(kind: str) -> bool:
    base = kind.partition(";")[0].strip().lower()
    return base.startswith("text/") or base.endswith(("json", "*/*"))


def field_style(form: str, encoding: Any) -> tuple[str, bool, bool]:
    """Return style, explode and is_json of a field; the style "" is that of a form without `encoding`."""
    encoding = encoding if isinstance(encoding, Mapping) else {}
    kind, style = encoding.get("contentType"), encoding.get("style")
    if isinstance(kind, str) and kind.partition(";")[0].strip().lower().endswith("json"):
        return form, True, True
    if form == MULTIPART or (style is None and "explode" not in encoding):
        return form, True, False
    style = "form" if style is None else style
    if style not in STYLES:
        raise ToolError(f"the style {style!r} of a field of its body is not supported")
    return style, encoding.get("explode", style == "form") is True, False


def field_texts(value: Any, *, is_json: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the texts of a field without a style, each with True if it is JSON."""
    if is_json or isinstance(value, Mapping):
        yield json.dumps(value, ensure_ascii=False, allow_nan=False), True
    elif isinstance(value, list):
        for item in value:
            yield from field_texts(item, is_json=isinstance(item, list))
    elif value is not None:
        yield value if isinstance(value, str) else json.dumps(value, allow_nan=False), False


def write_multipart(fields: list[tuple[str, Any, bool]]) -> tuple[str, bytes]:
    """Return the media type with its boundary, and the body, of fields: name, value, is_json."""
    boundary = f"edgefc-{secrets.token_hex(16)}"
    parts: list[str] = []
    for name, value, is_json in fields:
        quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        for text, is_json_text in field_texts(value, is_json=is_json):
            kind = "Content-Type: application/json\r\n" if is_json_text else ""
            head = f'Content-Disposition: form-data; name="{quoted}"\r\n{kind}'
            parts.append(f"--{boundary}\r\n{head}\r\n{text}\r\n")
    body = "".join([*parts, f"--{boundary}--\r\n"]).encode("utf-8", "replace")
    return f"{MULTIPART}; boundary={boundary}", body

"""The result of a call as text for a model."""

from __future__ import annotations

import json
from typing import Any

from edgefc.tools.remote import MAX_RESULT, shorten


def result_text(result: Any, limit: int = MAX_RESULT) -> str:
    """Return structured content as JSON, else the text; `{"error": …}` for a call that failed.

    Images and other files become a line that names them. Of a result longer than `limit` characters head and tail
    remain, with a note between them.
    """
    if result.is_error:
        text = "\n".join(map(_block_text, result.content)) or "the call failed, without a reason"
        return json.dumps({"error": shorten(text, limit)}, ensure_ascii=False)
    if result.structured_content is not None:
        return shorten(json.dumps(result.structured_content, ensure_ascii=False), limit)
    return shorten("\n".join(map(_block_text, result.content)), limit)


def _block_text(block: Any) -> str:
    if block.type == "text":
        return str(block.text)
    if block.type in {"image", "audio"}:
        return f"[{block.type} of the type {block.mime_type}: not shown, the model reads text only]"
    if block.type == "resource_link":
        return f"[resource {block.name}: {block.uri}]"
    text = getattr(block.resource, "text", None)
    return f"[resource {block.resource.uri}: not shown, it is no text]" if text is None else str(text)

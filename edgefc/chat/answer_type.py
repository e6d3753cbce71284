"""Types as response formats: the schema of an answer, and the object that is made of it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

import typing_extensions

from edgefc.chat.options import ChatOptions
from edgefc.errors import RequestError

if TYPE_CHECKING:
    from edgefc.tools.json_types import JsonType


def with_answer_type(options: ChatOptions) -> tuple[ChatOptions, JsonType | None]:
    """Return the options with OpenAI's form of a response format that is a type, and the type; None: it is none.

    Raises RequestError for a type without a JSON Schema.
    """
    hint: Any = options.get("response_format")
    if not (isinstance(hint, type) or typing_extensions.get_origin(hint) is not None):
        return options, None
    found = _json_type(hint)
    form = {"name": getattr(hint, "__name__", "answer"), "schema": found.schema, "strict": True}
    return cast("ChatOptions", {**options, "response_format": {"type": "json_schema", "json_schema": form}}), found


@functools.lru_cache(32)
def _json_type(hint: Any) -> JsonType:
    from edgefc.tools.json_types import JsonType, UnsupportedTypeError

    try:
        return JsonType(hint)
    except UnsupportedTypeError as error:
        raise RequestError("response_format", f"unsupported type {hint!r}: {error}") from None

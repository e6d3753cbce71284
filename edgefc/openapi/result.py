"""The response of a call as text for a model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from edgefc.openapi.http import Response
from edgefc.tools.remote import shorten
from edgefc.types import finite_float, refuse_constant

MAX_ERROR = 600  # characters of the body of a response that reports an error
MIN_SECRET = 4  # characters; a shorter key is no secret, and could be a part of any word
_JSON = re.compile(r"(application|text)/([\w.+-]*\+)?json\Z")
_TEXT = re.compile(
    r"text/.*|application/([\w.+-]*\+)?(xml|yaml|toml|javascript|ecmascript|x-ndjson|jsonl|csv|sql|graphql)"
    r"|application/(x-yaml|x-www-form-urlencoded|jsonlines)|image/svg\+xml"
)


def result_text(response: Response, limit: int, secrets: Iterable[str] = ()) -> str:
    """Return JSON as JSON, text as text; `{"error": …}` for a status of 400 and more.

    Other files become a line that names them. Keys that the server repeats are blotted out. Of a result longer than
    `limit` characters head and tail remain, with a note between them.
    """
    text = _content(response)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= MIN_SECRET:
            text = text.replace(secret, "***")
    if response.status >= 400:
        reason = f"HTTP {response.status} {response.reason}".strip()
        reason = f"{reason}: {text[:MAX_ERROR]}{'…' if len(text) > MAX_ERROR else ''}" if text else reason
        return json.dumps({"error": reason}, ensure_ascii=False)
    return shorten(text or json.dumps({"status": response.status}), limit)


def _content(response: Response) -> str:
    if not response.body:
        return ""
    media_type, _, parameters = response.headers.get("content-type", "").partition(";")
    media_type = media_type.strip().lower()
    if not media_type or _JSON.match(media_type) or _TEXT.fullmatch(media_type):
        text = _decoded(response.body, parameters)
        if text is not None:
            return _compact(text) if not media_type or _JSON.match(media_type) else text
    name = media_type if re.fullmatch(r"[\w.+-]+/[\w.+-]+", media_type) else "of an unknown type"
    return f"[{len(response.body):,} bytes, {name}: not shown, the model reads text only]"


def _decoded(body: bytes, parameters: str) -> str | None:
    match = re.search(r"charset\s*=\s*\"?([\w-]+)", parameters, re.IGNORECASE)
    charset = match[1].lower() if match else "utf-8"
    if charset in {"iso-8859-1", "latin1", "latin-1", "windows-1252"}:
        return body.decode("cp1252" if charset == "windows-1252" else "latin-1", "replace")
    if charset not in {"utf-8", "utf8", "us-ascii", "ascii"}:
        return None
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("utf-8-sig", "replace") if match else None
    return None if "\0" in text else text


def _compact(text: str) -> str:
    """Write JSON without spaces between its parts; text that is not JSON stays as it is."""
    try:
        value = json.loads(text, parse_float=finite_float, parse_constant=refuse_constant)
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text

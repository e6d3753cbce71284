"""The address of an operation: its own servers, those of its path, or the document's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

from edgefc.errors import ToolError
from edgefc.openapi.document import Document
from edgefc.openapi.http import Url, parse_url

LONGEST = 200  # characters of an address in an error


def base_url(document: Document, path_item: Mapping[str, Any], operation: Mapping[str, Any]) -> tuple[str, Url]:
    """Return the first server's URL without a slash at its end, its variables replaced. Raises ToolError."""
    servers = next((one["servers"] for one in (operation, path_item, document.root) if one.get("servers")), None)
    first = servers[0] if isinstance(servers, list) else {"url": "/"} if servers is None else None
    if not isinstance(first, Mapping) or not isinstance(first.get("url"), str):
        raise ToolError("servers must be a list of objects with url")
    text = _with_variables(first["url"], first.get("variables"))
    if document.url:
        text = urljoin(document.url, text)
    url = parse_url(text)
    if url is None:
        if "://" not in text:
            hint = "Load it from its URL, or write the whole URL into servers."
            raise ToolError(f"the document names no host, only the server {text[:LONGEST]!r}", hint)
        raise ToolError(f"the server {text[:LONGEST]!r} is no http or https URL without a password")
    if "?" in url.target or "#" in text:
        raise ToolError(f"the server {text[:LONGEST]!r} has more than a path")
    return f"{url.origin}{url.target}".rstrip("/"), url


def _with_variables(text: str, variables: Any) -> str:
    def value(match: re.Match[str]) -> str:
        variable = variables.get(match[1]) if isinstance(variables, Mapping) else None
        default = variable.get("default") if isinstance(variable, Mapping) else None
        if not isinstance(default, str | int):
            raise ToolError(f"the server's variable {match[1][:LONGEST]!r} has no default")
        return str(default)

    return re.sub(r"\{([^{}]*)\}", value, text)

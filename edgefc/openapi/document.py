"""An OpenAPI document, from a file, an address or an object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from edgefc.errors import RequestError, ToolError
from edgefc.files import read_small
from edgefc.openapi import http
from edgefc.openapi.yaml_text import YamlError, read_yaml
from edgefc.tools import event_loop
from edgefc.types import finite_float, refuse_constant

MAX_BYTES = 20 << 20
LOAD_S = 60.0
MAX_TITLE = 60  # characters
_VERSION = re.compile(r"3\.([012])(\.\d+)?(-[\w.]+)?\Z")


@dataclass(frozen=True, slots=True)
class Document:
    """A document that has been read.

    root    its content
    is_3_0  True for OpenAPI 3.0, whose schemas differ from JSON Schema
    title   its title, for people
    url     the address that it came from; "" for a file
    tag     operations with this tag alone are tools; "" for all
    hosts   the hosts that may be at loopback and private addresses
    """

    root: Mapping[str, Any]
    is_3_0: bool
    title: str
    url: str
    tag: str
    hosts: http.NamedHosts


def read_document(source: str | Path | Mapping[str, Any], allow_hosts: Iterable[str] = ()) -> Document:
    """Read a file, `https://…`, or the content as an object. `#tag` after a file or an address chooses a tag.

    Raises RequestError.
    """
    named = [http.named_host(host) for host in allow_hosts]
    if isinstance(source, Mapping):
        return _document(source, "the document", "", "", named)
    text = str(source)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        url, _, tag = text.partition("#")
        address = http.parse_url(url)
        if address is None:
            raise RequestError("openapi", f"must be a file or an http or https URL, not {text!r}")
        named.append((address.host, address.port))
        return _document(_fetch(url, named), url, url, unquote(tag), named)
    path, tag = _split_path(text)
    try:
        data = read_small(Path(path), MAX_BYTES)
    except FileNotFoundError:
        raise RequestError("openapi", f"no such file: {path}") from None
    except OSError as error:
        raise RequestError("openapi", f"{path} cannot be read: {error}") from None
    return _document(_parse(data, path), path, "", tag, named)


def read_text(text: str) -> Document:
    """Read the text of a document, whose relative addresses are this machine's. Raises RequestError."""
    return _document(_parse(text.encode("utf-8", "replace"), "the text"), "the text", "http://localhost/", "", [])


def _split_path(text: str) -> tuple[str, str]:
    """Split off the tag, unless there is a file of the whole name."""
    path, sign, tag = text.rpartition("#")
    return (text, "") if not sign or Path(text).exists() else (path, unquote(tag))


def _fetch(url: str, named: list[tuple[str, int | None]]) -> Any:
    request = http.Request("GET", url, (("Accept", "application/json, application/yaml;q=0.9, */*;q=0.5"),))
    try:
        response = event_loop.wait_for(
            http.send(request, http.NamedHosts(named), max_bytes=MAX_BYTES, limit_s=LOAD_S), None
        )
    except ToolError as error:
        raise RequestError("openapi", f"{url}: {error.reason}", error.hint) from None
    if response.status != 200:
        raise RequestError("openapi", f"{url}: the server answers with status {response.status}")
    return _parse(response.body, url)


def _parse(data: bytes, where: str) -> Any:
    """Read JSON, and YAML if it is not JSON. Raises RequestError."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError("openapi", f"{where}: not UTF-8: {error.reason}") from None
    try:
        if text.lstrip()[:1] == "{":
            try:
                return json.loads(text, parse_float=finite_float, parse_constant=refuse_constant)
            except json.JSONDecodeError as error:
                reason = f"line {error.lineno}, column {error.colno}: invalid JSON: {error.msg}"
                raise RequestError("openapi", f"{where}: {reason}") from None
        return read_yaml(text)
    except YamlError as error:
        raise RequestError("openapi", f"{where}: {error}") from None
    except RecursionError:
        raise RequestError("openapi", f"{where}: nested too deeply") from None
    except ValueError as error:  # a number that is not finite or has thousands of digits
        raise RequestError("openapi", f"{where}: {error}") from None


def _document(root: Any, where: str, url: str, tag: str, named: list[tuple[str, int | None]]) -> Document:
    if not isinstance(root, Mapping):
        raise RequestError("openapi", f"{where} must hold an object with openapi, info and paths")
    if "swagger" in root:
        raise RequestError("openapi", f"{where}: Swagger 2.0 is not supported", "Convert it to OpenAPI 3 first.")
    version = root.get("openapi")
    match = _VERSION.match(version) if isinstance(version, str) else None
    if match is None:
        reason = "no OpenAPI document" if version is None else f"unsupported OpenAPI version {version!r}"
        raise RequestError("openapi", f"{where}: {reason}", "OpenAPI 3.0 and 3.1 are supported.")
    if not isinstance(root.get("paths", {}), Mapping):
        raise RequestError("openapi", f"{where}: paths must be an object")
    info = root.get("info")
    title = info.get("title") if isinstance(info, Mapping) else None
    title = " ".join(title.split())[:MAX_TITLE] if isinstance(title, str) else ""
    return Document(root, match[1] == "0", title or "API", url, tag, http.NamedHosts(named))

"""A document → its operations as tools, and those that are left out with the reason."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgefc.errors import RequestError, ToolError
from edgefc.openapi.document import Document
from edgefc.openapi.http import Url
from edgefc.openapi.keys import Security, read_security
from edgefc.openapi.parameters import Body, Parameter, read_parameters
from edgefc.openapi.references import References
from edgefc.openapi.schemas import brief
from edgefc.openapi.servers import base_url
from edgefc.tools.remote import Omission, ServerTool

READING, WRITING = ("get", "head"), ("post", "put", "patch", "delete")
MAX_PATHS = 20_000
MAX_OFFERED = 128
MAX_REFUSED = 500  # operations that cannot be tools, before the others are not looked at
MAX_NAME = 64  # characters, OpenAI's limit
MAX_DESCRIPTION = 500  # characters
LONGEST = 80  # characters of a path in an omission
WRITES = "it may change something; --allow-writes offers it"


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation that can be called.

    base_url, url  the server: its whole address, and its parts
    path           the template, such as /pets/{petId}
    source         name, description, schema and fingerprint
    """

    method: str
    base_url: str
    url: Url
    path: str
    parameters: tuple[Parameter, ...]
    body: Body | None
    security: Security
    source: ServerTool


@dataclass(frozen=True, slots=True)
class _Entry:
    """An operation as the document has it."""

    method: str
    path: str
    path_item: Mapping[str, Any]
    operation: Mapping[str, Any]


def read_operations(document: Document, *, allow_writes: bool) -> tuple[list[Operation], list[Omission]]:
    """Read all operations, in the order of the document. Raises RequestError for a tag that none has."""
    references = References(document.root)
    found: list[Operation] = []
    omitted: list[Omission] = []
    names: set[str] = set()
    refused = 0
    entries = [(entry, _unique_name(entry, names)) for entry in _entries(document, references, omitted)]
    if not allow_writes:
        omitted += [Omission(document.title, name, WRITES) for entry, name in entries if entry.method in WRITING]
        entries = [(entry, name) for entry, name in entries if entry.method in READING]
    for number, (entry, name) in enumerate(entries):
        if len(found) >= MAX_OFFERED or refused >= MAX_REFUSED:
            omitted.append(
                Omission(document.title, "", _too_many(len(entries) - number, [entry for entry, _ in entries]))
            )
            break
        try:
            found.append(_read(document, references, entry, name))
        except (ToolError, RecursionError) as error:
            refused += 1
            reason = error.reason if isinstance(error, ToolError) else "nested too deeply"
            omitted.append(Omission(document.title, name, reason))
    return found, omitted


def _too_many(number: int, entries: list[_Entry]) -> str:
    counts: dict[str, int] = {}
    for entry in entries:
        for tag in _tags(entry.operation):
            counts[tag] = counts.get(tag, 0) + 1
    most = sorted(counts, key=lambda tag: -counts[tag])[:12]
    tags = ", ".join(f"#{tag[:40]} ({counts[tag]})" for tag in most)
    return f"{number:,} more operations are left out; choose by tag after the file's name{f': {tags}' if tags else ''}"


def _entries(document: Document, references: References, omitted: list[Omission]) -> Iterator[_Entry]:
    tags: set[str] = set()
    is_empty = True
    paths = document.root.get("paths", {})
    for number, (path, item) in enumerate(paths.items()):
        if number >= MAX_PATHS:
            omitted.append(Omission(document.title, "", f"more than {MAX_PATHS:,} paths; the others are not looked at"))
            break
        if not isinstance(path, str) or path.startswith("x-"):
            continue
        try:
            path_item = references.follow(item, "a path")
        except ToolError as error:
            omitted.append(Omission(document.title, path[:LONGEST], error.reason))
            continue
        for method in (*READING, *WRITING):
            operation = path_item.get(method)
            if not isinstance(operation, Mapping):
                continue
            own = _tags(operation)
            tags.update(own)
            if not document.tag or document.tag in own:
                is_empty = False
                yield _Entry(method, path, path_item, operation)
    if document.tag and is_empty:
        known = ", ".join(sorted(tags)[:30])
        raise RequestError("openapi", f"no operation has the tag {document.tag!r}", f"Known: {known}." if known else "")


def _tags(operation: Mapping[str, Any]) -> list[str]:
    tags = operation.get("tags")
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _unique_name(entry: _Entry, names: set[str]) -> str:
    own = entry.operation.get("operationId")
    text = (
        own
        if isinstance(own, str) and own.strip()
        else "_".join([entry.method, *re.findall(r"[A-Za-z0-9-]+", entry.path[:1000])])
    )
    name = fit_name(text, names) or fit_name(entry.method, names)
    names.add(name)
    return name


def fit_name(text: str, names: set[str]) -> str:
    """Return a text as a name of a tool that no other has: letters, digits, `_` and `-`."""
    base = re.sub(r"[^A-Za-z0-9_-]+", "_", text[:1000]).strip("_")[:MAX_NAME].rstrip("_")
    name, number = base, 1
    while base and name in names:
        number += 1
        end = f"_{number}"
        name = f"{base[: MAX_NAME - len(end)]}{end}"
    return name


def _read(document: Document, references: References, entry: _Entry, name: str) -> Operation:
    _check_path(entry.path)
    base, url = base_url(document, entry.path_item, entry.operation)
    security = read_security(document.root, entry.operation, references, url)
    read = read_parameters(
        entry.path_item, entry.operation, references, is_3_0=document.is_3_0, key_names=security.names
    )
    in_template = set(re.findall(r"\{([^{}]*)\}", entry.path))
    in_path = {parameter.name for parameter in read.parameters if parameter.location == "path"}
    if differing := in_template ^ in_path:
        raise ToolError(f"the path and its parameters differ in {min(differing)[:LONGEST]!r}")
    description = _description(entry)
    is_read_only = entry.method in READING
    method = entry.method.upper()
    facts = [method, base, entry.path, name, description, read.schema, [str(one) for one in read.parameters]]
    keys = sorted(key.variable for alternative in security.alternatives for key in alternative)
    fingerprint = hashlib.sha256(json.dumps(["openapi", *facts, keys], sort_keys=True).encode()).hexdigest()
    source = ServerTool(document.title, name, description, read.schema, is_read_only, not is_read_only, fingerprint)
    return Operation(method, base, url, entry.path, read.parameters, read.body, security, source)


def _check_path(path: str) -> None:
    segments = path.split("/")
    if not path.startswith("/") or len(path) > 1000:
        raise ToolError("its path must begin with / and have at most 1,000 characters")
    if not path.isascii() or not path.isprintable() or re.search(r"[\s?#\\%]", path) or {".", ".."} & set(segments):
        raise ToolError(f"the path {path[:LONGEST]!r} has characters that a path cannot have")


def _description(entry: _Entry) -> str:
    """Join summary and description; one that begins with the other is enough."""
    summary, text = (
        brief(value, MAX_DESCRIPTION) if isinstance(value, str) else ""
        for value in (entry.operation.get("summary"), entry.operation.get("description"))
    )
    if not summary or not text or text.lower().startswith(summary.lower().rstrip(".")):
        return text or summary or f"{entry.method.upper()} {entry.path[:LONGEST]}"
    return brief(f"{summary.rstrip('.')}. {text}", MAX_DESCRIPTION)

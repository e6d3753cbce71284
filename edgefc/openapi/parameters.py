"""The parameters and the body of an operation → one object of arguments.

Each parameter and each field of a JSON body or a form keeps its name. A name that occurs more than once gets its
location in front: `path_id`, `body_id`. A JSON body that is no plain object is one argument, `body`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgefc.errors import ToolError
from edgefc.openapi import forms
from edgefc.openapi.references import References
from edgefc.openapi.schemas import convert_all

LOCATIONS = ("path", "query", "header", "cookie")
MAX_PARAMETERS = 200
MAX_NAME = 100  # characters
# location → styles; the first one is the default.
STYLES = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}\Z")
# OpenAPI ignores parameters of these names; the client sets them itself.
_OWN_HEADERS = {"accept", "content-type", "authorization"}
# Headers that are a client's business; a document has no reason to name them.
_CLIENT_HEADERS = {
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect",
    "cookie", "proxy-authorization", "proxy-connection", "content-encoding", "accept-encoding",
}  # fmt: skip
_JSON_TYPE = re.compile(r"(application/([\w.+-]*\+)?json|text/json|\*/\*|application/\*)\s*(;.*)?\Z", re.IGNORECASE)
_PLAIN_OBJECT = {"type", "properties", "required", "description", "additionalProperties", "title", "example",
                 "examples", "default", "xml", "externalDocs", "deprecated"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an operation, or a field of its body if `location` is "body".

    argument   its name among the arguments
    is_json    True if the value is written as JSON
    """

    name: str
    location: str
    argument: str
    is_required: bool = False
    style: str = ""
    explode: bool = False
    is_json: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """The body: JSON, or a form. `is_whole`: one argument is all of it; else its fields are arguments."""

    media_type: str
    is_whole: bool
    is_required: bool

    @property
    def form(self) -> str:
        """Return the media type of a form; "" for JSON."""
        return forms.form_type(self.media_type)


@dataclass(frozen=True, slots=True)
class Parameters:
    """All arguments of an operation: their schema, and where each goes."""

    schema: dict[str, Any]
    parameters: tuple[Parameter, ...]
    body: Body | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A parameter with its schema, before it has the name of an argument."""

    name: str
    location: str
    schema: Any
    is_required: bool
    style: str = ""
    explode: bool = False
    is_json: bool = False


def read_parameters(
    path_item: Mapping[str, Any],
    operation: Mapping[str, Any],
    references: References,
    *,
    is_3_0: bool,
    key_names: frozenset[tuple[str, str]],
) -> Parameters:
    """Read the parameters of an operation. Those that hold keys, (location, name), are no arguments.

    Raises ToolError if a model cannot call it.
    """
    entries = [entry for entry in _entries(path_item, operation, references) if _key(entry) not in key_names]
    body, fields = _read_body(operation, references)
    entries += fields
    if len(entries) > MAX_PARAMETERS:
        raise ToolError(f"more than {MAX_PARAMETERS} parameters")
    if any(len(entry.name) > MAX_NAME for entry in entries):
        raise ToolError(f"a parameter's name has more than {MAX_NAME} characters")
    arguments = _argument_names(entries)
    schema = convert_all(
        {argument: entry.schema for argument, entry in zip(arguments, entries, strict=True)}, references, is_3_0=is_3_0
    )
    required = [argument for argument, entry in zip(arguments, entries, strict=True) if entry.is_required]
    if required:
        schema["required"] = required
    schema["additionalProperties"] = False
    parameters = [
        Parameter(entry.name, entry.location, argument, entry.is_required, entry.style, entry.explode, entry.is_json)
        for argument, entry in zip(arguments, entries, strict=True)
    ]
    return Parameters(schema, tuple(parameters), body)


def _key(entry: _Entry) -> tuple[str, str]:
    return entry.location, entry.name.lower() if entry.location == "header" else entry.name


def _argument_names(entries: list[_Entry]) -> list[str]:
    counts = Counter(entry.name for entry in entries)
    names: list[str] = []
    for entry in entries:
        base = name = entry.name if counts[entry.name] == 1 else f"{entry.location}_{entry.name}"
        number = 1
        while name in names or (name != entry.name and name in counts):
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return names


def _entries(path_item: Mapping[str, Any], operation: Mapping[str, Any], references: References) -> Iterator[_Entry]:
    """Yield the parameters; those of an operation replace those of its path."""
    found: dict[tuple[str, str], _Entry] = {}
    for owner in (path_item, operation):
        listed = owner.get("parameters", [])
        if not isinstance(listed, list) or len(listed) > MAX_PARAMETERS:
            raise ToolError(f"parameters must be a list of at most {MAX_PARAMETERS}")
        for item in listed:
            entry = _read_parameter(references.follow(item, "a parameter"))
            if entry is not None:
                found[_key(entry)] = entry
    return iter(sorted(found.values(), key=lambda entry: LOCATIONS.index(entry.location)))


def _read_parameter(item: Mapping[str, Any]) -> _Entry | None:
    name, location = item.get("name"), item.get("in")
    if not isinstance(name, str) or not name or location not in LOCATIONS:
        raise ToolError("a parameter must have a name, and in must be path, query, header or cookie")
    if location == "header":
        if name.lower() in _OWN_HEADERS:
            return None
        if not _HEADER.match(name) or name.lower() in _CLIENT_HEADERS:
            raise ToolError(f"the header {name[:100]!r} cannot be a parameter")
    is_required = item.get("required") is True or location == "path"
    schema, is_json = item.get("schema", True), False
    if "content" in item:
        content = item["content"]
        media = next(iter(content.values()), None) if isinstance(content, Mapping) and len(content) == 1 else None
        if not isinstance(media, Mapping) or not _JSON_TYPE.match(next(iter(content))):
            raise ToolError(f"the parameter {name[:100]!r} has a content other than JSON")
        schema, is_json = media.get("schema", True), True
    style = item.get("style", STYLES[location][0])
    if style not in STYLES[location]:
        raise ToolError(f"the style {style!r} of the parameter {name[:100]!r} is not supported")
    explode = item.get("explode", style == "form") is True
    return _Entry(name, location, _with_description(schema, item), is_required, style, explode, is_json)


def _with_description(schema: Any, item: Mapping[str, Any]) -> Any:
    """Return the schema with the parameter's own description and example, which say more than the schema's."""
    own = {key: item[key] for key in ("description", "example") if key in item}
    if not own or not isinstance(schema, Mapping):
        return schema
    return {**schema, **own}


def _read_body(operation: Mapping[str, Any], references: References) -> tuple[Body | None, list[_Entry]]:
    if operation.get("requestBody") is None:
        return None, []
    node = references.follow(operation["requestBody"], "requestBody")
    content, is_required = node.get("content"), node.get("required") is True
    if not isinstance(content, Mapping):
        raise ToolError("requestBody must have content")
    names = [name for name in content if isinstance(name, str)]
    media_type = next(filter(_JSON_TYPE.match, names), None) or next(filter(forms.form_type, names), None)
    if media_type is None:
        if not is_required:
            return None, []
        types = ", ".join(str(name)[:60] for name in list(content)[:3])
        raise ToolError(f"its body is {types or 'nothing'}; only JSON and forms can be sent")
    media = references.follow(content[media_type], "the body's content")
    if form := forms.form_type(media_type):
        return _read_form(form, media, references, is_required=is_required)
    schema = media.get("schema", True)
    sent_type = "application/json" if "*" in media_type else media_type
    fields = _plain_fields(schema, references, is_required=is_required)
    if fields is not None:
        return Body(sent_type, is_whole=False, is_required=is_required), fields
    whole = _Entry("body", "body", _with_description(schema, node), is_required)
    return Body(sent_type, is_whole=True, is_required=is_required), [whole]


def _read_form(
    form: str, media: Mapping[str, Any], references: References, *, is_required: bool
) -> tuple[Body | None, list[_Entry]]:
    """Read a form whose fields are known. One that may be left out is, if it needs a file or has other fields.

    Fields that are required make the form required: many documents leave that out.
    """
    schema, encoding = media.get("schema"), media.get("encoding")
    encodings = encoding if isinstance(encoding, Mapping) else {}
    fields = _plain_fields(schema, references, is_required=True)
    files = {entry.name for entry in fields or () if forms.is_file(entry.schema, encodings.get(entry.name), references)}
    if (
        fields is None
        or len(files) == len(fields)
        or any(entry.is_required and entry.name in files for entry in fields)
    ):
        if not is_required:
            return None, []
        raise ToolError(forms.NEEDS_FILE if fields else "its body is a form whose fields are not listed")
    entries: list[_Entry] = []
    for entry in fields:
        if entry.name not in files:
            style, explode, is_json = forms.field_style(form, encodings.get(entry.name))
            entries.append(replace(entry, style=style, explode=explode, is_json=is_json))
    is_required = is_required or any(entry.is_required for entry in entries)
    return Body(form, is_whole=False, is_required=is_required), entries


def _plain_fields(schema: Any, references: References, *, is_required: bool) -> list[_Entry] | None:
    """Return the fields of a body that is a plain object, or of several that `allOf` joins; None for other bodies."""
    if not isinstance(schema, Mapping):
        return None
    node = references.follow(schema, "a schema")
    members = node["allOf"] if isinstance(node.get("allOf"), list) else [node]
    if "allOf" in node and set(node) - {"allOf", "description", "title", "type"}:
        return None
    properties: dict[str, Any] = {}
    required: set[str] = set()
    for member in members:
        part = references.follow(member, "a schema") if isinstance(member, Mapping) else {}
        known = {keyword for keyword in part if not (isinstance(keyword, str) and keyword.startswith("x-"))}
        own = part.get("properties")
        if not isinstance(own, Mapping) or not own or known - _PLAIN_OBJECT or properties.keys() & own.keys():
            return None
        if part.get("type", "object") != "object" or part.get("additionalProperties", False) is not False:
            return None
        names = part.get("required", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ToolError("required must be a list of names")
        properties |= own
        required |= set(names)
    if required and not is_required:
        return None  # the whole body may be left out, but not a part of it
    unsent = {
        name
        for name, item in properties.items()
        if isinstance(item, Mapping) and references.follow(item, "a schema").get("readOnly") is True
    }
    if required - properties.keys() or not properties.keys() - unsent:
        return None
    return [_Entry(name, "body", item, name in required) for name, item in properties.items() if name not in unsent]

"""Arguments of a call → an HTTP request, each parameter written in its style."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from edgefc.errors import ToolError
from edgefc.openapi import forms
from edgefc.openapi.http import Request
from edgefc.openapi.keys import Secrets
from edgefc.openapi.operations import Operation
from edgefc.openapi.parameters import Parameter

_SEPARATORS = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}


def build_request(operation: Operation, arguments: Mapping[str, Any], secrets: Secrets) -> Request:
    """Return the request of a call. Raises ToolError for arguments that the operation does not have, or needs."""
    known = {parameter.argument: parameter for parameter in operation.parameters}
    if unknown := [name for name in arguments if name not in known]:
        raise ToolError(f"unknown argument {unknown[0]!r}")
    # null means that a parameter is not given; in a body of JSON it is a value.
    has_nulls = operation.body is not None and not operation.body.form
    used = [
        (known[name], value)
        for name, value in arguments.items()
        if value is not None or (has_nulls and known[name].location == "body")
    ]
    present = {parameter for parameter, _ in used}
    if missing := [name for name, one in known.items() if one.is_required and one not in present]:
        raise ToolError(f"the argument {missing[0]!r} is missing")

    def at(location: str) -> list[tuple[Parameter, Any]]:
        return [(parameter, value) for parameter, value in used if parameter.location == location]

    query = [f"{name}={value}" for parameter, item in at("query") for name, value in _query(parameter, item)]
    query += [f"{_quoted(name)}={_quoted(value)}" for name, value in secrets.query]
    cookies = [f"{name}={value}" for parameter, item in at("cookie") for name, value in _query(parameter, item)]
    cookies += [f"{name}={value}" for name, value in secrets.cookies]
    headers = [("Accept", "application/json, text/*;q=0.9, */*;q=0.1")]
    headers += [(parameter.name, _header(parameter, value)) for parameter, value in at("header")]
    headers += [*secrets.headers, *([("Cookie", "; ".join(cookies))] if cookies else [])]
    body = _body(operation, at("body"))
    if body is not None:
        headers.append(("Content-Type", body[0]))
    url = f"{operation.base_url}{_path(operation.path, at('path'))}"
    return Request(operation.method, f"{url}?{'&'.join(query)}" if query else url, tuple(headers), body and body[1])


def _body(operation: Operation, fields: list[tuple[Parameter, Any]]) -> tuple[str, bytes] | None:
    """Return the media type and the body; None if there is none."""
    body = operation.body
    if body is None or (not fields and (body.is_whole or not body.is_required)):
        return None
    if body.form == forms.MULTIPART:
        return forms.write_multipart([(parameter.name, value, parameter.is_json) for parameter, value in fields])
    if body.form:
        pairs = [f"{name}={text}" for parameter, value in fields for name, text in _field(parameter, value)]
        return body.media_type, "&".join(pairs).encode()
    value = fields[0][1] if body.is_whole else {parameter.name: value for parameter, value in fields}
    return body.media_type, json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _field(parameter: Parameter, value: Any) -> Iterator[tuple[str, str]]:
    """Yield names and values of a field of a form, both encoded."""
    if parameter.style != forms.URLENCODED:
        yield from _query(parameter, value)
        return
    for text, _ in forms.field_texts(value, is_json=parameter.is_json):
        yield _quoted(parameter.name), _quoted(text)


def _path(template: str, values: list[tuple[Parameter, Any]]) -> str:
    """Fill in the template. A value never adds a segment, and never removes one."""
    texts: dict[str, str] = {}
    for parameter, value in values:
        parts = _parts(parameter, value, _quoted)
        if not any(parts):
            raise ToolError(f"the argument {parameter.argument!r} must not be empty")
        texts[parameter.name] = _styled(parameter, value, parts)
    path = re.sub(r"\{([^{}]*)\}", lambda match: texts[match[1]], template)
    if any(unquote(segment) in {".", ".."} for segment in path.split("/")):
        raise ToolError("an argument in the path must not be . or ..")
    return path


def _header(parameter: Parameter, value: Any) -> str:
    text = ",".join(_parts(parameter, value, str))
    if not text.isascii() or not text.isprintable():
        raise ToolError(f"the argument {parameter.argument!r} must be printable ASCII text")
    return text


def _parts(parameter: Parameter, value: Any, encode: Callable[[str], str]) -> list[str]:
    """Return the parts of a value that its style joins."""
    if parameter.is_json or not isinstance(value, list | Mapping):
        return [encode(_text(value, is_json=parameter.is_json))]
    if isinstance(value, list):
        return [encode(_text(item)) for item in value]
    pairs = [(encode(name), encode(_text(item))) for name, item in value.items()]
    return (
        [f"{name}={item}" for name, item in pairs] if parameter.explode else [part for pair in pairs for part in pair]
    )


def _styled(parameter: Parameter, value: Any, parts: list[str]) -> str:
    """Join the parts of a value in a path."""
    if parameter.style == "label":
        return "." + ("." if parameter.explode else ",").join(parts)
    if parameter.style != "matrix":
        return ",".join(parts)
    name = _quoted(parameter.name)
    if not parameter.explode:
        return f";{name}={','.join(parts)}"
    return "".join(f";{part}" if isinstance(value, Mapping) else f";{name}={part}" for part in parts)


def _query(parameter: Parameter, value: Any) -> Iterator[tuple[str, str]]:
    """Yield names and values, both encoded."""
    name = _quoted(parameter.name)
    if parameter.is_json or not isinstance(value, list | Mapping):
        yield name, _quoted(_text(value, is_json=parameter.is_json))
    elif parameter.style == "deepObject":
        yield from _deep(parameter.name, value)
    elif parameter.explode:
        pairs = value.items() if isinstance(value, Mapping) else ((parameter.name, item) for item in value)
        for key, item in pairs:
            yield _quoted(key), _quoted(_text(item))
    else:
        items = [part for pair in value.items() for part in pair] if isinstance(value, Mapping) else value
        separator = _SEPARATORS.get(parameter.style, ",")
        yield name, separator.join(_quoted(_text(item)) for item in items)


def _deep(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield names with brackets, as PHP, Rails and Stripe read them; OpenAPI defines those of plain objects only."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _deep(f"{name}[{key}]", item)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _deep(f"{name}[{number if isinstance(item, list | Mapping) else ''}]", item)
    else:
        yield _quoted(name), _quoted(_text(value))


def _text(value: Any, *, is_json: bool = False) -> str:
    if isinstance(value, str) and not is_json:
        return value
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")

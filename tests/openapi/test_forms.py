"""Bodies that are forms, as a server's own parsers read them."""

from __future__ import annotations

import email.parser
import email.policy
import json
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.openapi.conftest import Api, call

URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


def operation(kind: str, properties: dict[str, Any], **keys: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": keys.pop("required", [])}
    media = {"schema": schema, "encoding": keys.pop("encoding", {})}
    return {"/x": {"post": {"operationId": "send", "requestBody": {"content": {kind: media}, **keys}}}}


def read_multipart(content_type: str, body: bytes) -> list[tuple[str, str, str]]:
    """Return the parts of a form: name, type, text."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            part.get_content_type(),
            (part.get_payload(decode=True) or b"").decode(),
        )
        for part in message.iter_parts()
    ]


@pytest.mark.parametrize(
    ("encoding", "value", "pairs"),
    [
        ({}, "a b&c=é\n", [("q", "a b&c=é\n")]),
        ({}, True, [("q", "true")]),
        ({}, [1, "a,b"], [("q", "1"), ("q", "a,b")]),
        ({}, {"a": [1]}, [("q", '{"a": [1]}')]),
        ({}, [{"a": 1}], [("q", '{"a": 1}')]),
        ({"contentType": "application/json"}, [1, 2], [("q", "[1, 2]")]),
        ({"style": "form", "explode": False}, [1, 2], [("q", "1,2")]),
        ({"style": "deepObject"}, {"a": {"b": 1}, "c": ["x", "y"]}, [("q[a][b]", "1"), ("q[c][]", "x"), ("q[c][]", "y")]),
        ({"style": "deepObject"}, [{"a": 1}, {"a": 2}], [("q[0][a]", "1"), ("q[1][a]", "2")]),
    ],
)  # fmt: skip
def test_fields_are_urlencoded(encoding: Any, value: Any, pairs: list[tuple[str, str]], api: Api) -> None:
    (tool,) = api.connect(operation(URLENCODED, {"q": {}}, encoding={"q": encoding}))
    assert json.loads(call(tool, q=value)) == {"ok": True}
    request = api.received[0]
    assert request.headers["content-type"] == URLENCODED
    assert parse_qsl(request.body.decode(), keep_blank_values=True) == pairs


def test_fields_are_parts(api: Api) -> None:
    properties: dict[str, Any] = {
        'na"me': {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "data": {"type": "object", "properties": {"a": {"type": "integer"}}},
        "list": {"type": "array"},
    }
    (tool,) = api.connect(operation(MULTIPART, properties, encoding={"list": {"contentType": "application/json"}}))
    call(tool, **{'na"me': "--x\r\nContent-Type: a/b\r\n\r\né", "tags": ["a", "b"], "data": {"a": 1}, "list": [1]})
    request = api.received[0]
    assert request.headers["content-type"].startswith(f"{MULTIPART}; boundary=")
    assert read_multipart(request.headers["content-type"], request.body) == [
        ("na%22me", "text/plain", "--x\r\nContent-Type: a/b\r\n\r\né"),
        ("tags", "text/plain", "a"),
        ("tags", "text/plain", "b"),
        ("data", "application/json", '{"a": 1}'),
        ("list", "application/json", "[1]"),
    ]


FILES: list[tuple[Any, Any]] = [
    ({"type": "string", "format": "binary"}, {}),
    ({"type": "string", "contentMediaType": "application/octet-stream"}, {}),
    ({"type": "array", "items": {"type": "string", "format": "binary"}}, {}),
    ({"type": "string"}, {"contentType": "image/png, image/jpeg"}),
]


@pytest.mark.parametrize(("schema", "encoding"), FILES)
def test_files_are_no_arguments(schema: Any, encoding: Any, api: Api) -> None:
    properties = {"title": {"type": "string"}, "photo": schema}
    (tool,) = api.connect(operation(MULTIPART, properties, encoding={"photo": encoding}))
    assert set(tool.source.schema["properties"]) == {"title"}
    keys = {"required": ["photo"], "encoding": {"photo": encoding}}
    (tool,) = api.connect(operation(MULTIPART, properties, **keys))  # without the form, which may be left out
    assert tool.source.schema["properties"] == {}


def test_a_form_that_needs_a_file_is_left_out(api: Api) -> None:
    document = operation(MULTIPART, {"photo": FILES[0][0]})
    document["/x"]["post"]["requestBody"]["required"] = True
    tools = api.connect(document)
    assert not tools
    assert tools.omitted[0].reason == "its body needs a file, which cannot be sent"


def test_required_fields_make_a_form_required_and_null_is_none(api: Api) -> None:
    (tool,) = api.connect(operation(URLENCODED, {"a": {"type": "string"}, "b": {"type": "integer"}}, required=["a"]))
    assert tool.source.schema["required"] == ["a"]
    assert "'a' is missing" in call(tool, a=None)
    assert not api.received
    call(tool, a="", b=None)
    assert api.received[0].body == b"a="


def test_json_is_preferred(api: Api) -> None:
    document = operation(MULTIPART, {"a": {"type": "string"}})
    content = document["/x"]["post"]["requestBody"]["content"]
    content["application/json"] = {"schema": content[MULTIPART]["schema"]}
    (tool,) = api.connect(document)
    call(tool, a="x")
    assert api.received[0].headers["content-type"] == "application/json"


def test_a_body_of_another_type_asks_for_approval_again(api: Api) -> None:
    prints = {
        api.connect(operation(kind, {"a": {"type": "string"}}))[0].source.fingerprint
        for kind in (URLENCODED, MULTIPART, "application/json")
    }
    assert len(prints) == 3


def test_an_unknown_style_is_refused(api: Api) -> None:
    tools = api.connect(operation(URLENCODED, {"a": {}}, encoding={"a": {"style": "simple"}}))
    assert not tools
    assert "the style 'simple' of a field of its body is not supported" in tools.omitted[0].reason

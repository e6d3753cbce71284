"""Hostile documents and servers: nothing leaves the hosts of the document, nothing hangs, the reason is clear."""

from __future__ import annotations

import json
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefc.errors import RequestError
from edgefc.openapi import connect
from edgefc.openapi import document as documents
from edgefc.openapi.http import is_public
from tests.openapi.conftest import Api, Handler, call, document, reply

GET_X: dict[str, Any] = {"/x": {"get": {}}}


def omission_of(operation: dict[str, Any], path: str = "/x", method: str = "get", **keys: Any) -> str:
    """The reason why this operation is left out, while another one stays."""
    keys = {"servers": [{"url": "https://api.example.com"}], **keys}
    tools = connect(document({path: {method: operation}, "/fine": {"get": {}}}, **keys), allow_writes=True)
    assert [tool.name for tool in tools] == ["get_fine"]
    (omission,) = tools.omitted
    return omission.reason


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1"]
)
def test_no_request_reaches_this_machine_unless_it_is_named(host: str, api: Api) -> None:
    """However the address is written."""
    servers = [{"url": f"http://{host}:{api.port}"}]
    (tool,) = connect(document(GET_X, servers=servers))
    assert "error" in json.loads(call(tool))
    assert not api.received
    other_port = connect(document(GET_X, servers=servers), allow_hosts=["127.0.0.1:1", "example.com"])
    assert "error" in json.loads(call(other_port[0]))
    assert not api.received


def test_the_error_says_how_to_name_a_host(api: Api) -> None:
    (tool,) = connect(api.document(GET_X))
    assert f"{api.host} has the address 127.0.0.1 inside the network" in call(tool)
    for name in (api.host, "127.0.0.1"):
        (tool,) = connect(api.document(GET_X), allow_hosts=[name])
        assert json.loads(call(tool)) == {"ok": True}
    for wrong in ("http://127.0.0.1", "", "a/b", "host:port"):
        with pytest.raises(RequestError, match="must be a host"):
            connect(api.document(GET_X), allow_hosts=[wrong])


def test_a_name_that_leads_inside_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A public name whose second answer is another address: the checked one is the one that is used."""
    answers = iter(["10.0.0.1", "127.0.0.1"])
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **keys: Any) -> Any:
        return real(next(answers) if host in {"rebind.example", b"rebind.example"} else host, port, *args, **keys)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    (tool,) = connect(document(GET_X, servers=[{"url": f"http://rebind.example:{api.port}"}]))
    assert "10.0.0.1 inside the network" in call(tool)
    assert "127.0.0.1 inside the network" in call(tool)
    assert not api.received


@pytest.mark.parametrize(
    "address",
    ["10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
     "::", "::1", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "ff02::1"],
)  # fmt: skip
def test_addresses_inside_a_network(address: str) -> None:
    assert not is_public(address)


def test_addresses_of_the_internet() -> None:
    assert all(map(is_public, ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]))


@pytest.mark.parametrize(
    "server",
    ["file:///etc/passwd", "ftp://example.com", "https://user:pass@example.com", "https://", "https://a b", "/v1",
     "https://example.com/?x=", "https://{host}", "javascript:alert(1)", "https://example.com\\@evil.org", 3, None],
)  # fmt: skip
def test_servers_that_are_no_address(server: Any) -> None:
    assert omission_of({"servers": [{"url": server}]})


def test_redirects_stay_at_the_host(api: Api) -> None:
    api.answers["/same"] = reply(b"", 302, Location="/x")
    api.answers["/other"] = reply(b"", 302, Location=f"http://localhost:{api.port}/x")
    api.answers["/port"] = reply(b"", 307, Location="http://127.0.0.1:1/x")
    api.answers["/scheme"] = reply(b"", 302, Location="file:///etc/passwd")
    api.answers["/loop"] = reply(b"", 302, Location="/loop")
    tools = api.connect({path: {"get": {}} for path in ("/same", "/other", "/port", "/scheme", "/loop")})
    same, other, port, scheme, loop = (call(tool) for tool in tools)
    assert json.loads(same) == {"ok": True}
    assert "redirects to another host, localhost" in other
    assert "redirects to another host, 127.0.0.1:1" in port
    assert "error" in json.loads(scheme)
    assert "more than 5 redirects" in loop


def test_a_redirected_write_is_not_repeated_as_another(api: Api) -> None:
    for status in (301, 303, 307):
        api.answers[f"/{status}"] = reply(b"", status, Location="/x")
    body = {"required": True, "content": {"application/json": {"schema": {"type": "array"}}}}
    tools = api.connect({f"/{status}": {"post": {"requestBody": body}} for status in (301, 303, 307)})
    moved, other, same = (call(tool, body=[1]) for tool in tools)
    assert "redirects a POST request" in moved
    assert json.loads(other) == json.loads(same) == {"ok": True}
    assert [(one.method, one.body) for one in api.received if one.target == "/x"] == [("GET", b""), ("POST", b"[1]")]


def test_keys_do_not_go_over_http_to_hosts_that_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFC_KEY_API_EXAMPLE_COM__K", "s3cret")
    keys = {"components": {"securitySchemes": {"k": {"type": "http", "scheme": "bearer"}}}, "security": [{"k": []}]}
    (tool,) = connect(document(GET_X, servers=[{"url": "http://api.example.com"}], **keys))
    assert "it is not encrypted" in call(tool)


def _endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/plain")
    handler.send_header("Connection", "close")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 65536)
    except OSError:
        handler.close_connection = True


def _bomb() -> Any:
    packer = zlib.compressobj(9, wbits=31)
    data = b"".join(packer.compress(b"0" * (1 << 20)) for _ in range(100)) + packer.flush()
    return reply(data, **{"Content-Encoding": "gzip"})


def _drip(handler: Handler) -> None:
    """Send a byte of a header now and then: no time limit of a single read would end this."""
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(600):
            handler.wfile.write(b"x")
            time.sleep(0.05)
    except OSError:
        pass
    handler.close_connection = True


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_endless, "more than 4 MiB"),
        (_bomb(), "more than 4 MiB"),
        (_drip, "no answer within 1 s"),
        (reply(b"x", **{"Content-Encoding": "br"}), "'br', which is not supported"),
        (lambda handler: handler.wfile.write(b"\0\0\0\r\n\r\n") and None, "cannot be reached: RemoteProtocolError"),
    ],
    ids=["endless", "bomb", "drip", "br", "garbage"],
)
def test_answers_are_bounded(answer: Any, reason: str, api: Api) -> None:
    api.answers["/x"] = answer
    (tool,) = api.connect(GET_X, timeout=1 if answer is _drip else 60)
    assert reason in json.loads(call(tool))["error"]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"$ref": "other.json#/Pet"}, "'other.json#/Pet' leaves the document"),
        ({"$ref": "https://evil.example/pet.json"}, "leaves the document"),
        ({"$ref": "#/components/schemas/None"}, "has no '#/components/schemas/None'"),
        ({"$ref": "#anchor"}, "no path in the document"),
        ({"$ref": 3}, "must be text"),
        ({"$id": "https://example.com/x"}, "$id is not supported"),
        ({"$dynamicRef": "#node"}, "$dynamicRef is not supported"),
        ({"properties": 3}, "properties must be an object"),
        ({"anyOf": {}}, "anyOf must be a list"),
        ({"items": 3}, "a schema must be an object"),
        ({"type": "string", "minLength": 5, "maxLength": 2}, "q: no string is within the bounds"),
    ],
)
def test_a_refused_schema_leaves_its_operation_out(schema: Any, reason: str) -> None:
    parameter = {"name": "q", "in": "query", "required": True, "schema": schema}
    assert reason in omission_of({"parameters": [parameter]})


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        ({"parameters": [{"name": "Host", "in": "header"}]}, "the header 'Host'"),
        ({"parameters": [{"name": "a\r\nb", "in": "header"}]}, "the header"),
        ({"parameters": [{"name": "a", "in": "body"}]}, "in must be"),
        ({"parameters": [{"name": "a" * 200, "in": "query"}]}, "more than 100 characters"),
        ({"parameters": [{"name": "a", "in": "query", "style": "matrix"}]}, "the style 'matrix'"),
        ({"parameters": [{"name": "a", "in": "query", "style": ["form"]}]}, "the style ['form']"),
        ({"parameters": [{"name": f"a{n}", "in": "query"} for n in range(300)]}, "at most 200"),
        ({"parameters": [{"name": "id", "in": "path"}]}, "differ in 'id'"),
        ({"security": [{"none": []}]}, "no security scheme 'none'"),
        (
            {"requestBody": {"required": True, "content": {"application/xml": {}}}},
            "its body is application/xml",
        ),
        (
            {"requestBody": {"required": True, "content": {"multipart/form-data": {}}}},
            "its body is a form whose fields are not listed",
        ),
        ({"requestBody": {"$ref": "#/paths/~1x/get/requestBody"}}, "a reference to itself"),
    ],
)
def test_an_operation_that_no_model_can_call_is_left_out(operation: Any, reason: str) -> None:
    assert reason in omission_of(operation)


@pytest.mark.parametrize("path", ["x", "/a/../b", "/a?b=c", "/a#b", "/a b", "/a\\b", "/é", "/%2e%2e/x", "/\n"])
def test_paths_with_a_meaning_of_their_own_are_left_out(path: str) -> None:
    assert "path" in omission_of({}, path)


def test_a_path_never_becomes_a_host(api: Api) -> None:
    (tool,) = api.connect({"//evil.example/x": {"get": {}}})
    assert json.loads(call(tool)) == {"ok": True}
    assert api.received[0].target.endswith("/evil.example/x")


def test_schemas_that_multiply_stay_references() -> None:
    """Thirty schemas, each with two of the next: written out they would be a billion."""
    names = [f"S{number}" for number in range(30)]
    schemas: dict[str, Any] = {
        name: {"type": "object", "properties": {side: {"$ref": f"#/components/schemas/{other}"} for side in "ab"}}
        for name, other in zip(names, [*names[1:], "End"], strict=True)
    }
    schemas["End"] = {"type": "string"}
    parameter = {
        "name": "q",
        "in": "query",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}},
    }
    keys = {"servers": [{"url": "https://api.example.com"}], "components": {"schemas": schemas}}
    tools = connect(document({"/x": {"get": {"parameters": [parameter]}}}, **keys))
    assert len(json.dumps(tools[0].source.schema)) < 10_000


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def test_deep_schemas_are_left_out() -> None:
    parameter = {"name": "q", "in": "query", "schema": _nested(500)}
    assert "nested deeper than 60" in omission_of({"parameters": [parameter]})


def texts() -> Iterator[tuple[str, str]]:
    yield "[" * 200_000, "nested deeper than 200 levels"
    yield '{"a":' * 200_000, "nested too deeply"
    yield "a: " + "{b: " * 100_000, "nested deeper than 200 levels"
    yield '{"openapi": ' + "9" * 5000 + "}", "limit"
    yield "a: &a [1]\n" + "\n".join(f"{name}: &{name} [{', '.join([f'*{last}'] * 9)}]" for last, name in zip("abcdefgh", "bcdefghi", strict=True)), "no OpenAPI"  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), list(texts()), ids=["yaml", "json", "flow", "digits", "laughs"])
def test_texts_that_would_exhaust_a_parser(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "doc"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RequestError, match=reason):
        connect(path)


def test_repeated_anchors_in_a_schema_are_bounded(tmp_path: Path) -> None:
    laughs = "\n".join(
        f"  {name}: &{name} {{allOf: [{', '.join([f'*{last}'] * 9)}]}}"
        for last, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    path = tmp_path / "doc.yaml"
    path.write_text(
        f"openapi: 3.1.0\ninfo: {{title: T}}\nservers: [url: https://api.example.com]\nx-a:\n  a: &a {{type: string}}\n{laughs}\n"
        "paths:\n  /x:\n    get:\n      parameters: [{name: q, in: query, schema: *i}]\n  /fine: {get: {}}\n",
        encoding="utf-8",
    )
    tools = connect(path)
    assert [tool.name for tool in tools] == ["get_fine"]
    assert "more than 20,000 schemas" in tools.omitted[0].reason


def test_a_large_document_is_refused(tmp_path: Path, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "doc.json"
    with path.open("wb") as file:
        file.truncate(documents.MAX_BYTES + 1)
    with pytest.raises(RequestError, match="larger than 20,971,520 bytes"):
        connect(path)
    api.answers["/endless"] = _endless
    with pytest.raises(RequestError, match="more than 20 MiB"):
        connect(f"{api.url}/endless")
    with pytest.raises(RequestError, match="no such file"):
        connect(tmp_path / "none.json")


def test_ten_thousand_operations_are_not_all_offered() -> None:
    paths = {f"/p{number}": {"get": {"tags": [f"t{number % 3}"]}} for number in range(10_000)}
    tools = connect(document(paths, servers=[{"url": "https://api.example.com"}]))
    assert len(tools) == 128
    (omission,) = tools.omitted
    assert omission.reason.startswith("9,872 more operations are left out")
    assert "#t0 (3334)" in omission.reason


def test_documents_whose_parts_are_something_else() -> None:
    """Each wrong type at each place of an operation costs that operation alone, or nothing."""
    wrong: list[Any] = [None, True, 3, "text", [], [3], {}, {"$ref": 3}, {"a": {"b": []}}]
    places = ["parameters", "requestBody", "security", "servers", "tags", "summary", "description", "operationId"]
    paths: dict[str, Any] = {
        f"/{place}{number}": {"get": {place: value}} for place in places for number, value in enumerate(wrong)
    }
    paths |= {f"/item{number}": value for number, value in enumerate(wrong)}
    for key in ("components", "servers", "security", "info", "tags"):
        for value in wrong:
            content = {**document(paths, servers=[{"url": "https://api.example.com"}]), key: value}
            connect(content, allow_writes=True)

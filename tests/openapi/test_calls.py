"""Calls of a real server: requests as the document says, results as text, keys from the environment."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from typing import Any

import pytest

import edgefc
from edgefc.openapi import connect
from edgefc.openapi.http import parse_url
from edgefc.openapi.keys import variable_of
from tests.openapi.conftest import Api, call, reply


def parameter(name: str, location: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "in": location, "required": location == "path", "schema": {}, **keys}


def key_of(api: Api, scheme: str) -> str:
    url = parse_url(api.url)
    assert url is not None
    return variable_of(url, scheme)


@pytest.mark.parametrize(
    ("keys", "value", "query"),
    [
        ({}, "a b&c=d/é", "q=a%20b%26c%3Dd%2F%C3%A9"),
        ({}, True, "q=true"),
        ({}, [1, "a,b"], "q=1&q=a%2Cb"),
        ({"explode": False}, [1, "a,b"], "q=1,a%2Cb"),
        ({"explode": False, "style": "pipeDelimited"}, ["a", "b"], "q=a%7Cb"),
        ({"explode": False, "style": "spaceDelimited"}, ["a", "b"], "q=a%20b"),
        ({}, {"a": 1, "b": 2}, "a=1&b=2"),
        ({"explode": False}, {"a": 1, "b": 2}, "q=a,1,b,2"),
        ({"style": "deepObject"}, {"a": 1, "b": "x"}, "q%5Ba%5D=1&q%5Bb%5D=x"),
        ({"content": {"application/json": {"schema": {}}}}, {"a": [1]}, "q=%7B%22a%22%3A%20%5B1%5D%7D"),
    ],
)
def test_query_parameters_are_written_in_their_style(keys: Any, value: Any, query: str, api: Api) -> None:
    (tool,) = api.connect({"/x": {"get": {"parameters": [parameter("q", "query", **keys)]}}})
    assert json.loads(call(tool, q=value)) == {"ok": True}
    assert api.received[0].target == f"/x?{query}"


@pytest.mark.parametrize(
    ("keys", "value", "path"),
    [
        ({}, [3, "a/b"], "3,a%2Fb"),
        ({}, {"R": 1, "G": "=,"}, "R,1,G,%3D%2C"),
        ({"explode": True}, {"R": 1, "G": "=,"}, "R=1,G=%3D%2C"),
        ({"style": "label"}, "x", ".x"),
        ({"style": "label", "explode": True}, [1, 2], ".1.2"),
        ({"style": "label"}, {"R": 1}, ".R,1"),
        ({"style": "matrix"}, "x;y", ";p=x%3By"),
        ({"style": "matrix"}, [1, 2], ";p=1,2"),
        ({"style": "matrix", "explode": True}, [1, 2], ";p=1;p=2"),
        ({"style": "matrix", "explode": True}, {"R": 1, "G": 2}, ";R=1;G=2"),
    ],
)
def test_path_parameters_are_written_in_their_style(keys: Any, value: Any, path: str, api: Api) -> None:
    (tool,) = api.connect({"/x/{p}/y": {"get": {"parameters": [parameter("p", "path", **keys)]}}})
    assert json.loads(call(tool, p=value)) == {"ok": True}
    assert api.received[0].target == f"/x/{path}/y"


def test_all_parts_of_a_request(api: Api) -> None:
    operation = {
        "parameters": [parameter("id", "path"), parameter("X-A", "header"), parameter("c", "cookie")],
        "requestBody": {"content": {"application/vnd.api+json": {"schema": {"type": "object", "properties": {"name": {}, "age": {}}}}}},
    }  # fmt: skip
    (tool,) = api.connect({"/pets/{id}": {"patch": operation}})
    call(tool, id="a/b?c#d %2e", name="Ré", **{"X-A": [1, 2], "c": "x;y"})
    request = api.received[0]
    assert (request.method, request.target) == ("PATCH", "/pets/a%2Fb%3Fc%23d%20%252e")
    assert request.headers["x-a"] == "1,2"
    assert request.headers["cookie"] == "c=x%3By"
    assert request.headers["content-type"] == "application/vnd.api+json"
    assert request.headers["host"] == api.host
    assert json.loads(request.body) == {"name": "Ré"}
    call(tool, id=1)
    assert api.received[1].body == b""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"id": ""}, "'id' must not be empty"),
        ({"id": ".."}, "must not be . or .."),
        ({"id": "."}, "must not be . or .."),
        ({}, "'id' is missing"),
        ({"id": None}, "'id' is missing"),
        ({"id": 1, "other": 2}, "unknown argument 'other'"),
        ({"id": 1, "X-A": "a\r\nHost: evil"}, "printable ASCII"),
    ],
)
def test_wrong_arguments_are_an_error_and_nothing_is_sent(arguments: Any, reason: str, api: Api) -> None:
    (tool,) = api.connect(
        {"/pets/{id}": {"get": {"parameters": [parameter("id", "path"), parameter("X-A", "header")]}}}
    )
    assert reason in json.loads(call(tool, **arguments))["error"]
    assert not api.received


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (reply({"a": ["é", 1.5]}), '{"a": ["é", 1.5]}'),
        (reply(b'{"a":  1}', kind="application/problem+json; charset=utf-8"), '{"a": 1}'),
        (reply(b"not json"), "not json"),
        (reply("Größe".encode("latin-1"), kind="text/plain; charset=iso-8859-1"), "Größe"),
        (reply(b"<p>hi</p>", kind="text/html"), "<p>hi</p>"),
        (reply(b"\x89PNG\0", kind="image/png"), "[5 bytes, image/png: not shown, the model reads text only]"),
        (reply(b"\xff\xfe", kind=""), "[2 bytes, of an unknown type: not shown, the model reads text only]"),
        (reply(b"", status=204), '{"status": 204}'),
        (reply({"detail": "no"}, status=404), '{"error": "HTTP 404 Not Found: {\\"detail\\": \\"no\\"}"}'),
        (reply(gzip.compress(b'{"a": 1}'), **{"Content-Encoding": "gzip"}), '{"a": 1}'),
    ],
)
def test_results(answer: Any, result: str, api: Api) -> None:
    api.answers["/x"] = answer
    (tool,) = api.connect({"/x": {"get": {}}})
    assert call(tool) == result


def test_a_long_result_is_cut(api: Api) -> None:
    api.answers["/x"] = reply(["word"] * 1000)
    (tool,) = api.connect({"/x": {"get": {}}}, max_result=200)
    assert "characters are left out here" in call(tool)
    assert len(call(tool)) < 300


def test_head_has_the_status_alone(api: Api) -> None:
    (tool,) = api.connect({"/x": {"head": {}}})
    assert call(tool) == '{"status": 200}'


SCHEMES = {
    "bearerAuth": ({"type": "http", "scheme": "Bearer"}, "authorization", "Bearer s3cret"),
    "basic": ({"type": "http", "scheme": "basic"}, "authorization", "Basic czNjcmV0"),
    "login": ({"type": "oauth2", "flows": {}}, "authorization", "Bearer s3cret"),
    "api-key": ({"type": "apiKey", "in": "header", "name": "X-Key"}, "x-key", "s3cret"),
    "cook": ({"type": "apiKey", "in": "cookie", "name": "session"}, "cookie", "session=s3cret"),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_keys_come_from_the_environment(name: str, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme, header, value = SCHEMES[name]
    components = {"securitySchemes": {name: scheme}}
    (tool,) = api.connect({"/x": {"get": {}}}, document={"components": components, "security": [{name: []}]})
    variable = key_of(api, name)
    assert tool.missing_keys == (variable,)
    assert f"the environment has no {variable}" in call(tool)
    assert not api.received
    monkeypatch.setenv(variable, "s3cret")
    api.answers["/x"] = reply({"echo": value, "plain": "s3cret"})
    assert "cret" not in call(tool)  # the server repeats the key
    assert api.received[0].headers[header] == value


def test_a_key_in_the_query_is_no_argument(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = {"type": "apiKey", "in": "query", "name": "key"}
    operation = {"parameters": [parameter("key", "query"), parameter("q", "query")], "security": [{"k": []}]}
    (tool,) = api.connect({"/x": {"get": operation}}, document={"components": {"securitySchemes": {"k": scheme}}})
    monkeypatch.setenv(key_of(api, "k"), "a&b")
    assert set(tool.source.schema["properties"]) == {"q"}
    assert "unknown argument" in call(tool, key="mine")
    call(tool, q=1)
    assert api.received[0].target == "/x?q=1&key=a%26b"


def test_alternatives_of_keys(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    schemes = {name: {"type": "apiKey", "in": "header", "name": f"X-{name}"} for name in "abc"}
    digest = {"digest": {"type": "http", "scheme": "digest"}}
    keys = {"components": {"securitySchemes": {**schemes, **digest}}}
    operation = {"security": [{}, {"digest": []}, {"a": [], "b": []}, {"c": []}]}
    (tool,) = api.connect({"/x": {"get": operation}}, document=keys)
    call(tool)
    monkeypatch.setenv(key_of(api, "a"), "1")
    call(tool)
    monkeypatch.setenv(key_of(api, "c"), "3")
    call(tool)
    monkeypatch.setenv(key_of(api, "b"), "2")
    call(tool)
    sent = [sorted(name for name in request.headers if name.startswith("x-")) for request in api.received]
    assert sent == [[], [], ["x-c"], ["x-a", "x-b"]]
    tools = api.connect({"/x": {"get": {"security": [{"digest": []}]}}}, document=keys)
    assert "'digest' is not supported" in tools.omitted[0].reason


def test_variables_of_keys_are_bound_to_the_host() -> None:
    hosts = ["api.dev", "api.dev.com", "api-dev.com", "api_dev.com", "api.dev:8080"]
    urls = [parse_url(f"https://{host}") for host in hosts]
    variables = [variable_of(url, "com_key") for url in urls if url is not None]
    assert variables[0] == "EDGEFC_KEY_API_DEV__COM_KEY"
    assert len(set(variables)) == len(hosts)
    assert all(variable.isidentifier() for variable in variables)


def test_the_demo_model_calls_an_operation(api: Api) -> None:
    operation = {
        "operationId": "get_weather",
        "summary": "Get the current weather for a city",
        "parameters": [parameter("location", "query", required=True, schema={"type": "string"})],
    }
    api.answers["/weather"] = reply({"temperature": 18})
    with edgefc.load("demo", n_threads=1) as model, api.connect({"/weather": {"get": operation}}) as tools:
        result = model.run(
            "What is the weather in Paris?", tools=[*tools], temperature=0, tool_choice="get_weather", max_rounds=1
        )
        assert result.messages[2]["content"] == '{"temperature": 18}'
        assert api.received[0].target == "/weather?location=Paris"
        again = asyncio.run(model.arun("What is the weather in Oslo?", tools=[*tools], temperature=0, max_rounds=1))
        assert again.messages[2]["content"] == '{"temperature": 18}'


def test_after_the_with_block_a_call_is_an_error(api: Api) -> None:
    with api.connect({"/x": {"get": {}}}) as tools:
        (tool,) = tools
    assert "was closed" in call(tool)
    assert not api.received


def test_a_silent_server_costs_its_call_alone(api: Api) -> None:
    released = threading.Event()
    api.answers["/x"] = lambda _: released.wait(60) and None
    (tool,) = api.connect({"/x": {"get": {}}}, timeout=0.2)
    assert json.loads(call(tool)) == {"error": "no answer within 0.2 s"}
    released.set()


def test_a_changed_operation_has_another_fingerprint(api: Api) -> None:
    variants: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"/x": {"get": {}}}, {}),
        ({"/x": {"get": {"operationId": "get_x", "summary": "Other"}}}, {}),
        ({"/y": {"get": {"operationId": "get_x"}}}, {}),
        ({"/x": {"post": {"operationId": "get_x"}}}, {}),
        ({"/x": {"get": {"operationId": "get_x", "parameters": [parameter("q", "query")]}}}, {}),
        ({"/x": {"get": {"operationId": "get_x"}}}, {"servers": [{"url": f"{api.url}/v2"}]}),
    ]
    prints = {connect(api.document(paths, **keys), allow_writes=True)[0].source.fingerprint for paths, keys in variants}
    assert len(prints) == len(variants)

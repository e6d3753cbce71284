"""edgefc as an MCP server, asked by the SDK's own client: in this process, over stdio, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

import edgefc
import edgefc.mcp
from edgefc.mcp.serving import new_server, without_model
from tests.server.server_process import ServerProcess

PATIENCE_S = 300.0
WEATHER = {
    "name": "get_weather",
    "description": "Get the current weather for a city",
    "inputSchema": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Oslo"]}, "population": {"type": "integer", "minimum": 1}},
    "required": ["city", "population"],
}
QUESTION: dict[str, Any] = {"question": "What is the weather in Paris?", "tools": [WEATHER]}


class LocalModel:
    """A loaded model as a delegate."""

    models = ("demo",)

    def __init__(self, model: edgefc.Model) -> None:
        self._model = model

    async def chat(self, body: dict[str, Any]) -> edgefc.Reply:
        options = without_model(body, self.models)
        return await self._model.achat(options.pop("messages"), tools=options.pop("tools"), **options)

    async def lint(self, tools: list[dict[str, Any]]) -> dict[str, Any]:
        raise NotImplementedError


@pytest.fixture(scope="module")
def local() -> Iterator[Any]:
    with edgefc.load("demo", n_threads=1) as model:
        yield new_server(LocalModel(model))


@contextlib.asynccontextmanager
async def connected(target: Any, mode: Any = "auto") -> AsyncIterator[Client]:
    async with Client(target, read_timeout_seconds=PATIENCE_S, mode=mode) as client:
        yield client


def ask(target: Any, name: str, arguments: dict[str, Any]) -> Any:
    async def call() -> Any:
        async with connected(target) as client:
            return await client.call_tool(name, arguments)

    return asyncio.run(call())


def data_of(target: Any, name: str, arguments: dict[str, Any]) -> Any:
    result = ask(target, name, arguments)
    assert not result.is_error, result.content
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content


async def check_all(target: Any, mode: str = "auto") -> None:
    """Use each tool once."""
    async with connected(target, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"call_tools", "extract", "lint_tools"}
        assert all(tool.annotations.read_only_hint for tool in tools.values())
        called = (await client.call_tool("call_tools", QUESTION)).structured_content
        assert called["calls"] == [{"name": "get_weather", "arguments": {"location": "Paris"}}]
        extracted = await client.call_tool("extract", {"text": "Two million live in Paris.", "schema": CITY})
        data = extracted.structured_content["data"]
        assert set(data) == {"city", "population"}
        assert data["city"] in {"Paris", "Oslo"}
        odd = {**WEATHER, "name": "odd", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "x"}}}}
        linted = (await client.call_tool("lint_tools", {"tools": [WEATHER, odd]})).structured_content
        assert not linted["ok"]
        assert [bool(report["problems"]) for report in linted["tools"]][1]
        failed = await client.call_tool("call_tools", {**QUESTION, "tools": [odd]})
        assert failed.is_error
        assert "odd" in failed.content[0].text or "$ref" in failed.content[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_over_stdio(mode: str) -> None:
    words = ["-m", "edgefc", "mcp", "serve", "demo", "--n-threads", "1"]
    asyncio.run(check_all(StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ)), mode))


def test_edgefc_uses_edgefc() -> None:
    words = ["-m", "edgefc", "mcp", "serve", "demo", "--n-threads", "1"]
    server = {"command": sys.executable, "args": words, "env": dict(os.environ), "timeout": PATIENCE_S}
    with edgefc.mcp.connect({"mcpServers": {"edgefc": server}}) as tools:
        assert [tool.source.badge for tool in tools] == ["read-only"] * 3
        assert tools.omitted == ()
        result = json.loads(asyncio.run(tools[0](**QUESTION)))
    assert result["calls"] == [{"name": "get_weather", "arguments": {"location": "Paris"}}]


@pytest.mark.parametrize("options", [(), ("--worker",)], ids=["alone", "worker"])
def test_over_http(options: tuple[str, ...]) -> None:
    with ServerProcess(("--mcp-endpoint", *options)) as server:
        for mode in ("auto", "legacy"):
            asyncio.run(check_all(f"http://{server.host}:{server.port}/mcp", mode))
        assert any("POST /mcp 200 demo" in line for line in server.lines)
        assert any(f"MCP clients: http://{server.host}:{server.port}/mcp" in line for line in server.lines)


def test_http_has_the_checks_of_the_other_routes() -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"Accept": "application/json, text/event-stream"}
    with ServerProcess(("--mcp-endpoint", "--api-key", "sesame")) as server:
        key = {**accept, "Authorization": "Bearer sesame"}
        assert server.request("POST", "/mcp", message, accept).status == 401
        assert server.request("POST", "/mcp", message, {**key, "Host": "evil.example"}).status == 403
        assert server.request("POST", "/mcp", message, {**key, "Origin": "http://evil.example"}).status == 403
        assert server.request("GET", "/mcp", None, key).status == 405
        assert server.request("POST", "/mcp", raw=b"{", headers=key).status == 400
        assert server.request("POST", "/mcp", raw=b"[" * 5_000_000, headers=key).status in {400, 413}
        assert server.request("POST", "/mcp", raw=b"1" * (9 << 20), headers=key).status == 413
        listed = server.request("POST", "/mcp", message, key)
        assert listed.status == 200
        assert len(listed.json["result"]["tools"]) == 3


def test_a_client_that_leaves_ends_its_request() -> None:
    """Long before its answer is complete."""
    arguments = {"text": "", "schema": {"type": "array", "items": {"type": "integer"}, "minItems": 900}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "extract", "arguments": arguments}}
    body = json.dumps(message).encode()
    head = ["POST /mcp HTTP/1.1", "Host: localhost", "Content-Type: application/json",
            "Accept: application/json, text/event-stream", f"Content-Length: {len(body)}", "", ""]  # fmt: skip
    with ServerProcess(("--mcp-endpoint",)) as server:
        for _ in range(3):
            with server.socket() as connection:
                connection.sendall("\r\n".join(head).encode() + body)
                while not server.metric("edgefc_running"):
                    time.sleep(0.01)
            while server.metric("edgefc_running"):
                time.sleep(0.01)
        assert server.metric("edgefc_answer_seconds_count") == 0
        called = data_of(f"http://{server.host}:{server.port}/mcp", "call_tools", QUESTION)
        assert called["outcome"] == "call"
        assert server.metric("edgefc_answer_seconds_count") == 1


def test_it_is_off_unless_it_is_wanted() -> None:
    with ServerProcess() as server:
        assert server.post("/mcp", {}).status == 404


def test_calls_are_chosen_and_not_run(local: Any) -> None:
    chosen = data_of(local, "call_tools", QUESTION)
    assert chosen["outcome"] == "call"
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is the weather in Oslo?"}]
    chosen = data_of(local, "call_tools", {"messages": messages, "tools": [WEATHER], "tool_choice": "get_weather"})
    assert chosen["calls"] == [{"name": "get_weather", "arguments": {"location": "Oslo"}}]


@pytest.mark.parametrize(
    ("schema", "check"),
    [
        ({"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}, lambda data: len(data) == 2),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"enum": [7]}}}, lambda data: data == 7),
        ({"properties": {"a": {"const": 1}}, "required": ["a"]}, lambda data: data["a"] == 1),
    ],
)
def test_any_schema_can_be_extracted(schema: Any, check: Any, local: Any) -> None:
    assert check(
        data_of(local, "extract", {"text": "Seven.", "schema": schema, "instruction": "Find numbers."})["data"]
    )


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("call_tools", {"tools": [WEATHER]}, "question: must be given, or messages, and not both"),
        ("call_tools", {**QUESTION, "messages": [{}]}, "and not both"),
        ("call_tools", {"question": "Hi", "tools": []}, "tools"),
        ("call_tools", {**QUESTION, "temprature": 1}, "temprature"),
        ("call_tools", {**QUESTION, "tool_choice": "other"}, "other"),
        ("call_tools", {**QUESTION, "model": "other"}, "unknown model 'other'"),
        ("call_tools", {"messages": [{"role": "nobody"}], "tools": [WEATHER]}, "messages[0]"),
        ("extract", {"text": "x"}, "schema"),
        ("extract", {"text": "x", "schema": {"type": "nothing"}}, "nothing"),
        ("extract", {"text": "x", "schema": CITY, "max_tokens": 1}, "cut off after 1 token:"),
        ("other", {}, "unknown tool 'other'; known: call_tools, extract, lint_tools"),
    ],
)
def test_mistakes_are_results_that_say_why(name: str, arguments: dict[str, Any], reason: str, local: Any) -> None:
    result = ask(local, name, arguments)
    assert result.is_error
    assert reason in result.content[0].text


def test_the_schemas_say_what_is_optional(local: Any) -> None:
    async def schemas() -> dict[str, Any]:
        async with connected(local) as client:
            return {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}

    found = asyncio.run(schemas())
    assert found["call_tools"]["required"] == ["tools"]
    assert found["extract"]["required"] == ["text", "schema"]
    assert "model" not in found["call_tools"]["properties"]
    assert found["call_tools"]["properties"]["question"]["type"] == "string"
    assert "null" not in json.dumps(found)

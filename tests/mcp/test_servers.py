"""Tools of servers in this process, in children and behind HTTP; servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvicorn

import edgefc
from edgefc.mcp import McpTools, connect
from edgefc.tools import run_tool
from tests.mcp.conftest import PATIENCE_S
from tests.mcp.notes_server import server as notes

Raw = Callable[..., dict[str, Any]]
SERVER = Path(__file__).with_name("notes_server.py")


def call(tools: McpTools, name: str, **arguments: Any) -> Any:
    """Run a tool as `Model.run` does; the result as a JSON value, or text."""
    text = run_tool({tool.name: tool for tool in tools}[name], arguments)
    try:
        return json.loads(text)
    except ValueError:
        return text


@pytest.fixture(scope="module")
def in_process() -> Iterator[McpTools]:
    with connect({"mcpServers": {"notes": notes}}) as tools:
        yield tools


def test_tools_and_results_of_a_server_in_this_process(in_process: McpTools) -> None:
    assert not in_process.omitted
    badges = {tool.name: tool.source.badge for tool in in_process}
    assert badges["read_note"] == "read-only"
    assert badges["delete_note"] == "destructive"
    assert call(in_process, "delete_note", title="a") == {"deleted": "a"}
    assert call(in_process, "read_note", title="a") == {"result": "a: buy milk"}
    assert "no result" not in call(in_process, "draw")
    assert call(in_process, "draw").splitlines() == [
        "a cat",
        "[image of the type image/png: not shown, the model reads text only]",
    ]
    assert "reason" not in call(in_process, "read_note", title="b")
    assert "fail" in call(in_process, "fail", reason="x")["error"]
    assert "title" in call(in_process, "read_note")["error"]


def test_of_a_long_result_head_and_tail_remain(in_process: McpTools) -> None:
    text = call(in_process, "long_note", length=100_000)
    assert text.startswith("aaa")
    assert text.endswith("end")
    assert "88,003 of 100,003 characters are left out here" in text
    assert len(text) < 12_100


def test_a_run_uses_a_servers_tools_beside_a_function(raw: Raw, demo_path: Path) -> None:
    def add(a: float, b: float) -> float:
        """Add two numbers."""
        return a + b

    results: list[str] = []
    with edgefc.load(demo_path) as model, connect({"mcpServers": {"raw": raw()}}) as tools:
        model.run(
            "Echo the text hello.",
            tools=[*tools, add],
            tool_choice={"type": "function", "function": {"name": "echo"}},
            on_result=lambda _name, _arguments, result: results.append(result),
            max_rounds=2,
        )
    assert len(results) == 1
    assert "error" not in results[0]


def test_a_caller_with_an_event_loop(raw: Raw) -> None:
    async def use() -> str:
        async with connect({"mcpServers": {"raw": raw()}}) as tools:
            result: str = await tools[0](text="hello")
            return result

    assert asyncio.run(use()) == "hello"


def test_an_async_run_uses_a_servers_tools(raw: Raw, demo_path: Path) -> None:
    async def use() -> list[Any]:
        with edgefc.load(demo_path) as model:
            async with connect({"mcpServers": {"raw": raw()}}) as tools:
                choice = {"type": "function", "function": {"name": "echo"}}
                result = await model.arun("Echo the text hello.", tools=[*tools], tool_choice=choice, max_rounds=2)
        return [message["content"] for message in result.messages if message["role"] == "tool"]

    (content,) = asyncio.run(use())
    assert "error" not in content
    assert not children()


def test_a_child_of_the_sdk_over_stdio_inherits_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "x")
    server = {"command": sys.executable, "args": [str(SERVER)], "env": {"OWN": "1"}, "timeout": 300}
    with connect({"mcpServers": {"notes": server}}) as tools:
        names = call(tools, "environment")["result"]
        pids = call(tools, "process_id")["result"]
        assert all(map(psutil.pid_exists, pids))
    assert "OWN" in names
    assert "MY_SECRET" not in names
    assert not any(map(is_running, pids))


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of `notes_server` behind HTTP on this machine, for clients with a key."""
    with http_server() as url:
        yield url


@contextlib.contextmanager
def http_server(port: int = 0) -> Iterator[str]:
    app = notes.streamable_http_app()

    async def with_key(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (b"x-key", b"secret") not in scope["headers"]:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    listener = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(with_key, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


def test_a_server_behind_http(url: str) -> None:
    servers = {
        "remote": {"url": url, "headers": {"X-Key": "secret"}},
        "locked": {"url": url},
        "closed": {"url": "http://127.0.0.1:9/mcp"},
    }
    with connect({"mcpServers": servers}) as tools:
        assert call(tools, "delete_note", title="a") == {"deleted": "a"}
        assert {omission.server for omission in tools.omitted} == {"locked", "closed"}


def test_a_server_behind_http_that_comes_back_is_used_again() -> None:
    with http_server() as url:
        tools = connect({"mcpServers": {"remote": {"url": url, "headers": {"X-Key": "secret"}}}})
        (tool,) = [one for one in tools if one.name == "delete_note"]
        assert "deleted" in run_tool(tool, {"title": "a"})
    with tools:
        assert "error" in run_tool(tool, {"title": "a"})
        with http_server(int(url.split(":")[2].removesuffix("/mcp"))):
            results = [run_tool(tool, {"title": "a"}) for _ in range(2)]
    assert "deleted" in results[1]


def test_equal_names_get_the_servers_name(raw: Raw) -> None:
    servers = {"one": raw(), "two 2": raw(allow=["echo"]), "three": raw(deny=["ech*"])}
    with connect({"mcpServers": servers}, reserved=["three__erase"]) as tools:
        assert [tool.name for tool in tools] == ["one__echo", "one__erase", "two_2__echo"]
        assert call(tools, "two_2__echo", text="hello") == "hello"
        reasons = {(one.server, one.tool): one.reason for one in tools.omitted}
    assert reasons["two 2", "erase"] == "not in allow"
    assert reasons["three", "echo"] == "in deny"
    assert "another tool" in reasons["three", "erase"]


def test_a_refused_schema_costs_its_tool_alone(raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw("refused")}}) as tools:
        assert [tool.name for tool in tools] == ["echo"]
        (omission,) = tools.omitted
    assert (omission.server, omission.tool) == ("raw", "odd")
    assert "$ref" in omission.reason


def test_of_ten_thousand_tools_a_bounded_number_is_offered(raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw("many"), "small": raw()}}) as tools:
        names = [tool.name for tool in tools]
        assert len(names) == 130
        assert names[-2:] == ["echo", "erase"]
        reasons = {omission.reason for omission in tools.omitted}
    assert any("name the ones you need in allow" in reason for reason in reasons)
    assert any("more than 1,024 tools" in reason for reason in reasons)


@pytest.mark.parametrize("mode", ["hang-server-discover", "hang-initialize", "hang-tools-list"])
def test_a_server_that_does_not_answer_is_left_out(mode: str, raw: Raw) -> None:
    with connect({"mcpServers": {"slow": raw(mode, timeout=0.5), "raw": raw()}}) as tools:
        assert {tool.config.name for tool in tools} == {"raw"}
        assert "no answer within 0.5 s" in tools.omitted[0].reason
    assert not children()


def children() -> list[psutil.Process]:
    """List the processes of MCP servers that this process has started; the sandbox of templates stays for other tests."""
    found = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in found if any("raw_server" in word or "guard" in word for word in child.cmdline())]


def test_a_call_that_hangs_costs_an_error_result(raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw("hang-tools-call")}}) as tools:
        (tool, _) = tools
        for connection in tools._connections:  # listing had time; the call has none
            object.__setattr__(connection.config, "timeout", 0.3)
        assert "no result within 0.3 s" in run_tool(tool, {"text": "a"})
    assert not children()


def test_a_server_that_dies_says_why_and_starts_again(raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw("dies")}}) as tools:
        first = call(tools, "echo", text="a")["error"]
        second = call(tools, "echo", text="a")["error"]
    for error in (first, second):
        assert error == "MCP server raw: ended its process with status 7: out of cheese"


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        ({"command": "edgefc-no-such-program"}, "no program 'edgefc-no-such-program'"),
        ({"command": sys.executable, "cwd": "/no/such/folder"}, "no such folder"),
        ({"command": sys.executable, "args": ["-c", "import sys; sys.exit('bad key')"]}, "status 1: bad key"),
    ],
)
def test_a_server_that_cannot_start_is_left_out_with_the_reason(server: dict[str, Any], reason: str) -> None:
    with connect({"mcpServers": {"raw": {"timeout": 300, **server}}}) as tools:
        assert list(tools) == []
        assert reason in tools.omitted[0].reason


def test_servers_start_at_the_first_look_and_all_at_once(raw: Raw, tmp_path: Path) -> None:
    servers = {name: raw("waits", str(tmp_path / name)) for name in ("one", "two")}
    with connect({"mcpServers": servers}) as tools:
        assert not list(tmp_path.iterdir())
        assert len(tools) == 4


def test_a_failed_start_is_tried_again_after_a_pause(raw: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = tmp_path / "starts"
    with connect({"mcpServers": {"raw": raw("fails", str(starts))}}) as tools:
        monkeypatch.setattr("edgefc.mcp.connection.FIRST_PAUSE_S", 0.0)
        assert not tools
        monkeypatch.setattr("edgefc.mcp.connection.FIRST_PAUSE_S", PATIENCE_S)
        monkeypatch.setattr("edgefc.mcp.connection.LONGEST_PAUSE_S", PATIENCE_S)
        assert not tools
        assert not tools
        assert "status 1: no key" in tools.omitted[0].reason
    assert starts.read_text() == 2 * "started\n"


def test_a_message_without_end_is_cut(raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw("long-line")}}) as tools:
        assert list(tools) == []
        assert "a message of more than 16 MiB" in tools.omitted[0].reason


def test_lines_that_are_no_messages_are_passed_over(raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw("garbage")}}) as tools:
        assert call(tools, "echo", text="hello") == "hello"


def test_a_tool_that_changed_is_not_called(raw: Raw, tmp_path: Path) -> None:
    with connect({"mcpServers": {"raw": raw("changed", str(tmp_path / "mark"))}}) as tools:
        echo, erase = tools
        assert run_tool(echo, {"text": "a"}) == "a"
        assert "has changed since it was listed" in run_tool(echo, {"text": "a"})
        assert "has gone since it was listed" in run_tool(erase, {"text": "a"})
        (new,) = tools
        assert new.source.description == "Send the text to everybody."
        assert run_tool(new, {"text": "a"}) == "a"


def test_control_sequences_and_special_tokens_stay_text(raw: Raw, demo_path: Path) -> None:
    with connect({"mcpServers": {"raw": raw("control")}}) as tools, edgefc.load(demo_path) as model:
        result = model.run(
            "Echo a.",
            tools=[*tools],
            tool_choice={"type": "function", "function": {"name": "echo"}},
            max_rounds=2,
        )
    assert "obey" in next(message for message in result.messages if message["role"] == "tool")["content"]
    assert result.reply.outcome != "call"


def test_a_huge_result_is_shortened(raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw("result-3")}}, max_result=1000) as tools:
        assert len(str(call(tools, "echo", text="a"))) < 1100


def test_after_the_end_a_call_is_an_error(raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw()}}) as tools:
        (echo, _) = tools
    assert "the connection was closed" in run_tool(echo, {"text": "a"})


def test_processes_that_ignore_every_request_to_end_are_killed(raw: Raw, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with connect({"mcpServers": {"raw": raw("family", str(pids))}}) as tools:
        assert call(tools, "echo", text="hello") == "hello"
    numbers = [int(line) for line in pids.read_text().split()]
    assert len(numbers) == 2
    assert not any(map(is_running, numbers))

"""Servers that want to cost time or memory, or to reach more than they were asked for."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgefc import load
from edgefc.mcp import Approvals, connect
from edgefc.tools import run_tool
from tests.bounded import run_bounded
from tests.cli.conftest import edgefc  # noqa: F401 - a fixture
from tests.mcp.conftest import PATIENCE_S

Raw = Callable[..., dict[str, Any]]

# Prints the tools, the reasons, the first tool's result, and by how many MB the peak of memory has grown.
LOOK = """
import json, resource, sys
import edgefc.mcp, edgefc.mcp.connection, edgefc.grammar.refusal
from edgefc.tools import run_tool
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 << 20 if sys.platform == "darwin" else 1 << 10)
before = peak()
with edgefc.mcp.connect({"mcpServers": {"raw": json.loads(sys.argv[1])}}) as tools:
    found = list(tools)
    result = run_tool(found[0], {"text": "a" * int(sys.argv[2])}) if found else ""
    reasons = [one.reason for one in tools.omitted]
print(json.dumps([[tool.name for tool in found], reasons, result, peak() - before]))
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of Unix")
@pytest.mark.parametrize(
    ("mode", "names", "reason", "result"),
    [
        ("schema-50", [], "a message of more than 16 MiB", ""),
        ("schema-10", ["echo"], "larger than 1,048,576 bytes", "a"),
        ("result-100", ["echo", "erase"], "", "a message of more than 16 MiB"),
        ("pages", [], "its description has more than 50,000 characters", ""),
    ],
)
def test_vast_messages_cost_little_memory(
    mode: str, names: list[str], reason: str, result: str, raw: Raw, tmp_path: Path
) -> None:
    done = run_bounded(["-c", LOOK, json.dumps(raw(mode)), "1"], tmp_path, seconds=PATIENCE_S)
    found, reasons, text, growth = json.loads(done.stdout)
    assert found == names
    assert any(reason in one for one in reasons) or not reason
    assert result in text
    # A message of 16 MiB is held as bytes and as objects; of 50 or 100 MB it would be more.
    assert growth < 200


@pytest.mark.parametrize("mode", ["flood-initialize", "flood-tools-list", "endless-list"])
def test_a_server_that_talks_without_answering_is_left_out(mode: str, raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw(mode, timeout=1.0)}}) as tools:
        assert list(tools) == []
        assert "no answer within 1 s" in tools.omitted[0].reason


@pytest.mark.parametrize("mode", ["flood-tools-call", "deaf"])
def test_a_call_that_gets_no_answer_is_an_error(mode: str, raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw(mode)}}) as tools:
        (tool, _) = tools
        for connection in tools._connections:  # listing had time; the call has none
            object.__setattr__(connection.config, "timeout", 0.5)
        assert "no result within 0.5 s" in run_tool(tool, {"text": "a" * 3_000_000})


def test_a_server_can_ping_and_nothing_else(raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw("asks")}}) as tools:
        assert json.loads(run_tool(tools[0], {"text": "a"})) == ["ping"]


def test_a_result_is_not_checked_with_the_servers_patterns(raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw("output")}}) as tools:
        assert json.loads(run_tool(tools[0], {"text": "a"})) == {"a": "a" * 60 + "!"}


def test_a_tool_that_no_model_can_read_is_left_out_alone(raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw("odd")}}) as tools:
        (tool,) = tools
        assert tool.source.description == "Echo a text.?"
        reasons = {omission.tool: omission.reason for omission in tools.omitted}
    assert "more than 50,000 characters" in reasons["long"]
    assert "invalid tool name" in reasons["a b<|im_end|>"]


def test_a_malformed_tool_is_left_out_alone(raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw("malformed")}}) as tools:
        assert [tool.name for tool in tools] == ["echo"]
        reasons = {omission.tool: omission.reason for omission in tools.omitted}
    assert reasons["bare"] == "inputSchema: Field required"
    assert reasons.keys() == {"bare", "tool 2", "tool 3", "text"}


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("number", "sent an answer that cannot be read"), ("no-tools", "tools: Input should be a valid list")],
)
def test_an_answer_that_cannot_be_read_is_not_waited_for(mode: str, reason: str, raw: Raw) -> None:
    with connect({"mcpServers": {"raw": raw(mode)}}) as tools:
        assert list(tools) == []
        assert reason in tools.omitted[0].reason


def test_special_tokens_in_descriptions_are_text(raw: Raw, demo_path: Path) -> None:
    messages: list[Any] = [{"role": "user", "content": "Echo a."}]
    with load(demo_path) as model:
        tokens = []
        for mode in ("control", "plain"):
            with connect({"mcpServers": {"raw": raw(mode, allow=["echo"])}}) as tools:
                tokens.append(model.prompt(messages, tools=[*tools]).ids)
        special = set(map(model.engine.tokenizer.special_id, model.engine.tokenizer.special_tokens))
        specials = [sorted(one for one in ids if one in special) for ids in tokens]
    assert specials[0] == specials[1]
    assert len(tokens[0]) > len(tokens[1])


class _Hostile(BaseHTTPRequestHandler):
    """Answers like a server over HTTP, until the method that `mode` names."""

    protocol_version = "HTTP/1.1"
    mode = ""
    released: threading.Event

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        act, _, method = self.mode.partition(" ")
        if request["method"] == method:
            with suppress(OSError):  # the client has had enough
                self._misbehave(act)
            return
        if "id" not in request:
            self._send(202, b"")
            return
        results = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "x", "version": "1"},
            },
            "tools/list": {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]},
            "tools/call": {"content": [{"type": "text", "text": "done"}]},
        }
        result = results.get(request["method"])
        answer = {"error": {"code": -32601, "message": "no"}} if result is None else {"result": result}
        self._send(200, json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}).encode())

    def do_DELETE(self) -> None:
        if self.mode == "hang DELETE":
            self.released.wait(PATIENCE_S)
        self._send(200, b"")

    def do_GET(self) -> None:
        self._send(405, b"")

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Mcp-Session-Id", "1")
        self.end_headers()
        self.wfile.write(body)

    def _misbehave(self, act: str) -> None:
        if act == "hang":
            self.released.wait(PATIENCE_S)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if act == "stream" else "application/json")
        self.send_header("Content-Length", "100000000")
        self.end_headers()
        self.wfile.write(b"data: " if act == "stream" else b'{"')
        for _ in range(100):
            self.wfile.write(b"a" * 1_000_000)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def hostile_http(mode: str) -> Iterator[str]:
    released = threading.Event()
    handler = type("Bound", (_Hostile,), {"mode": mode, "released": released})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mcp"
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("mode", ["hang server/discover", "hang initialize", "hang tools/list"])
def test_a_server_behind_http_that_does_not_answer_is_left_out(mode: str) -> None:
    with hostile_http(mode) as url, connect({"mcpServers": {"raw": {"url": url, "timeout": 0.5}}}) as tools:
        assert list(tools) == []
        assert "no answer within 0.5 s" in tools.omitted[0].reason


@pytest.mark.parametrize("mode", ["hang tools/call", "hang DELETE", "vast tools/call", "stream tools/call"])
def test_a_call_over_http_ends(mode: str) -> None:
    with hostile_http(mode) as url:
        with connect({"mcpServers": {"raw": {"url": url, "timeout": PATIENCE_S}}}) as tools:
            (tool,) = tools
            if mode.startswith("hang"):
                object.__setattr__(tools._connections[0].config, "timeout", 0.5)
            text = run_tool(tool, {})
        expected = {"hang tools/call": "no result within 0.5 s", "hang DELETE": "done"}.get(mode, '{"error"')
        assert expected in text


def test_a_tool_that_changed_after_its_approval_does_not_run(
    edgefc: Callable[..., subprocess.CompletedProcess[str]],  # noqa: F811
    raw: Raw,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEFC_CONFIG_DIR", str(tmp_path / "config"))
    mark, path = tmp_path / "mark", tmp_path / "mcp.json"
    server = raw("changed", str(mark))
    path.write_text(json.dumps({"mcpServers": {"raw": server}}), encoding="utf-8")
    with connect(path) as tools:
        Approvals().remember(tools[0].source, "always")
    words = (
        "run",
        "Echo hello",
        "--tool-choice",
        "echo",
        "--max-tokens",
        "60",
        "--local",
        "--json",
        "--mcp",
        str(path),
    )

    def result() -> str:
        messages = json.loads(edgefc(*words).stdout)["messages"]
        return str(next(one["content"] for one in messages if one["role"] == "tool"))

    assert "did not allow" not in result()
    assert mark.exists()  # the call has changed the tool
    assert "did not allow" in result()


def test_what_a_run_prints_has_no_control_characters(
    edgefc: Callable[..., subprocess.CompletedProcess[str]],  # noqa: F811
    raw: Raw,
    tmp_path: Path,
) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"raw": raw("control")}}), encoding="utf-8")
    words = ("run", "Echo hello", "--tool-choice", "echo", "--max-tokens", "60", "--local", "--yes", "--mcp", str(path))
    done = edgefc(*words)
    assert done.returncode == 0, done.stderr
    assert "obey" in done.stdout
    assert not set(done.stdout + done.stderr) & {"\x1b", "\u202e", "\x07"}

"""`edgefc mcp` and `--mcp`, as a user runs them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.conftest import Terminal, edgefc  # noqa: F401 - a fixture

Raw = Callable[..., dict[str, Any]]
Edgefc = Callable[..., "subprocess.CompletedProcess[str]"]
QUESTION = ("run", "Echo hello", "--tool-choice", "echo", "--max-tokens", "60", "--local")


@pytest.fixture
def mcp_file(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    def write(servers: dict[str, Any]) -> str:
        path = tmp_path / "mcp.json"
        path.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
        return str(path)

    return write


def test_add_list_and_remove(edgefc: Edgefc, raw: Raw, tmp_path: Path) -> None:  # noqa: F811
    server, path = raw(), str(tmp_path / "own.json")
    added = edgefc("mcp", "add", "raw", "--mcp", path, "--env", "A=1", "--", server["command"], *server["args"])
    assert added.returncode == 0, added.stderr
    listed = edgefc("mcp", "list", "--mcp", path, "--model", "demo", "--json")
    data = json.loads(listed.stdout)
    assert [(tool["name"], tool["read_only"], tool["destructive"]) for tool in data["tools"]] == [
        ("echo", True, False),
        ("erase", False, True),
    ]
    assert all(tool["prompt_tokens"] > 10 for tool in data["tools"])
    assert "A=1" not in listed.stdout
    assert edgefc("mcp", "remove", "raw", "--mcp", path).returncode == 0
    again = edgefc("mcp", "remove", "raw", "--mcp", path)
    assert again.returncode == 2
    assert "no such server" in again.stderr


def test_the_table_shows_hostile_text_escaped(edgefc: Edgefc, raw: Raw, mcp_file: Any) -> None:  # noqa: F811
    done = edgefc("mcp", "list", "--mcp", mcp_file({"raw": raw("control"), "b\x85": {"command": "edgefc-none"}}))
    assert done.returncode == 2  # the name of a server is checked
    done = edgefc("mcp", "list", "--mcp", mcp_file({"raw": raw("control"), "gone": {"command": "edgefc-none"}}))
    assert done.returncode == 0
    assert "destructive" in done.stdout
    assert "gone is left out: MCP server gone: no program 'edgefc-none'" in done.stdout
    assert not set(done.stdout + done.stderr) & {"\x1b", "\u202e", "\x07"}


def test_test_fails_for_a_server_that_does_not_start(edgefc: Edgefc, raw: Raw, mcp_file: Any) -> None:  # noqa: F811
    done = edgefc("mcp", "test", "--mcp", mcp_file({"raw": raw(), "gone": {"command": "edgefc-none"}}))
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "raw: 2 tools"
    assert "no program 'edgefc-none'" in done.stdout


def test_nothing_runs_unapproved(edgefc: Edgefc, raw: Raw, mcp_file: Any) -> None:  # noqa: F811
    refused = edgefc(*QUESTION, "--json", "--mcp", mcp_file({"raw": raw()}))
    (result,) = [one for one in json.loads(refused.stdout)["messages"] if one["role"] == "tool"]
    assert "did not allow" in result["content"]
    assert "no terminal to ask for approval" in refused.stderr
    for server, words in [(raw(approve=["echo"]), ()), (raw(approve="read-only"), ()), (raw(), ("--yes",))]:
        done = edgefc(*QUESTION, "--json", *words, "--mcp", mcp_file({"raw": server}))
        (result,) = [one for one in json.loads(done.stdout)["messages"] if one["role"] == "tool"]
        assert "did not allow" not in result["content"]


@pytest.mark.skipif(os.name != "posix", reason="a terminal of Unix")
def test_a_decision_for_good_is_remembered(raw: Raw, mcp_file: Any, tmp_path: Path) -> None:
    environment = {**os.environ, "EDGEFC_CONFIG_DIR": str(tmp_path / "config")}
    words = (*QUESTION, "--mcp", mcp_file({"raw": raw()}))
    with Terminal(*words, env=environment) as terminal:
        terminal.wait_for("raw, read-only. Run it? [o]nce, [a]lways, [s]ession, ne[v]er, [N]o:")
        terminal.type("a")
        assert terminal.process.wait(timeout=300) == 0
    stored = json.loads((tmp_path / "config" / "approvals.json").read_text(encoding="utf-8"))
    assert [entry["decision"] for entry in stored["tools"].values()] == ["always"]
    done = subprocess.run(
        [sys.executable, "-m", "edgefc", *words], env=environment, input="", capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not run" not in done.stderr
    assert "←" in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="a terminal of Unix")
def test_a_chat_follows_changes_and_asks_again(raw: Raw, mcp_file: Any, tmp_path: Path) -> None:
    environment = {**os.environ, "EDGEFC_CONFIG_DIR": str(tmp_path / "config")}
    server = raw("changed", str(tmp_path / "mark"))
    words = ("chat", "--tool-choice", "echo", "--max-tokens", "60", "--local", "--mcp", mcp_file({"raw": server}))
    with Terminal(*words, env=environment) as terminal:
        terminal.wait_for("> ")
        terminal.type("Echo hello")
        terminal.wait_for("read-only. Run it?")
        terminal.type("s")
        terminal.wait_for("← ")
        terminal.wait_for("> ")
        terminal.type("Echo hello")
        terminal.wait_for("the servers' tools have changed")
        terminal.wait_for("destructive. Run it?")
        terminal.type("n")
        terminal.wait_for("not run")


def test_lint_reads_servers(edgefc: Edgefc, raw: Raw, mcp_file: Any) -> None:  # noqa: F811
    done = edgefc("lint", "--mcp", mcp_file({"raw": raw("refused")}))
    assert done.returncode == 0
    assert "1 tool, 0 refused" in done.stdout
    assert "odd is left out" in done.stderr


def test_warm_computes_the_prompt_of_servers_tools(edgefc: Edgefc, raw: Raw, mcp_file: Any) -> None:  # noqa: F811
    words = ("--mcp", mcp_file({"raw": raw(approve="always")}), "--json")
    warmed = json.loads(edgefc("warm", *words).stdout)
    assert warmed["files"]
    done = json.loads(edgefc(*QUESTION, *words).stdout)
    assert done["stats"]["cached_tokens"] >= warmed["tokens"]


@pytest.mark.skipif(os.name != "posix", reason="processes of Unix")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_program_leaves_no_process(number: int, raw: Raw, mcp_file: Any, tmp_path: Path) -> None:
    """At random moments after the server has started, with children that ignore every request to end."""
    pids, empty = tmp_path / "pids", tmp_path / "empty"
    empty.touch()
    words = (*QUESTION, "--yes", "--mcp", mcp_file({"raw": raw("family", str(pids))}))
    with empty.open() as stdin:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgefc", *words], stdin=stdin, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
    while not (pids.exists() and pids.read_text().count("\n") == 2) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.random() / 2)
    process.send_signal(number)
    process.wait()
    for pid in map(int, pids.read_text().split()):
        for _ in range(3000):
            if not psutil.pid_exists(pid):
                break
            time.sleep(0.1)
        assert not psutil.pid_exists(pid)

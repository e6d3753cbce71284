"""Commands that ask a running `edgefc serve`, and how that ends."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Edgefc
from tests.server.examples import ENDLESS
from tests.server.server_process import ServerProcess, endless_server


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerProcess]:
    monkeypatch.setenv("EDGEFC_STATE_DIR", str(tmp_path / "state"))
    with ServerProcess() as server:
        yield server


def requests(server: ServerProcess) -> int:
    """Number of chat completions in the server's log."""
    return sum("access_log" in line and "/chat/completions" in line for line in server.lines)


def test_commands_find_the_server_with_their_model(
    serving: ServerProcess, edgefc: Edgefc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFC_FIND_SERVER", "1")
    question = ("call", "What is the weather in Paris and in Oslo?", "--json")
    remote, local = edgefc(*question), edgefc(*question, "--local")
    assert remote.returncode == local.returncode == 0, remote.stderr
    there, here = json.loads(remote.stdout), json.loads(local.stdout)
    for call in (*there["message"]["tool_calls"], *here["message"]["tool_calls"]):
        del call["id"]
    for field in ("message", "outcome", "finish_reason", "end_reason", "missing"):
        assert there[field] == here[field]
    assert there["usage"]["total_tokens"] == here["usage"]["total_tokens"]
    assert there["confidence"]["calls"][0]["probability"] == pytest.approx(
        here["confidence"]["calls"][0]["probability"], abs=0.02
    )
    assert requests(serving) == 1
    url = f"http://127.0.0.1:{serving.port}/v1"
    done = edgefc("run", "What is 17*23?", "--url", url)
    assert done.returncode == 0, done.stderr
    assert "391" in done.stdout.splitlines()[-1]
    unclear = edgefc("call", "What's the weather like?", "--url", url)
    assert (unclear.returncode, json.loads(unclear.stdout)["missing"]) == (3, ["get_weather"])
    wrong = edgefc("call", "hi", "--url", url, "-m", "other")
    assert (wrong.returncode, "does not serve 'other'" in wrong.stderr) == (2, True)
    long = edgefc("call", "word " * 3000, "--url", url)
    assert (long.returncode, "2048" in long.stderr) == (2, True)


def test_chat_changes_its_model_in_a_server(tiny_model: Path, edgefc: Edgefc) -> None:
    with ServerProcess(("--worker", "--keep-alive", "0.5s"), models=("demo", str(tiny_model))) as server:
        url = f"http://127.0.0.1:{server.port}"
        lines = ["What is 17*23?", "/model tiny", "/tokens", "/model nosuch", "/model demo", "And 3+4?", "/exit"]
        done = edgefc("chat", "--url", url, stdin="\n".join(lines))
        assert done.returncode == 0, done.stderr
        assert "does not serve 'nosuch'" in done.stderr
        assert "It serves demo, tiny." in done.stderr
        assert url in done.stdout
        for text in ("17*23 is 391.", "tiny \u00b7 ", "tokens, 1 turn", "3+4 is 7."):
            assert text in done.stdout
        for _ in range(200):
            if any("unloaded demo" in line for line in server.lines):
                break
            time.sleep(0.05)
        else:
            pytest.fail("".join(server.lines))
        again = edgefc("call", "What is 17*23?", "--url", url)
        assert json.loads(again.stdout)[0]["arguments"] == {"expression": "17*23"}, "loaded again"
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0
    assert not any("Traceback" in line for line in server.lines)


def test_chat_keeps_its_model_when_another_cannot_be_loaded(edgefc: Edgefc, tmp_path: Path, demo_path: Path) -> None:
    data = demo_path.read_bytes()
    (tmp_path / "mine.gguf").write_bytes(data)
    (tmp_path / "mine.json").write_text("not a model " * 9, encoding="utf-8")
    (tmp_path / "bad.gguf").write_bytes(data.replace(b"output_norm.weight", b"outpux_norm.weight"))
    (tmp_path / "tokenizer.json").write_bytes(demo_path.with_name("tokenizer.json").read_bytes())
    lines = ["What is 17*23?", "/model bad.gguf", "/model mine.json", "/model nosuch", "/model", "And 3+4?", "/exit"]
    done = edgefc("chat", "mine.gguf", stdin="\n".join(lines))
    assert done.returncode == 0, done.stderr
    for text in ("llama.cpp could not load", "is not a usable GGUF", "unknown model 'nosuch'"):
        assert text in done.stderr
    assert "mine (demo)" in done.stdout
    assert "3+4 is 7." in done.stdout


def test_no_server_at_the_address(edgefc: Edgefc) -> None:
    done = edgefc("call", "hi", "--url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "no answer from the server at http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_idle_model_is_unloaded_and_loaded_again() -> None:
    with ServerProcess(("--keep-alive", "0.1s")) as server:
        for _ in range(200):
            if any("unloaded demo" in line for line in server.lines):
                break
            time.sleep(0.05)
        else:
            pytest.fail("".join(server.lines))
        assert server.request("GET", "/v1/models").json["data"][0]["meta"]["loaded"] is False
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
        assert server.post("/v1/chat/completions", body).status == 200
        assert any("loaded demo in" in line for line in server.lines)


def test_ctrl_c_says_that_the_server_stops() -> None:
    with ServerProcess() as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0
    assert any(line.startswith("stopping") for line in server.lines)


def test_a_second_ctrl_c_ends_running_answers_without_a_traceback(tiny_model: Path) -> None:
    with endless_server(tiny_model, "--drain", "600") as server:
        connections = [server.send_chat(ENDLESS) for _ in range(6)]  # together they take longer than a signal
        server.wait_until_running(1)
        server.process.send_signal(signal.SIGINT)
        while not any("still running" in line for line in server.lines):
            assert server.process.poll() is None
            time.sleep(0.05)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 130
        for connection in connections:
            connection.close()
    assert any("stopping at once" in line for line in server.lines)
    assert not any("Traceback" in line for line in server.lines)

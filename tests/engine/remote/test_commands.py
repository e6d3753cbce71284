"""`--engine` on the command line, and errors of an engine behind a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Edgefc, edgefc
from tests.engine.remote.questions import QUESTIONS, TOOLS, messages
from tests.server.server_process import CHAT, ServerProcess

__all__ = ["edgefc"]  # a fixture


def test_call_chat_and_eval(edgefc: Edgefc, llama_server: str) -> None:
    engine = ("--engine", llama_server)
    done = edgefc("call", "-m", "demo", QUESTIONS[0], *engine)
    assert json.loads(done.stdout)[0]["name"] == "get_weather", done.stderr
    assert edgefc("chat", "-m", "demo", *engine, stdin="Hello!\n/exit\n").returncode == 0
    words = ("eval", "demo", "--category", "examples", "--limit", "4", "--failures", "0", "--out", "runs")
    remote, local = (edgefc(*words, *more).stdout.splitlines() for more in (engine, ()))
    assert "demo+llama-server" in remote[0]
    assert [line.split() for line in remote[1:3]] == [line.split() for line in local[1:3]]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--engine", "ollama=http://127.0.0.1:1"), "unknown engine 'ollama'\nWrite one of llama-server=URL"),
        (("--engine", "llama-server=127.0.0.1"), "invalid URL '127.0.0.1'\nWrite llama-server=http://HOST:PORT"),
        (("--engine", "llama-server=http://me:secret@h"), "no user, password or query\nSet EDGEFC_ENGINE_KEY"),
        (("--engine", "llama-server=http://h", "--url", "http://h"), "a server has its own\nLeave out --url"),
        (("--engine", "llama-server=http://h", "--n-threads", "2"), "not supported with `engine`"),
    ],
    ids=["kind", "url", "password", "two servers", "a local option"],
)
def test_words_that_contradict_are_refused(edgefc: Edgefc, words: tuple[str, ...], error: str) -> None:
    done = edgefc("call", "-m", "demo", "Hello", *words)
    assert done.returncode == 2
    assert error in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize("worker", [(), ("--worker",)], ids=["in process", "worker"])
def test_serve(llama_server: str, demo_path: Path, tmp_path: Path, worker: tuple[str, ...]) -> None:
    folder = tmp_path / "weightless"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(demo_path.with_name("tokenizer.json").read_bytes())
    options = ("--engine", llama_server, "--family", "demo", *worker)
    with ServerProcess(options, models=(str(folder),)) as server:
        body = {"messages": messages(QUESTIONS[0]), "tools": TOOLS, "tool_choice": "required"}
        answer = server.post(CHAT, body)
        assert answer.json["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_weather"
        (model,) = server.request("GET", "/v1/models").json["data"]
        assert (model["id"], model["context_length"]) == ("weightless", 2048)
        refused = server.post(CHAT, {**body, "x_edgefc_trace": True})
        assert (refused.status, "trace" in refused.error["message"]) == (400, True)
        assert b"<script" not in server.request("GET", "/", headers={"Accept": "text/html"}).body

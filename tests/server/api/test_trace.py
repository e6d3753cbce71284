"""`x_edgefc_trace`: in chunks and in whole answers, through a worker, for whom it is allowed, and on the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Edgefc, edgefc
from tests.server.examples import TOOLS, WEATHER
from tests.server.server_process import CHAT, HttpResponse, ServerProcess

__all__ = ["edgefc"]  # a fixture
BODY: dict[str, Any] = {"messages": WEATHER, "tools": TOOLS, "temperature": 0}
TRACED: dict[str, Any] = {**BODY, "x_edgefc_trace": True}
PAGE = "http://page.example"
PARTS = {"tokens", "end", "earlier_attempts", "prompt", "grammar", "decision", "unenforced", "missing_tokens"}


def choices_of(answer: HttpResponse) -> list[dict[str, Any]]:
    """Return the choices of a stream's chunks."""
    lines = [line.removeprefix(b"data: ") for line in answer.body.splitlines() if line.startswith(b"data: {")]
    return [choice for line in lines for choice in json.loads(line)["choices"]]


@pytest.mark.parametrize("options", [(), ("--worker",)], ids=["one process", "worker"])
def test_chunks_carry_their_tokens(options: tuple[str, ...]) -> None:
    with ServerProcess(options) as server:
        whole = server.post(CHAT, TRACED).json
        trace = whole["choices"][0]["x_edgefc_trace"]
        assert trace.keys() == PARTS
        assert len(trace["tokens"]) == whole["usage"]["completion_tokens"]
        forced = [token for token in trace["tokens"] if token["origin"] == "forced"]
        assert len(forced) == whole["usage"]["completion_tokens_details"]["forced_tokens"] > 0
        assert sum(band["tokens"] for band in trace["prompt"]) == whole["usage"]["prompt_tokens"]
        assert {band["name"] for band in trace["prompt"]} == {"system", "tools", "question"}
        assert trace["decision"] == whole["choices"][0]["x_edgefc"]["confidence"]

        choices = choices_of(server.post(CHAT, {**TRACED, "stream": True}))
        traces = [choice["x_edgefc_trace"] for choice in choices if "x_edgefc_trace" in choice]
        tokens = [token for part in traces for token in part["tokens"]]
        assert [token["id"] for token in tokens] == [token["id"] for token in trace["tokens"]]
        assert traces[-1].keys() == PARTS
        assert all(part.keys() == {"tokens"} for part in traces[:-1])
        assert len(traces) > 3
        first = next(token for token in tokens if token["origin"] == "sampled")
        assert len(first["others"]) == 3
        assert first["others"][0].keys() == {"id", "text", "probability", "allowed"}


def test_it_is_absent_unless_asked_for(server: ServerProcess) -> None:
    for body in (BODY, {**BODY, "x_edgefc_trace": False}):
        assert b"x_edgefc_trace" not in server.post(CHAT, body).body
        assert b"x_edgefc_trace" not in server.post(CHAT, {**body, "stream": True}).body
    assert server.post(CHAT, {**BODY, "x_edgefc_trace": "yes"}).error["param"] == "x_edgefc_trace"


@pytest.mark.parametrize("options", [(), ("--worker",)], ids=["one process", "worker"])
def test_pages_of_other_origins_need_a_key(options: tuple[str, ...]) -> None:
    small = {**TRACED, "max_tokens": 2}
    with ServerProcess(("--allowed-origin", PAGE, *options)) as server:
        refused = server.post(CHAT, small, Origin=PAGE)
        assert (refused.status, refused.error["code"]) == (403, "trace_not_allowed")
        assert server.post(CHAT, {**BODY, "max_tokens": 2}, Origin=PAGE).status == 200
        assert server.post(CHAT, small).status == 200


def test_a_key_allows_it_to_pages_of_other_origins() -> None:
    small = {**TRACED, "max_tokens": 2}
    with ServerProcess(("--allowed-origin", PAGE, "--api-key", "sk-1")) as server:
        assert server.post(CHAT, small, Origin=PAGE).status == 401
        assert server.post(CHAT, small, Origin=PAGE, Authorization="Bearer sk-1").status == 200


def test_call_prints_it_here_and_from_a_server(edgefc: Edgefc, server: ServerProcess) -> None:
    question = ("call", "What is the weather in Paris and in Oslo?", "--trace")
    here, there = edgefc(*question), edgefc(*question, "--url", server.url)
    assert here.returncode == there.returncode == 0, there.stderr
    local, remote = json.loads(here.stdout), json.loads(there.stdout)
    for data in (local, remote):
        assert data["trace"].keys() == PARTS
        assert len(data["trace"]["tokens"]) == data["stats"]["completion_tokens"]
    for name in ("id", "text", "origin"):
        assert [t[name] for t in local["trace"]["tokens"]] == [t[name] for t in remote["trace"]["tokens"]]
    assert "trace" not in json.loads(edgefc(*question[:2], "--json").stdout)


def test_chat_shows_it(edgefc: Edgefc) -> None:
    lines = "/trace\n/trace on\nWhat is the weather in Paris?\n/trace\n/trace off\nHello\n/trace\n/trace maybe\n/exit\n"
    done = edgefc("chat", "demo", stdin=lines)
    assert done.stdout.count("has no trace") == 2
    assert "forced" in done.stdout
    assert "prompt: tools" in done.stdout
    assert "must be on or off" in done.stderr

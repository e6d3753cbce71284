"""The small endpoints: models, tokens, templates, tools, metrics."""

from __future__ import annotations

import openai
import pytest
from openai import OpenAI

import edgefc
from tests.server.examples import HELLO, TOOLS, WEATHER
from tests.server.server_process import ServerProcess


def test_models(client: OpenAI, server: ServerProcess) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.object) == ("demo", "model")
    assert client.models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("OWNER/other")
    assert raised.value.code == "model_not_found"
    assert server.request("GET", "/models").status == 200


def test_tokens_survive_a_round_trip(server: ServerProcess) -> None:
    text = "What is the weather in Paris? 🙂"
    tokens = server.post("/tokenize", {"content": text}).json["tokens"]
    assert server.post("/v1/detokenize", {"tokens": tokens}).json["content"] == text
    pieces = server.post("/v1/tokenize", {"content": text, "with_pieces": True}).json["tokens"]
    assert [piece["id"] for piece in pieces] == tokens
    assert all(piece["piece"] for piece in pieces)
    wrong = server.post("/detokenize", {"tokens": [1 << 40]})
    assert (wrong.status, wrong.error["param"]) == (400, "tokens")


def test_the_text_of_a_special_token_is_parsed_only_on_request(server: ServerProcess) -> None:
    with edgefc.load("demo") as model:
        special = min(model.engine.tokenizer.special_tokens)
        token = model.engine.tokenizer.special_id(special)
    assert server.post("/tokenize", {"content": special}).json["tokens"] == [token]
    apart = server.post("/tokenize", {"content": special, "parse_special": False}).json["tokens"]
    assert token not in apart


def test_the_prompt_and_its_length(server: ServerProcess) -> None:
    with edgefc.load("demo") as model:
        prompt = model.prompt(WEATHER, TOOLS)
        count = len(prompt.ids)
    body = {"messages": WEATHER, "tools": TOOLS}
    assert server.post("/apply-template", body).json == {"prompt": prompt.text}
    assert server.post("/v1/chat/completions/input_tokens", body).json["input_tokens"] == count
    wrong = server.post("/apply-template", {"messages": [{"role": "king"}]})
    assert (wrong.status, wrong.error["param"]) == (400, "messages[0].role")


def test_lint(server: ServerProcess) -> None:
    bad = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "thing"}}}},
    }
    report = server.post("/v1/tools/lint", {"tools": [TOOLS[0], bad]}).json
    assert not report["ok"]
    assert [bool(tool["problems"]) for tool in report["tools"]][1]
    assert server.post("/v1/tools/lint", {"tools": TOOLS}).json["ok"]


@pytest.mark.parametrize("name", ["on_unsupported", "x_edgefc_on_unsupported"])
def test_lint_of_patterns_that_are_checked_after_decoding(server: ServerProcess, name: str) -> None:
    word = {"type": "object", "properties": {"x": {"type": "string", "pattern": r"\bTODO\b", "description": "A word"}}}
    tools = [{"name": "f", "description": "Finds a word", "parameters": word}]
    for mode, is_ok in ((None, False), ("refuse", False), ("omit", False), ("check", True)):
        report = server.post("/v1/tools/lint", {"tools": tools, name: mode}).json
        assert report["ok"] == is_ok, mode
        assert bool(report["tools"][0]["unenforced"]) == is_ok
    wrong = server.post("/v1/tools/lint", {"tools": tools, name: "maybe"})
    assert (wrong.status, wrong.error["param"]) == (400, name)


def test_a_browser_is_told_what_this_is(server: ServerProcess) -> None:
    page = server.request("GET", "/")
    assert (page.status, page.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert b"is running" in page.body
    assert b"Models: demo" in page.body
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/models", "/v1/messages"):
        assert path.encode() in page.body
        assert path in server.request("GET", "/openapi.json").json["paths"]


def test_health_and_metrics(server: ServerProcess) -> None:
    assert server.request("GET", "/health").json == {"status": "ok"}
    before = server.metric('edgefc_tokens_total{kind="completion"}')
    requests = server.metric('edgefc_requests_total{path="/chat/completions",status="200"}')
    usage = server.post("/v1/chat/completions", {"messages": HELLO, "max_tokens": 5}).json["usage"]
    assert server.metric('edgefc_tokens_total{kind="completion"}') == before + usage["completion_tokens"]
    assert server.metric('edgefc_requests_total{path="/chat/completions",status="200"}') == requests + 1


def test_unknown_paths_and_methods(server: ServerProcess) -> None:
    assert server.request("GET", "/v1/nothing").status == 404
    assert server.request("GET", "/v1/nothing").error["type"] == "not_found_error"
    assert server.request("GET", "/v1/chat/completions").status == 405
    assert server.request("GET", "/openapi.json").json["info"]["title"] == "edgefc"


def test_a_slash_at_the_end_changes_nothing(server: ServerProcess) -> None:
    assert server.request("GET", "/v1/models/").json["data"][0]["id"] == "demo"
    assert server.request("GET", "/health/").json == {"status": "ok"}
    assert server.post("/v1/chat/completions/", {"messages": HELLO, "max_tokens": 1}).status == 200
    assert server.request("GET", "/v1").body == server.request("GET", "/v1/").body == server.request("GET", "/").body
    assert server.post("/v1", {}).error["message"].startswith("/v1/ has no POST")
    assert server.request("GET", "//").status == 200

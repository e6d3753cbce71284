"""The other endpoints: raw prompts, tokens, templates, models, tools, counters."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import OpenAI

import edgefc
from tests.server.conftest import Serving
from tests.server.test_chat import HELLO, TOOLS, WEATHER


def test_a_raw_prompt_goes_on_as_the_engine_does(client: OpenAI) -> None:
    with edgefc.load("demo") as model:
        prompt = model.prompt(WEATHER, TOOLS).text
        ids = model.engine.tokenizer.encode(prompt)
        told = model.complete(prompt, max_tokens=30, temperature=0).completion
        assert "".join(model.complete(prompt, max_tokens=30, temperature=0)) == told.text
    for given in (prompt, ids):
        answer: Any = client.completions.create(model="demo", prompt=given, max_tokens=30, temperature=0)
        assert answer.object == "text_completion"
        assert answer.choices[0].text == told.text
        assert answer.choices[0].finish_reason == told.finish_reason
        assert answer.usage.prompt_tokens == len(ids)
    stream: Any = client.completions.create(
        model="demo", prompt=prompt, max_tokens=30, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == told.text
    assert last.usage.completion_tokens == told.usage["completion_tokens"]


def test_several_raw_prompts_have_their_choices_in_order(client: OpenAI) -> None:
    one, other = "Once upon a time", "In the beginning"
    alone = [client.completions.create(model="demo", prompt=p, max_tokens=6, temperature=0) for p in (one, other)]
    both = client.completions.create(model="demo", prompt=[one, other], n=2, max_tokens=6, temperature=0)
    texts = [answer.choices[0].text for answer in alone]
    assert [choice.text for choice in both.choices] == [texts[0], texts[0], texts[1], texts[1]]
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [10_000_000]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 3}, "logprobs"),
        ({"grammar": 'root ::= "a"'}, "grammar"),
        ({"stop_token_ids": [300]}, "stop_token_ids"),
        ({"skip_special_tokens": False}, "skip_special_tokens"),
    ],
    ids=str,
)
def test_raw_prompts_that_cannot_be_had(server: Serving, change: dict[str, Any], param: str) -> None:
    answer = server.post("/v1/completions", {"prompt": "x", "max_tokens": 2, **change})
    assert answer.status == 400, answer.body
    assert (answer.error["param"] or "").startswith(param)


def test_what_bfcls_harness_sends_is_answered(server: Serving) -> None:
    """As bfcl-eval 2026.3.23 does it: it waits for the models, then sends prompts that it rendered itself."""
    assert server.ask("GET", "/v1/models", headers={"Accept": "*/*"}).status == 200
    with edgefc.load("demo") as model:
        prompt = model.prompt(WEATHER, TOOLS).text
        told = model.complete(prompt, temperature=0).completion
        end = model.engine.tokenizer.special_id(model.family.stop[0])
        assert model.n_ctx < 4096
    asked: dict[str, Any] = {"model": "/models/a folder", "prompt": prompt, "temperature": 0.001, "max_tokens": 4096}
    # Its handlers of some models name tokens that end an answer, and say what becomes of special ones.
    for more in ({}, {"stop_token_ids": [end], "skip_special_tokens": True}):
        answer = server.client(api_key="EMPTY").completions.create(**asked, extra_body=more, timeout=72_000)
        assert (answer.choices[0].text, answer.choices[0].finish_reason) == (told.text, "stop")
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == told.usage["prompt_tokens"]
        assert answer.usage.completion_tokens > 0


def test_models(client: OpenAI, server: Serving) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.object) == ("demo", "model")
    assert client.models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("OWNER/other")
    assert raised.value.code == "model_not_found"
    assert server.ask("GET", "/models").status == 200


def test_tokens_there_and_back(server: Serving) -> None:
    text = "What is the weather in Paris? 🙂"
    tokens = server.post("/tokenize", {"content": text}).json["tokens"]
    assert server.post("/v1/detokenize", {"tokens": tokens}).json["content"] == text
    pieces = server.post("/v1/tokenize", {"content": text, "with_pieces": True}).json["tokens"]
    assert [piece["id"] for piece in pieces] == tokens
    assert all(piece["piece"] for piece in pieces)
    wrong = server.post("/detokenize", {"tokens": [1 << 40]})
    assert (wrong.status, wrong.error["param"]) == (400, "tokens")


def test_a_special_tokens_text_is_the_token_only_where_that_is_wanted(server: Serving) -> None:
    with edgefc.load("demo") as model:
        special = min(model.engine.tokenizer.special_tokens)
        token = model.engine.tokenizer.special_id(special)
    assert server.post("/tokenize", {"content": special}).json["tokens"] == [token]
    apart = server.post("/tokenize", {"content": special, "parse_special": False}).json["tokens"]
    assert token not in apart


def test_the_prompt_and_its_length(server: Serving) -> None:
    with edgefc.load("demo") as model:
        prompt = model.prompt(WEATHER, TOOLS)
        count = len(prompt.ids)
    body = {"messages": WEATHER, "tools": TOOLS}
    assert server.post("/apply-template", body).json == {"prompt": prompt.text}
    assert server.post("/v1/chat/completions/input_tokens", body).json["input_tokens"] == count
    wrong = server.post("/apply-template", {"messages": [{"role": "king"}]})
    assert (wrong.status, wrong.error["param"]) == (400, "messages[0].role")


def test_lint(server: Serving) -> None:
    bad = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "thing"}}}},
    }
    report = server.post("/v1/tools/lint", {"tools": [TOOLS[0], bad]}).json
    assert not report["ok"]
    assert [bool(tool["problems"]) for tool in report["tools"]][1]
    assert server.post("/v1/tools/lint", {"tools": TOOLS}).json["ok"]


def test_health_and_counters(server: Serving) -> None:
    assert server.ask("GET", "/health").json == {"status": "ok"}
    before = server.metric('edgefc_tokens_total{kind="completion"}')
    asked = server.metric('edgefc_requests_total{path="/chat/completions",status="200"}')
    usage = server.post("/v1/chat/completions", {"messages": HELLO, "max_tokens": 5}).json["usage"]
    assert server.metric('edgefc_tokens_total{kind="completion"}') == before + usage["completion_tokens"]
    assert server.metric('edgefc_requests_total{path="/chat/completions",status="200"}') == asked + 1


def test_what_is_not_there(server: Serving) -> None:
    assert server.ask("GET", "/v1/nothing").status == 404
    assert server.ask("GET", "/v1/nothing").error["type"] == "not_found_error"
    assert server.ask("GET", "/v1/chat/completions").status == 405
    assert server.ask("GET", "/openapi.json").json["info"]["title"] == "edgefc"

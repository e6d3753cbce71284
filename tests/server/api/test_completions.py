"""Completions of raw prompts through openai-python."""

from __future__ import annotations

from typing import Any

import pytest
from openai import OpenAI

import edgefc
from tests.server.examples import TOOLS, WEATHER
from tests.server.server_process import ServerProcess


def test_a_raw_prompt_is_continued_as_by_the_python_api(client: OpenAI) -> None:
    with edgefc.load("demo") as model:
        prompt = model.prompt(WEATHER, TOOLS).text
        ids = model.engine.tokenizer.encode(prompt)
        expected = model.complete(prompt, max_tokens=30, temperature=0).completion
        assert "".join(model.complete(prompt, max_tokens=30, temperature=0)) == expected.text
    for form in (prompt, ids):
        answer: Any = client.completions.create(model="demo", prompt=form, max_tokens=30, temperature=0)
        assert answer.object == "text_completion"
        assert answer.choices[0].text == expected.text
        assert answer.choices[0].finish_reason == expected.finish_reason
        assert answer.usage.prompt_tokens == len(ids)
    stream: Any = client.completions.create(
        model="demo", prompt=prompt, max_tokens=30, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == expected.text
    assert last.usage.completion_tokens == expected.usage["completion_tokens"]


def test_the_choices_of_several_prompts_come_in_order(client: OpenAI) -> None:
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
def test_an_error_names_the_field(server: ServerProcess, change: dict[str, Any], param: str) -> None:
    answer = server.post("/v1/completions", {"prompt": "x", "max_tokens": 2, **change})
    assert answer.status == 400, answer.body
    assert (answer.error["param"] or "").startswith(param)


def test_bfcls_harness_gets_its_answers(server: ServerProcess) -> None:
    """bfcl-eval 2026.3.23 waits for the list of models, then sends prompts that it has rendered itself."""
    assert server.request("GET", "/v1/models", headers={"Accept": "*/*"}).status == 200
    with edgefc.load("demo") as model:
        prompt = model.prompt(WEATHER, TOOLS).text
        expected = model.complete(prompt, temperature=0).completion
        end = model.engine.tokenizer.special_id(model.family.stop[0])
        assert model.n_ctx < 4096
    body: dict[str, Any] = {"model": "/models/a folder", "prompt": prompt, "temperature": 0.001, "max_tokens": 4096}
    # Its handlers of some models name stop tokens, and what to do with special ones.
    for fields in ({}, {"stop_token_ids": [end], "skip_special_tokens": True}):
        answer = server.client(api_key="EMPTY").completions.create(**body, extra_body=fields, timeout=72_000)
        assert (answer.choices[0].text, answer.choices[0].finish_reason) == (expected.text, "stop")
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == expected.usage["prompt_tokens"]
        assert answer.usage.completion_tokens > 0

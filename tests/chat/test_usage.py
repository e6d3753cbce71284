"""What answers say they took."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import edgefc
from edgefc.chat import openai
from edgefc.chat.prompt_parts import PartFinder
from edgefc.chat.request import new_request
from tests.server.examples import TOOLS, WEATHER


def test_thoughts_are_counted(tiny_model: Path) -> None:
    with edgefc.load(tiny_model, family="qwen3", n_ctx=512) as model:
        vocabulary = model.engine.tokenizer.vocabulary
        said = ["<think>\nHm, well.", "\n</think>\n\n", "Hello!"]
        parts = [vocabulary.tokenize(text, parse_special=True) for text in said]
        parts_of_prompts = PartFinder(model.family, model.engine.tokenizer)
        request = new_request(
            model.engine, parts_of_prompts, [{"role": "user", "content": "x"}], None, {"max_tokens": 1}
        )
        result = request.submit().generation.result()
        whole = replace(result, token_ids=[token for part in parts for token in part])
        assert len(parts[0]) <= request.reasoning_tokens(whole) <= len(parts[0]) + len(parts[1])
        assert request.reasoning_tokens(replace(result, token_ids=parts[2])) == 0
        short = model.chat([{"role": "user", "content": "x"}], max_tokens=5)
        assert 0 <= short.usage["completion_tokens_details"]["reasoning_tokens"] <= 5


def test_tokens_that_only_the_grammar_could_give_are_counted(demo_path: Path) -> None:
    tools: Any = TOOLS
    forced: Any = {"type": "function", "function": {"name": "get_weather"}}
    with edgefc.load("demo") as demo:
        reply = demo.chat(WEATHER, tools=tools, tool_choice=forced, temperature=0)
    details = reply.usage["completion_tokens_details"]
    assert 0 < details["forced_tokens"] < reply.usage["completion_tokens"]
    both = openai.total([reply.usage, reply.usage], 2)
    assert both["prompt_tokens"] == reply.usage["prompt_tokens"]
    assert both["completion_tokens_details"]["forced_tokens"] == 2 * details["forced_tokens"]


def test_logprobs_come_with_the_text_that_they_are_of(tiny_model: Path) -> None:
    """Also where the reader is far behind the model."""
    with edgefc.load(tiny_model, family="hermes", n_ctx=512) as model:
        stream = model.chat([{"role": "user", "content": "x"}], max_tokens=12, logprobs=0, temperature=0, stream=True)
        deltas, said = [next(stream)], [stream.pop_logprobs()]
        model.complete("y", max_tokens=40)  # begun later, and longer: the first is over
        for delta in stream:
            deltas.append(delta)
            said.append(stream.pop_logprobs())
        rest = stream.pop_logprobs()
    assert deltas[0] == {"role": "assistant"}
    assert not said[0]
    assert all(said[1:])
    told = sum(len(tokens) for tokens in said)
    assert told + len(rest) == stream.reply.usage["completion_tokens"]
    assert len(deltas) > 3

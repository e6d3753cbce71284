"""Every family with its vocabulary and control tokens: a model with random weights gives only legal answers."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import edgefc
from edgefc.engine import Engine, EngineOptions, Tokenizer
from edgefc.formats import family_names, load_family
from tests.tool_sets import TOOL_SETS

# 100 in the nightly run.
REQUESTS = int(os.environ.get("EDGEFC_FAMILY_REQUESTS", "10"))
FAMILIES = family_names()
# The answers of the others are JSON, which random weights do not finish.
FREE_TEXT = [family for family in FAMILIES if load_family(family).syntax_for(None).text is None]


def tools_for(family: str, number: int) -> list[Any]:
    tools: list[Any] = list(TOOL_SETS[number % len(TOOL_SETS)])
    return [*tools, {"type": "code_interpreter"}] if load_family(family).syntax.code and number % 4 == 3 else tools


CHOICES = ("required", "auto", "none", "named", "allowed")


def choice_for(kind: str, tools: list[Any]) -> Any:
    names = [tool["function"]["name"] for tool in tools if "function" in tool]
    if kind == "named":
        return {"type": "function", "function": {"name": names[-1]}}
    if kind == "allowed":
        allowed = [{"type": "function", "function": {"name": name}} for name in names[:2]]
        return {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": allowed}}
    return kind


@pytest.fixture(scope="module")
def model_of(family_model: Callable[[str], Path]) -> Iterator[Callable[[str], edgefc.Model]]:
    """Return a function that gives a model of a family; families with the same vocabulary share an engine."""
    engines: dict[Path, Engine] = {}

    def load(family: str) -> edgefc.Model:
        path = family_model(family)
        if path not in engines:
            engines[path] = Engine.load(path, EngineOptions(n_ctx=8192))
        return edgefc.Model(engines[path], load_family(family), path=path, name=family)

    yield load
    for engine in engines.values():
        engine.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_only_give_legal_answers(family: str, model_of: Callable[[str], edgefc.Model]) -> None:
    def ask(number: int) -> tuple[str, bool, list[Any], edgefc.Reply]:
        rng = random.Random(number)
        kind, tools, parallel = CHOICES[number % 5], tools_for(family, number), bool(rng.getrandbits(1))
        reply = model.chat(
            [{"role": "system", "content": "S"}, {"role": "user", "content": f"Request {number}: do something."}],
            tools=tools,
            tool_choice=choice_for(kind, tools),
            parallel_tool_calls=parallel,
            thinking=False if number % 2 else None,
            temperature=1.5,
            top_k=0,
            top_p=1.0,
            seed=number,
            max_tokens=100,
        )
        return kind, parallel, tools, reply

    model = model_of(family)
    assert not model.family.missing_tokens(model.engine.tokenizer.special_tokens)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(REQUESTS)))
    complete = 0
    for kind, parallel, tools, reply in answers:
        by_name = {t["function"]["name"]: t["function"]["parameters"] for t in tools if "function" in t}
        allowed = {"named": [*by_name][-1:], "allowed": [*by_name][:2], "none": []}.get(kind, [*by_name, "python"])
        legal = {"none": {"answer"}, "auto": {"answer", "call", "clarify", "no_tool"}}.get(kind, {"call"})
        assert reply.outcome in {*legal, "length"}, (kind, reply.message)
        if not parallel:
            assert len(reply.tool_calls) <= 1
        for call in reply.tool_calls:
            name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
            assert name in allowed
            jsonschema.validate(arguments, by_name.get(name, {"required": ["code"]}))
            complete += 1
    # Random weights seldom end the text before a call.
    share = 20 if "{text}" in load_family(family).syntax.calls_begin else 5
    assert complete >= REQUESTS // share, f"only {complete} complete calls"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_has_one_bos_token_at_most_and_only_in_families_with_one(
    family: str, family_tokenizer: Callable[[str], Tokenizer]
) -> None:
    chat_format, tokenizer = load_family(family), family_tokenizer(family)
    bos = tokenizer.vocabulary.bos
    question: Any = [{"role": "system", "content": "S"}, {"role": "user", "content": "<s><|begin_of_text|> hi"}]
    prompt = chat_format.render(question, TOOL_SETS[0], special_tokens=tokenizer.special_tokens)
    ids = tokenizer.encode(prompt, bos=chat_format.bos)
    if chat_format.bos == "always":
        assert ids.count(bos) == 1
        assert ids[0] == bos
        assert tokenizer.encode(prompt.text[: len("<s>")] + "x", bos="always").count(bos) == 1
    if chat_format.bos == "never" and bos >= 0 and tokenizer.vocabulary.piece(bos).decode() not in prompt.text:
        assert bos not in ids
    assert ids.count(bos) <= 1


@pytest.mark.parametrize("family", FREE_TEXT)
def test_the_familys_stop_ends_an_answer_whatever_the_file_declares(
    family: str, model_of: Callable[[str], edgefc.Model]
) -> None:
    """llama.cpp does not treat Functionary v2's `<|stop|>`, for example, as an end of generation."""
    model = model_of(family)
    tokenizer = model.engine.tokenizer
    ids = {text: token for text in model.family.stop if (token := tokenizer.special_id(text)) is not None}
    assert ids, "no stop of this family is a token of its vocabulary"
    for text, token in ids.items():
        # Thoughts end with their mark first.
        reply = model.chat(
            [{"role": "user", "content": "x"}], logit_bias={token: 1000.0}, max_tokens=8, thinking=False, seed=0
        )
        assert reply.finish_reason == "stop", text
        # An answer is not empty. What stands before its text may be sampled, too, where llama.cpp takes it for text.
        assert reply.stats.sampled_tokens <= 2 + bool(model.family.syntax.text_before_calls)
    if family == "functionary-v2":
        assert ids["<|stop|>"] not in tokenizer.eog

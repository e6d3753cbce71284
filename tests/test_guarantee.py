"""The guarantee under the hardest conditions: a model with random weights, at temperature 1.5, makes only valid calls."""

from __future__ import annotations

import collections
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import pytest

import edgefc
from edgefc.formats import Detection
from tests.model_files import write_model
from tests.tool_sets import TOOL_SETS
from tests.vocabularies import find_vocabulary

# 500 in the nightly run.
REQUESTS = int(os.environ.get("EDGEFC_GUARANTEE_REQUESTS", "60"))


@pytest.fixture(scope="module")
def random_model(tiny_qwen2: Path):
    with edgefc.load(tiny_qwen2, family="hermes", n_ctx=16384) as model:
        yield model


def test_every_complete_call_of_a_random_model_is_valid(random_model: edgefc.Model) -> None:
    def ask(number: int) -> edgefc.Reply:
        return random_model.chat(
            [{"role": "user", "content": f"Request {number}: do something."}],
            tools=TOOL_SETS[number % len(TOOL_SETS)],
            tool_choice="required",
            parallel_tool_calls=number % 3 == 0,
            temperature=1.5,
            seed=number,
            max_tokens=160,
        )

    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(ask, range(REQUESTS)))
    complete = 0
    for number, reply in enumerate(replies):
        tools = {t["function"]["name"]: t["function"]["parameters"] for t in TOOL_SETS[number % len(TOOL_SETS)]}
        assert reply.outcome in {"call", "length"}
        for call in reply.tool_calls:
            jsonschema.validate(json.loads(call["function"]["arguments"]), tools[call["function"]["name"]])
            complete += 1
    # At temperature 1.5 a random model seldom ends a free text; bounded schemas must end it.
    assert complete >= REQUESTS // 2, f"only {complete} complete calls"
    print(f"{REQUESTS} requests, {complete} complete calls, all valid")


@pytest.mark.parametrize(("family", "vocabulary"), [("gemma4", "gemma-4"), ("qwen3.5", "qwen35")])
@pytest.mark.parametrize("thinking", [None, False])
def test_calls_are_valid_on_the_vocabularies_of_2026(
    family: str, vocabulary: str, thinking: bool | None, tmp_path: Path
) -> None:
    source = find_vocabulary(vocabulary)
    if source is None:
        pytest.skip(f"needs llama.cpp's models/ggml-vocab-{vocabulary}.gguf in the folder of EDGEFC_VOCABULARIES")
    outcomes: collections.Counter[str] = collections.Counter()
    with edgefc.load(write_model(source, tmp_path / "model.gguf"), family=family, n_ctx=8192) as model:
        assert not Detection(family, "").warnings(model.family, model.engine.tokenizer)
        for number in range(REQUESTS):
            tools = TOOL_SETS[number % len(TOOL_SETS)]
            reply = model.chat(
                [{"role": "user", "content": f"Request {number}: do something."}],
                tools=tools,
                tool_choice="required" if number % 2 else "auto",
                parallel_tool_calls=number % 3 == 0,
                thinking=thinking,
                temperature=1.5,
                seed=number,
                max_tokens=160,
            )
            schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
            for call in reply.tool_calls:
                jsonschema.validate(json.loads(call["function"]["arguments"]), schemas[call["function"]["name"]])
            outcomes[reply.outcome] += 1
    assert outcomes.keys() <= {"call", "answer", "length"}
    # Thoughts are free text, which seldom ends.
    assert thinking is None or outcomes["call"] >= REQUESTS // 3

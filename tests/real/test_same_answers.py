"""A real model's answer depends on neither caches, drafts nor other requests (docs/decisions.md).

That holds where a second row costs little, so all engines here believe it does. The fresh ones have nothing in their
caches, one request at a time, and no drafts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import edgefc
from edgefc.engine import engine
from edgefc.engine.costs import Costs
from tests.real import weights
from tests.real.tool_cases import QUESTIONS, TOOLS, ask

TOKENS = 24
COPY = "Repeat this sentence three times: The seven red mugs from Lima travel to Oslo by slow train."
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    (QUESTIONS[0], {"tools": TOOLS, "tool_choice": "required"}),
    (QUESTIONS[1], {"tools": TOOLS, "tool_choice": "auto"}),
    (COPY, {}),
]
Answer = Callable[[int], list[int]]


def submit(model: edgefc.Model, number: int, **options: Any) -> edgefc.ChatStream:
    question, own = REQUESTS[number]
    every = {"max_tokens": TOKENS, "temperature": 0, "logprobs": 0}
    return model.submit(model.request(ask(question), **{**every, **own, **options}))


def generate(model: edgefc.Model, number: int, **options: Any) -> edgefc.Reply:
    return submit(model, number, **options).reply


def tokens_of(reply: edgefc.Reply) -> list[int]:
    return [entry.token for entry in reply.logprobs]


@pytest.fixture(autouse=True)
def exact_kernels(request: pytest.FixtureRequest, real_path: Path) -> None:
    """Expect a difference from K-quants.

    ggml computes their rows with three kernels that round differently: 1 to 3 rows and what 4 does not divide, groups
    of 4 repacked rows, and batches of 8 and more rows, which go through tiles unless GGML_CPU_TILED_MM is 0.
    """
    if not real_path.name.lower().startswith(weights.NAME):  # the others here are Q4_K_M
        reason = "the number of rows in a batch decides how ggml rounds a K-quant"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=False))


@pytest.fixture(scope="module", autouse=True)
def cheap_rows() -> Iterator[None]:
    """Pad single rows and draft on any processor."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine, "row_costs", lambda *_: Costs({1: 1.0, 2: 1.1, 4: 1.1, 8: 2.0}))
        yield


@pytest.fixture(scope="module")
def model(real_path: Path) -> Iterator[edgefc.Model]:
    with edgefc.load(real_path, n_ctx=2048) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def alone(real_path: Path) -> Iterator[Answer]:
    """The tokens of each request in a fresh engine, alone, without drafts."""
    answers: dict[int, list[int]] = {}

    def tokens(number: int) -> list[int]:
        if number not in answers:
            with pytest.MonkeyPatch.context() as monkeypatch:
                monkeypatch.setattr(engine, "MAX_DRAFT", 0)
                with edgefc.load(real_path, n_ctx=2048, n_parallel=2, prefix_disk=0) as fresh:
                    result = generate(fresh, number)
            assert (result.stats.cached_tokens, result.stats.drafted_tokens) == (0, 0)
            answers[number] = tokens_of(result)
        return answers[number]

    yield tokens
    answers.clear()


def test_a_cached_prefix_changes_nothing(model: edgefc.Model, real_path: Path, alone: Answer) -> None:
    generate(model, 0, max_tokens=1, tool_choice="auto")
    warm = generate(model, 1)
    cached = warm.usage["prompt_tokens_details"]["cached_tokens"]
    assert warm.usage["prompt_tokens"] > cached == warm.stats.cached_tokens > warm.usage["prompt_tokens"] / 2
    assert tokens_of(warm) == alone(1)
    assert model.engine.save_prefixes()
    with edgefc.load(real_path, n_ctx=2048, n_parallel=2) as restarted:
        from_disk = generate(restarted, 1)
    assert from_disk.stats.cached_from == "disk"
    assert from_disk.stats.cached_tokens > cached / 2
    assert tokens_of(from_disk) == alone(1)


def test_requests_together_answer_as_alone(model: edgefc.Model, alone: Answer) -> None:
    numbers = (1, 0, 2, 1)
    together = [submit(model, number) for number in numbers]
    assert [tokens_of(stream.reply) for stream in together] == [alone(number) for number in numbers]


def test_drafts_change_nothing_but_the_steps(
    model: edgefc.Model, alone: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafted = generate(model, 2)
    monkeypatch.setattr(engine, "MAX_DRAFT", 0)
    plain = generate(model, 2)
    assert tokens_of(drafted) == tokens_of(plain) == alone(2)
    assert plain.stats.drafted_tokens == 0
    assert drafted.stats.accepted_tokens > 0
    assert drafted.stats.model_steps < plain.stats.model_steps

"""Cost of a call in model steps and tokens: counts, which are exact on any machine as seconds are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import edgefc
from edgefc.engine import calibration
from edgefc.tools.examples import EXAMPLE_TOOLS

# Question → tokens of the answer: all, chosen by the model, forced by the grammar; model steps after prefill.
COUNTS = {
    "What is the weather in Paris and in Oslo?": (52, 13, 39, 9),
    "What's 17*23?": (31, 10, 21, 5),
    "Roll two dice": (28, 7, 21, 6),
}


@pytest.fixture(scope="module")
def model(demo_path: Path) -> Iterator[edgefc.Model]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(calibration, "load", lambda *_: None)  # measured costs may lead to other steps
        with edgefc.load(demo_path, family="demo", n_parallel=2) as loaded:
            yield loaded


@pytest.mark.parametrize("question", COUNTS)
def test_a_call_takes_few_steps(model: edgefc.Model, question: str) -> None:
    model.chat([{"role": "user", "content": "hello"}], tools=EXAMPLE_TOOLS)
    reply = model.chat([{"role": "user", "content": question}], tools=EXAMPLE_TOOLS)
    stats = reply.stats
    assert reply.tool_calls
    assert stats.cached_from == "slot"
    prefill = 1
    counted = (stats.completion_tokens, stats.sampled_tokens, stats.forced_tokens, stats.model_steps - prefill)
    assert counted == COUNTS[question]


def test_a_tool_set_is_computed_once(model: edgefc.Model) -> None:
    """A second question costs only its own tokens."""
    one, other = (
        model.chat([{"role": "user", "content": text}], tools=EXAMPLE_TOOLS, max_tokens=1).stats
        for text in ("What time is it in Lima?", "Convert 3 miles to kilometres")
    )
    assert other.prompt_tokens - other.cached_tokens <= 20
    assert one.prompt_tokens > 200

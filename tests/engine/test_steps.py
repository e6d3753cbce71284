"""What a call costs in model steps and tokens: counted, so exact on any machine, where seconds are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import edgefc
from edgefc.engine import calibration
from edgefc.tools.examples import EXAMPLE_TOOLS

# Question → tokens of the answer; those the model chose, those the grammar gave; batches after the prompt.
COUNTS = {
    "What is the weather in Paris and in Oslo?": (52, 13, 39, 9),
    "What's 17*23?": (31, 10, 21, 5),
    "Roll two dice": (28, 7, 21, 6),
}


@pytest.fixture(scope="module")
def model(demo_path: Path) -> Iterator[edgefc.Model]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(calibration, "load", lambda _: None)  # measured costs may weigh steps otherwise
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


def test_a_known_tool_set_is_not_computed_again(model: edgefc.Model) -> None:
    """Of a second question only what differs: its own tokens."""
    one, other = (
        model.chat([{"role": "user", "content": text}], tools=EXAMPLE_TOOLS, max_tokens=1).stats
        for text in ("What time is it in Lima?", "Convert 3 miles to kilometres")
    )
    assert other.prompt_tokens - other.cached_tokens <= 20
    assert one.prompt_tokens > 200

"""The choice between another call and the end: by the model's own distribution, not by the mask."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from edgefc.engine.choice import Choice
from edgefc.engine.constraint import Constraint
from edgefc.engine.sampler import Sampler, SamplingOptions

AGAIN, ALSO_AGAIN, END, TEXT = range(4)


class OneMask:
    """A grammar that allows two tokens of another call, and the end, but no text."""

    is_accepting = True

    def mask(self) -> NDArray[np.bool_]:
        return np.array([True, True, False, False])

    def allows(self, token: int) -> bool:
        return token in (AGAIN, ALSO_AGAIN)


def choose(
    *probabilities: float, bias: float = 0.0, variants: tuple[int, ...] = (), seed: int | None = None
) -> int | None:
    options = SamplingOptions() if seed is None else SamplingOptions(temperature=1.0, seed=seed)
    sampler = Sampler(options, 4, [])
    logits = np.log(np.array(probabilities, dtype=np.float32))
    choice = Choice(logits, cast("Constraint", OneMask()), frozenset({END}))
    return sampler.sample_or_end(choice, bias, lambda token: token in variants)


@pytest.mark.parametrize(
    ("probabilities", "token"),
    [
        ((0.3, 0.25, 0.44, 0.01), AGAIN),  # together, the ways to go on are likelier than the end
        ((0.2, 0.25, 0.44, 0.11), None),
        ((0.3, 0.1, 0.01, 0.59), None),  # the model would write text
        ((0.01, 0.98, 0.005, 0.005), ALSO_AGAIN),
    ],
)
def test_the_likelier_side_is_chosen(probabilities: tuple[float, ...], token: int | None) -> None:
    assert choose(*probabilities) == token


def test_a_bias_moves_the_threshold() -> None:
    even = (0.25, 0.25, 0.4, 0.1)
    assert choose(*even, bias=0.1) == AGAIN
    assert choose(*even, bias=-0.1) is None


def test_another_spelling_of_a_call_counts_for_it() -> None:
    assert choose(0.2, 0.1, 0.1, 0.6) is None
    assert choose(0.2, 0.1, 0.1, 0.6, variants=(TEXT,)) == AGAIN


def test_sampling_draws_from_the_whole_distribution() -> None:
    drawn = [choose(0.2, 0.1, 0.3, 0.4, seed=seed) for seed in range(1000)]
    counts = {token: drawn.count(token) for token in (AGAIN, ALSO_AGAIN, None)}
    assert set(drawn) == set(counts)
    assert counts[None] == pytest.approx(700, abs=60)
    assert counts[AGAIN] == pytest.approx(200, abs=50)
    variants = [choose(0.2, 0.1, 0.3, 0.4, seed=seed, variants=(TEXT,)) for seed in range(1000)]
    assert variants.count(None) == pytest.approx(300, abs=60)
    assert [choose(0.2, 0.1, 0.3, 0.4, bias=-20.0, seed=seed) for seed in range(20)] == [None] * 20

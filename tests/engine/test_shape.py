"""Which rows are computed next: worked examples, and what holds for any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefc.engine.batch import Due, Shape, shape
from edgefc.engine.costs import PLAIN, REPACKED, Costs

ATTENTION = 1e-4  # of one row's cost, for each token before it: about that of a 1.5B


def table(costs: dict[int, float], most: int = 512) -> list[float]:
    return [Costs(costs).of(max(rows, 1)) for rows in range(most + 1)]


@pytest.mark.parametrize(
    ("slot", "lengths", "best"),
    [
        (0, [10, 0, 0, 0], Shape(1, range(4))),
        (3, [0, 0, 0, 2600], Shape(1, range(4))),
        (1, [2600, 2600, 0, 0], Shape(1, range(1, 3))),
        (0, [2600], Shape(1, range(1))),
        (0, [10], Shape(4, range(1))),
    ],
)
def test_rows_of_padding_are_taken_where_they_cost_least(slot: int, lengths: list[int], best: Shape) -> None:
    assert shape([Due(slot, 1, [])], lengths, table(REPACKED), ATTENTION) == best


def test_drafts_are_computed_where_they_are_likely_or_free() -> None:
    for lengths, hope, rows in (([10], 0.3, 4), ([2600], 0.1, 2), ([2600, 0, 0, 0], 0.1, 1), ([2600], 0.9, 4)):
        assert shape([Due(0, 1, [hope] * 3)], lengths, table(REPACKED), ATTENTION).height == rows
    # One row is padded to two, and more of them would cost.
    assert shape([Due(0, 1, [0.05] * 3)], [10], table(PLAIN), ATTENTION).height == 2


def test_what_is_forced_is_computed_at_once() -> None:
    assert shape([Due(0, 12, [])], [300], table(REPACKED), ATTENTION) == Shape(12, range(1))


def test_requests_far_from_one_another_span_what_lies_between() -> None:
    found = shape([Due(0, 1, []), Due(3, 1, [])], [100, 50, 0, 100], table(REPACKED), ATTENTION)
    assert found == Shape(1, range(4))


@given(st.data())
def test_a_shape_has_all_requests_and_fits_the_batch(data: st.DataObject) -> None:
    slots = data.draw(st.integers(1, 16))
    lengths = data.draw(st.lists(st.integers(0, 5000), min_size=slots, max_size=slots))
    chosen = data.draw(st.sets(st.integers(0, slots - 1), min_size=1))
    requests = [
        Due(slot, data.draw(st.integers(1, 16)), data.draw(st.lists(st.floats(0, 1), max_size=15))) for slot in chosen
    ]
    most = data.draw(st.integers(32, 128))
    costs = table(data.draw(st.sampled_from([REPACKED, PLAIN])), most)
    height, span = shape(requests, lengths, costs, data.draw(st.floats(0, 1e-3)))
    assert chosen <= set(span) <= set(range(slots))
    assert 1 <= height * len(span) <= most
    assert height <= max(4, *(request.rows + len(request.hopes) for request in requests))

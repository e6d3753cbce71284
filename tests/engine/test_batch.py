"""Shapes of decoding batches: worked examples, and properties of any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefc.engine.batch import BatchShape, RowDemand, choose_shape, padded_rows
from edgefc.engine.costs import PLAIN, REPACKED, Costs

ATTENTION = 1e-4  # of one row's cost, for each token before it: about that of a 1.5B


def table(costs: dict[int, float], most: int = 512) -> list[float]:
    return [Costs(costs).of(max(rows, 1)) for rows in range(most + 1)]


@pytest.mark.parametrize(
    ("slot", "lengths", "best"),
    [
        (0, [10, 0, 0, 0], BatchShape(1, range(4))),
        (3, [0, 0, 0, 2600], BatchShape(1, range(4))),
        (1, [2600, 2600, 0, 0], BatchShape(1, range(1, 3))),
        (0, [2600], BatchShape(1, range(1))),
        (0, [10], BatchShape(4, range(1))),
    ],
)
def test_rows_of_padding_are_taken_where_they_cost_least(slot: int, lengths: list[int], best: BatchShape) -> None:
    assert choose_shape([RowDemand(slot, 1, [])], lengths, table(REPACKED), ATTENTION, 2) == best


def test_drafts_are_computed_where_they_are_likely_or_free() -> None:
    for lengths, chance, rows in (([10], 0.3, 4), ([2600], 0.1, 2), ([2600, 0, 0, 0], 0.1, 1), ([2600], 0.9, 4)):
        assert choose_shape([RowDemand(0, 1, [chance] * 3)], lengths, table(REPACKED), ATTENTION, 2).height == rows
    # Where one row is padded to two, the second may as well be a draft.
    for min_rows, height in ((2, 2), (1, 1)):
        shape = choose_shape([RowDemand(0, 1, [0.05] * 3)], [10], table(PLAIN), ATTENTION, min_rows)
        assert shape == BatchShape(height, range(1))


def test_one_row_is_computed_alone_where_a_second_costs() -> None:
    for lengths in ([10, 0, 0, 0], [2600, 0, 0, 0], [2600]):
        assert choose_shape([RowDemand(0, 1, [])], lengths, table(PLAIN), ATTENTION) == BatchShape(1, range(1))


def test_forced_tokens_are_computed_at_once() -> None:
    assert choose_shape([RowDemand(0, 12, [])], [300], table(REPACKED), ATTENTION) == BatchShape(12, range(1))


def test_requests_far_from_one_another_span_the_slots_between() -> None:
    shape = choose_shape([RowDemand(0, 1, []), RowDemand(3, 1, [])], [100, 50, 0, 100], table(REPACKED), ATTENTION)
    assert shape == BatchShape(1, range(4))


@given(st.data())
def test_a_shape_has_all_requests_and_fits_the_batch(data: st.DataObject) -> None:
    slots = data.draw(st.integers(1, 16))
    lengths = data.draw(st.lists(st.integers(0, 5000), min_size=slots, max_size=slots))
    slots_used = data.draw(st.sets(st.integers(0, slots - 1), min_size=1))
    demands = [
        RowDemand(slot, data.draw(st.integers(1, 16)), data.draw(st.lists(st.floats(0, 1), max_size=15)))
        for slot in slots_used
    ]
    most = data.draw(st.integers(32, 128))
    costs = table(data.draw(st.sampled_from([REPACKED, PLAIN])), most)
    height, span = choose_shape(demands, lengths, costs, data.draw(st.floats(0, 1e-3)), data.draw(st.integers(1, 2)))
    assert slots_used <= set(span) <= set(range(slots))
    assert 1 <= height * len(span) <= most
    assert height <= max(4, *(demand.due + len(demand.draft_chances) for demand in demands))


def test_prefill_rows_are_padded_where_that_is_faster() -> None:
    costs = table(REPACKED)
    assert [padded_rows(rows, 63, costs) for rows in (1, 4, 5, 6, 7, 8, 62)] == [1, 4, 5, 8, 8, 8, 62]
    assert padded_rows(62, 64, costs) == 64
    assert padded_rows(6, 63, table(PLAIN)) == 6

"""Which tokens go through tiles follows from the prompt alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgefc.engine.prefill import Run, piece, runs
from edgefc.gguf.memory import TILE


def test_a_long_prompt_goes_through_tiles_but_for_its_last_token() -> None:
    assert runs(700) == [Run(699, tiled=True), Run(700, tiled=False)]
    assert runs(40) == [Run(40, tiled=False)]
    assert runs(1) == [Run(1, tiled=False)]


def test_a_run_ends_with_the_prefix() -> None:
    assert runs(500, prefix=413) == [Run(413, tiled=True), Run(499, tiled=True), Run(500, tiled=False)]
    assert runs(440, prefix=413) == [Run(413, tiled=True), Run(440, tiled=False)]
    assert runs(60, prefix=30) == [Run(30, tiled=False), Run(60, tiled=False)]


def test_earlier_answers_go_row_by_row_as_they_were_generated() -> None:
    assert runs(800, prefix=200, answers=[(299, 400)]) == [
        Run(200, tiled=True), Run(299, tiled=True), Run(400, tiled=False), Run(799, tiled=True), Run(800, tiled=False),
    ]  # fmt: skip
    assert runs(300, prefix=200, answers=[(209, 240), (249, 260)]) == [Run(200, tiled=True), Run(300, tiled=False)]


@given(st.integers(1, 3000), st.integers(0, 3000), st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000))))
def test_runs_cover_the_prompt_and_tiles_are_long_enough(
    length: int, prefix: int, answers: list[tuple[int, int]]
) -> None:
    found = runs(length, min(prefix, length - 1), answers)
    begin = 0
    for run in found:
        assert run.end > begin
        assert not run.tiled or run.end - begin >= TILE
        begin = run.end
    assert begin == length


@given(st.integers(1, 5000), st.sampled_from([TILE, 128, 512, 513]))
def test_pieces_of_a_tiled_run_are_long_enough_for_tiles(length: int, most: int) -> None:
    rest = length
    while rest:
        count = piece(rest, tiled=True, most=most, n_batch=max(most, 512))
        assert 0 < count <= max(most, 512)
        assert count >= min(TILE, length)
        rest -= count

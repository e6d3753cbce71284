"""The segments of a prompt, and so its kernels, follow from the prompt alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgefc.engine.prefill import Segment, chunk_size, kv_key, split_prompt, token_of_key
from edgefc.gguf.memory import TILE


def test_a_long_prompt_goes_through_tiles_but_for_its_last_token() -> None:
    assert split_prompt(700) == [Segment(699, tiled=True), Segment(700, tiled=False)]
    assert split_prompt(40) == [Segment(40, tiled=False)]
    assert split_prompt(1) == [Segment(1, tiled=False)]


def test_a_segment_ends_with_the_prefix() -> None:
    assert split_prompt(500, prefix=413) == [
        Segment(413, tiled=True),
        Segment(499, tiled=True),
        Segment(500, tiled=False),
    ]
    assert split_prompt(440, prefix=413) == [Segment(413, tiled=True), Segment(440, tiled=False)]
    assert split_prompt(60, prefix=30) == [Segment(30, tiled=False), Segment(60, tiled=False)]


def test_earlier_answers_go_row_by_row_as_they_were_generated() -> None:
    assert split_prompt(800, prefix=200, answer_spans=[(299, 400)]) == [
        Segment(200, tiled=True), Segment(299, tiled=True), Segment(400, tiled=False), Segment(799, tiled=True), Segment(800, tiled=False),
    ]  # fmt: skip
    assert split_prompt(300, prefix=200, answer_spans=[(209, 240), (249, 260)]) == [
        Segment(200, tiled=True),
        Segment(300, tiled=False),
    ]


@given(st.integers(1, 3000), st.integers(0, 3000), st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000))))
def test_segments_cover_the_prompt_and_tiles_are_long_enough(
    length: int, prefix: int, answer_spans: list[tuple[int, int]]
) -> None:
    segments = split_prompt(length, min(prefix, length - 1), answer_spans)
    begin = 0
    for segment in segments:
        assert segment.end > begin
        assert not segment.tiled or segment.end - begin >= TILE
        begin = segment.end
    assert begin == length


@given(st.integers(1, 5000), st.sampled_from([TILE, 128, 512, 513]))
def test_chunks_of_a_tiled_segment_are_long_enough_for_tiles(length: int, limit: int) -> None:
    rest = length
    while rest:
        count = chunk_size(rest, tiled=True, limit=limit, n_batch=max(limit, 512))
        assert 0 < count <= max(limit, 512)
        assert count >= min(TILE, length)
        rest -= count


def test_keys_in_saved_prefixes_stay_the_same() -> None:
    assert [kv_key(7, tiled=False), kv_key(7, tiled=True)] == [14, 15]
    assert [token_of_key(14), token_of_key(15)] == [7, 7]

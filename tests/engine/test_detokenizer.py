"""Streamed text: valid UTF-8 at every piece, stop strings never in it, however the bytes are cut."""

from __future__ import annotations

import random

import pytest

from edgefc.engine.detokenizer import Detokenizer

TEXTS = ["plain", "naïve 日本語 🙂👩‍👩‍👧‍👦", "a\u0301\u2028\ufeff", "", "🇫🇷" * 5]


@pytest.mark.parametrize("text", TEXTS)
def test_any_cut_of_the_bytes_gives_the_text(text: str) -> None:
    data = text.encode()
    for cut in range(len(data) + 1):
        output = Detokenizer()
        pieces = [output.feed(data[:cut]), output.feed(data[cut:]), output.flush()]
        assert "".join(pieces) == text
        for piece in pieces:
            piece.encode()


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    output = Detokenizer()
    assert output.feed(b"a\xff\x80b") + output.feed(b"\xe2\x82") + output.flush() == "a\ufffd\ufffdb\ufffd"


def test_a_stop_string_across_pieces_is_never_shown() -> None:
    rng = random.Random(3)
    for _ in range(500):
        stops = ["".join(rng.choices("ab<é🙂", k=rng.randint(1, 4))) for _ in range(rng.randint(1, 3))]
        text = "".join(rng.choices("ab<é🙂", k=30))
        positions = [position for stop in stops if (position := text.find(stop)) >= 0]
        output, streamed, data = Detokenizer(stops), "", text.encode()
        while data:
            size = rng.randint(1, 4)
            streamed += output.feed(data[:size])
            data = data[size:]
            for stop in stops:
                assert stop not in streamed
        streamed += output.flush()
        assert (output.stop_string is not None) == bool(positions)
        assert output.stop_string is None or text.startswith(streamed + output.stop_string)
        if not positions:
            assert streamed == text
        else:
            assert text.startswith(streamed)
            assert len(streamed) <= max(positions)

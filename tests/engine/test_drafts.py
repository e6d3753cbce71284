"""Guesses by looking up."""

from __future__ import annotations

import pytest

from edgefc.engine.prompt_lookup import Confidence, Lookup

WORDS = ["<q>", " send", " it", " to", " Ann", "a", " Lee", ",", " now", "Ann", '{"', "to", '":"', " and", " again"]


def ids(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split("|")]


def lookup(text: str) -> Lookup:
    return Lookup(lambda token: WORDS[token].encode(), ids(text))


def test_what_followed_before_follows_again() -> None:
    found = lookup('<q>| send| it| to| Ann|a| Lee|,| now|{"|to|":"')
    found.extend(ids("Ann"))  # without the space that it has in the request
    assert found.propose(3) == ids("a| Lee|,")
    assert found.propose(1) == ids("a")


def test_longer_matches_come_before_later_ones() -> None:
    found = lookup("<q>| to| Ann|a| Lee| and| it| Ann| again|,| to|Ann")
    assert found.propose(2) == ids("a| Lee"), "to Ann: the pair, not the last Ann"
    assert lookup("Ann|a| now| Ann| again| it| Ann").propose(1) == ids(" again"), "the last Ann"


def test_what_is_certain_counts_as_said() -> None:
    found = lookup('{"|to|":"|Ann|a|,|{"')
    assert found.propose(2, after=ids('to|":"')) == ids("Ann|a")


def test_what_repeats_itself_goes_on_so() -> None:
    assert lookup("<q>| to| Ann|a|Ann|a").propose(5) == ids("Ann|a|Ann|a|Ann")


def test_nothing_is_known_of_what_never_came() -> None:
    assert lookup("<q>| send| it").propose(3) == []
    assert lookup("<q>").propose(3, after=ids("Ann")) == []


def test_confidence_follows_what_came_true() -> None:
    good, bad = Confidence(), Confidence()
    for _ in range(20):
        good.learn(drafted=3, accepted=3)
        bad.learn(drafted=3, accepted=0)
    assert good.value > 0.99
    assert bad.value < 0.01
    assert (good.reach, Confidence().reach, bad.reach) == (15, 3, 3)
    cut = Confidence(0.5)
    cut.learn(drafted=8, accepted=1)
    assert cut.value == pytest.approx(0.48), "one right, one wrong, of the other six nothing is known"

"""Drafts by prompt lookup."""

from __future__ import annotations

import pytest

from edgefc.engine.prompt_lookup import AcceptanceRate, PromptLookup

WORDS = ["<q>", " send", " it", " to", " Ann", "a", " Lee", ",", " now", "Ann", '{"', "to", '":"', " and", " again"]


def ids(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split("|")]


def lookup(text: str) -> PromptLookup:
    return PromptLookup(lambda token: WORDS[token].encode(), ids(text))


def test_what_followed_before_follows_again() -> None:
    index = lookup('<q>| send| it| to| Ann|a| Lee|,| now|{"|to|":"')
    index.extend(ids("Ann"))  # without the space that it has in the request
    assert index.propose(3) == ids("a| Lee|,")
    assert index.propose(1) == ids("a")


def test_longer_matches_come_before_later_ones() -> None:
    index = lookup("<q>| to| Ann|a| Lee| and| it| Ann| again|,| to|Ann")
    assert index.propose(2) == ids("a| Lee"), "to Ann: the pair, not the last Ann"
    assert lookup("Ann|a| now| Ann| again| it| Ann").propose(1) == ids(" again"), "the last Ann"


def test_tokens_after_the_text_are_looked_up_with_it() -> None:
    index = lookup('{"|to|":"|Ann|a|,|{"')
    assert index.propose(2, after=ids('to|":"')) == ids("Ann|a")


def test_a_repetition_is_continued() -> None:
    assert lookup("<q>| to| Ann|a|Ann|a").propose(5) == ids("Ann|a|Ann|a|Ann")


def test_nothing_is_proposed_for_text_that_never_came() -> None:
    assert lookup("<q>| send| it").propose(3) == []
    assert lookup("<q>").propose(3, after=ids("Ann")) == []


def test_the_acceptance_rate_follows_past_drafts() -> None:
    good, bad = AcceptanceRate(), AcceptanceRate()
    for _ in range(20):
        good.update(drafted=3, accepted=3)
        bad.update(drafted=3, accepted=0)
    assert good.value > 0.99
    assert bad.value < 0.01
    assert (good.draft_length, AcceptanceRate().draft_length, bad.draft_length) == (15, 3, 3)
    partial = AcceptanceRate(0.5)
    partial.update(drafted=8, accepted=1)
    assert partial.value == pytest.approx(0.48), "one right, one wrong; the other six say nothing"

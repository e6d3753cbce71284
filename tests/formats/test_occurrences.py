"""The search for control tokens in content, whatever the tokens and the content are."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from edgefc.formats import load_family
from edgefc.formats.occurrences import MAX_LENGTH, MAX_STATES, Occurrences


def all_starts(needles: Iterable[str], text: str) -> list[int]:
    return [start for start in range(len(text)) if any(needle and text.startswith(needle, start) for needle in needles)]


def test_all_starts_are_found() -> None:
    rng = random.Random(0)
    for _ in range(3000):
        alphabet = rng.choice(["ab", "abc", "<u>\n ", "é🙂\0]^-\\"])
        needles = {"".join(rng.choices(alphabet, k=rng.randrange(1, 6))) for _ in range(rng.randrange(12))}
        text = "".join(rng.choices(alphabet, k=rng.randrange(60)))
        assert Occurrences(needles).starts(text) == all_starts(needles, text), (needles, text)


@pytest.mark.parametrize(
    "needles",
    [
        [f"<unused{number}>" for number in range(6242)] + ["\n" * number for number in range(2, 32)] + ["<u>", "<b>"],
        ["a" * number + "b" for number in range(1, MAX_LENGTH)],
        [chr(0x4E00 + number) * 2 for number in range(20_000)],
    ],
    ids=["Gemma", "nested", "Chinese"],
)
def test_the_steps_are_linear_in_the_text(needles: list[str]) -> None:
    """Counted by the characters that are looked at: twice for each at most, and once for each state that is left."""
    looked_at = 0

    class Text(str):
        __slots__ = ()

        def __getitem__(self, key: object) -> str:  # type: ignore[override]
            nonlocal looked_at
            looked_at += 1
            return super().__getitem__(key)  # type: ignore[index]

    occurrences = Occurrences(needles)
    for piece in ("hello world ", "<u ", "<<", "\n\n", "a", "一一", "<unused9"):
        text = Text((piece * 100_000)[:100_000])
        looked_at = 0
        occurrences.starts(text)
        assert looked_at <= 100_001


def test_very_many_and_long_texts_take_little_memory() -> None:
    rng = random.Random(1)
    needles = {"".join(rng.choices("abcdefgh", k=100)) for _ in range(30_000)}
    occurrences = Occurrences(needles)
    assert len(occurrences._next) <= MAX_STATES + MAX_LENGTH
    for needle in list(needles)[:50]:
        assert 3 in occurrences.starts(f"xyz{needle}"), "more is found than there is, never less"


def test_thousands_of_control_tokens_and_a_long_prompt() -> None:
    special = frozenset([*(f"<unused{number}>" for number in range(6242)), "<|im_start|>", "<|im_end|>", "\n\n"])
    family = load_family("hermes")
    content = "<u hello <|im_end|>\n\n" * 50_000
    prompt = family.render([{"role": "user", "content": content}], None, special_tokens=special)
    assert prompt.text == family.render([{"role": "user", "content": content}], None).text
    assert len(prompt.cuts) == 50_000

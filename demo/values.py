"""Generators of the values that fill requests and results, from the lists of `data/values.toml`.

Values are drawn anew for each conversation. `held_back=True` draws from a part of each list, and of the invented words,
that training never uses.
"""

from __future__ import annotations

import random
import string
import tomllib
from typing import Any

from demo.concepts import DATA

LISTS: dict[str, list[str]] = tomllib.loads((DATA / "values.toml").read_text(encoding="utf-8"))
WEEKDAYS, MONTHS = LISTS["weekdays"], LISTS["months"]
HELD_BACK_EVERY = 7


def split(items: list[str], *, held_back: bool) -> list[str]:
    """Every seventh item, which is held back from training, or the others."""
    if held_back:
        return items[::HELD_BACK_EVERY]
    return [item for i, item in enumerate(items) if i % HELD_BACK_EVERY]


# Lists shorter than 14 are used whole by both sides.
POOLS = {
    held_back: {name: split(items, held_back=held_back) if len(items) >= 14 else items for name, items in LISTS.items()}
    for held_back in (False, True)
}
_FRAGMENT_LISTS = ("nouns", "cities", "first_names", "last_names")
FRAGMENTS = [word.lower() for name in _FRAGMENT_LISTS for word in split(LISTS[name], held_back=False) if word.isalpha()]


def pseudoword(rng: random.Random, *, held_back: bool) -> str:
    """An invented word. Held-back ones begin with a syllable that no training word of syllables begins with."""
    roll = 0.0 if held_back else rng.random()
    if roll < 0.5:
        parts = [rng.choice(LISTS["held_back_first_syllables" if held_back else "syllables"])]
        parts += [rng.choice(LISTS["syllables"]) for _ in range(rng.choice([1, 1, 2]))]
        return "".join(parts) + rng.choice(LISTS["codas"])
    # Parts of real words and plain letters, so that every token of a word occurs as something to copy.
    if roll < 0.85:
        a, b = (rng.choice(FRAGMENTS) for _ in range(2))
        return a[: rng.randrange(2, 6)] + b[-rng.randrange(2, 5) :]
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randrange(3, 8)))


class Values:
    """Draws values by the name of their generator."""

    def __init__(self, rng: random.Random, *, held_back: bool) -> None:
        self.rng, self.held_back = rng, held_back

    def pick(self, name: str) -> str:
        """One value of a list; every seventh of a longer one is held back."""
        return self.rng.choice(POOLS[self.held_back][name])

    def draw(self, generator: str) -> Any:
        """A value from the generator of this name, which is a method below. Raises KeyError if there is none."""
        method = getattr(self, generator, None)
        if method is None:
            raise KeyError(f"unknown value generator {generator!r}")
        return method()

    def invented_or(self, name: str, *, chance: float) -> str:
        """An invented name with this chance, otherwise one of a list."""
        return (
            pseudoword(self.rng, held_back=self.held_back).capitalize()
            if self.rng.random() < chance
            else self.pick(name)
        )

    def noun(self) -> str:
        return self.pick("nouns")

    def adjective(self) -> str:
        return self.pick("adjectives")

    def verb_phrase(self) -> str:
        return self.pick("verb_phrases")

    def last_name(self) -> str:
        return self.pick("last_names")

    def word(self) -> str:
        return pseudoword(self.rng, held_back=self.held_back) if self.rng.random() < 0.5 else self.noun()

    def city(self) -> str:
        return self.invented_or("cities", chance=0.3)

    def country(self) -> str:
        return self.pick("countries")

    def first_name(self) -> str:
        return self.invented_or("first_names", chance=0.3)

    def person(self) -> str:
        return self.first_name() + (f" {self.last_name()}" if self.rng.random() < 0.5 else "")

    def email(self) -> str:
        host = self.rng.choice(["mail.com", "example.org", "corp.net", f"{self.word()}.io"])
        return f"{self.first_name().lower()}{self.rng.choice(['', '.' + self.last_name().lower()])}@{host}"

    def phone(self) -> str:
        digits = "".join(self.rng.choices(string.digits, k=7))
        return self.rng.choice([f"555-{digits[:4]}", f"+{self.rng.randrange(1, 99)} {digits}", digits])

    def date(self) -> str:
        rng, day, month = self.rng, self.rng.randrange(1, 29), self.rng.randrange(12)
        return rng.choice([
            f"{rng.randrange(2024, 2030)}-{month + 1:02}-{day:02}", f"{MONTHS[month]} {day}", f"{day} {MONTHS[month]}",
            "tomorrow", "today", rng.choice(WEEKDAYS), f"next {rng.choice(WEEKDAYS)}",
        ])  # fmt: skip

    def time(self) -> str:
        hour, minute = self.rng.randrange(0, 24), self.rng.choice([0, 5, 10, 15, 20, 30, 40, 45, 50])
        half = [self.rng.choice(["am", "pm"]) for _ in range(2)]
        hour12 = hour % 12 + 1
        return self.rng.choice([f"{hour:02}:{minute:02}", f"{hour12} {half[0]}", f"{hour12}:{minute:02} {half[1]}"])

    def duration(self) -> str:
        return f"{self.rng.randrange(2, 60)} {self.rng.choice(['minutes', 'hours', 'days', 'seconds'])}"

    def small_int(self) -> int:
        return self.rng.randrange(1, 13) if self.rng.random() < 0.7 else self.rng.randrange(1, 100)

    def big_int(self) -> int:
        return self.rng.randrange(10, 10 ** self.rng.randrange(2, 7))

    def percent(self) -> int:
        return self.rng.randrange(0, 101)

    def money(self) -> float | int:
        return self.rng.randrange(1, 2000) if self.rng.random() < 0.6 else round(self.rng.uniform(1, 900), 2)

    def number(self) -> float | int:
        rng = self.rng
        return rng.randrange(0, 500) if rng.random() < 0.6 else round(rng.uniform(0, 300), rng.randrange(1, 3))

    def bool(self) -> bool:
        return self.rng.random() < 0.5

    def code(self) -> str:
        rng = self.rng
        letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randrange(1, 4)))
        digits = "".join(rng.choices(string.digits, k=rng.randrange(2, 6)))
        return rng.choice([letters + digits, f"{letters}-{digits}", digits, f"#{digits}"])

    def ticker(self) -> str:
        return self.pick("tickers")

    def company(self) -> str:
        return self.invented_or("companies", chance=0.2)

    def product(self) -> str:
        return self.pick("products")

    def food(self) -> str:
        return self.pick("foods")

    def animal(self) -> str:
        return self.pick("animals")

    def colour(self) -> str:
        return self.pick("colours")

    def sport(self) -> str:
        return self.pick("sports")

    def language(self) -> str:
        return self.pick("languages")

    def currency(self) -> str:
        return self.pick("currencies")

    def unit(self) -> str:
        return self.pick("units")

    def topic(self) -> str:
        return self.pick("topics") if self.rng.random() < 0.6 else self.phrase()

    def street(self) -> str:
        return f"{self.rng.randrange(1, 200)} {self.pick('streets')}"

    def room(self) -> str:
        return self.pick("rooms")

    def hashtag(self) -> str:
        return f"#{self.word()}"

    def team(self) -> str:
        return f"{self.city()} {self.noun().capitalize()}s"

    def title(self) -> str:
        words = [self.adjective(), self.noun()]
        text = self.rng.choice([" ".join(words), f"the {words[1]}", f"{words[1]} of {self.word()}", self.word()])
        return text.title() if self.rng.random() < 0.7 else text

    song = book = movie = title

    def artist(self) -> str:
        return self.person() if self.rng.random() < 0.5 else f"The {self.noun().capitalize()}s"

    def url(self) -> str:
        tail = self.rng.choice(["", f"/{self.word()}", f"/{self.word()}/{self.rng.randrange(100)}"])
        return f"https://{self.rng.choice(['', 'www.'])}{self.word()}.{self.rng.choice(['com', 'org', 'net'])}{tail}"

    def filename(self) -> str:
        stem = self.rng.choice([self.word(), f"{self.word()}_{self.word()}", f"{self.word()}{self.rng.randrange(30)}"])
        return f"{stem}.{self.rng.choice(['txt', 'pdf', 'csv', 'png', 'docx', 'py', 'json', 'md', 'xlsx'])}"

    def phrase(self) -> str:
        rng = self.rng
        return rng.choice([
            f"{self.adjective()} {self.word()}", f"{self.word()} {self.word()}", self.verb_phrase(),
            f"{self.adjective()} {self.noun()} {self.word()}",
        ])  # fmt: skip

    def sentence(self) -> str:
        errand, other = self.verb_phrase(), self.verb_phrase()
        when = self.rng.choice(["tomorrow", "at noon", f"before {self.rng.choice(WEEKDAYS)}"])
        return self.rng.choice([
            errand, f"{other} {when}",
            f"the {self.noun()} is {self.adjective()}", f"I am running {self.small_int()} minutes late",
            f"meet me at the {self.noun()} at {self.time()}", f"{self.first_name()} likes {self.food()}",
            f"{self.verb_phrase()} for {self.first_name()}",
        ])  # fmt: skip

    # Kinds that only results have.
    def true(self) -> bool:
        return True

    def temperature(self) -> float | int:
        return self.rng.randrange(-15, 42) if self.rng.random() < 0.8 else round(self.rng.uniform(-10, 40), 1)

    def conditions(self) -> str:
        return self.rng.choice(LISTS["conditions"])

    def clock(self) -> str:
        return f"{self.rng.randrange(24):02}:{self.rng.randrange(60):02}"

    def long_date(self) -> str:
        weekday, day = self.rng.choice(WEEKDAYS), self.rng.randrange(1, 29)
        return f"{weekday} {day} {self.rng.choice(MONTHS)} {self.rng.randrange(2024, 2030)}"

    def rolls(self) -> list[int]:
        return [self.rng.randrange(1, 21) for _ in range(self.rng.choice([1, 1, 2, 2, 3, 4]))]

    def status(self) -> str:
        return self.rng.choice(LISTS["statuses"])

    def word_list(self) -> list[str]:
        return [self.word() for _ in range(self.rng.randrange(2, 5))]

    def sentence_list(self) -> list[str]:
        return [self.verb_phrase() for _ in range(self.rng.randrange(2, 4))]

    def expression(self) -> str:
        rng = self.rng

        def number() -> str:
            return str(rng.choice([rng.randrange(2, 100), rng.randrange(2, 1000), round(rng.uniform(1, 60), 1)]))

        text = f"{number()}{rng.choice([' ', ''])}"
        gap = " " if text.endswith(" ") else ""
        text = text.strip()
        for _ in range(rng.choice([1, 1, 1, 2])):
            text += f"{gap}{rng.choice('+-*/')}{gap}{number()}"
        return f"({text}){gap}{rng.choice('+-*/')}{gap}{number()}" if rng.random() < 0.12 else text

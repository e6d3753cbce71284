"""The user's models.toml: not hostile, but anything may be typed into it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from random import Random

from edgefc.errors import EdgefcError
from tests.fuzz.mutation import Mutator, as_bytes
from tests.fuzz.targets import BaseTarget, Case

SOUND = """\
["mine-1.5b"]
title = "Mine"
family = "hermes"
size = "1.5B"
parameters = 1.54
context = 32768
licence = "Apache-2.0"
non_commercial = true
repo = "acme/mine"
files = { Q8_0 = "sub/mine-q8_0.gguf" }
tokenizer_repo = "acme/mine"
sampling = { temperature = 0.7, top_k = 40 }
bfcl = { score = 71.5, date = "2025-12", source = "https://example.org" }
about = "Text"
unverified = ["context"]
"""
VALUES = ("0", "-1", "1e6", "1e400", "nan", "inf", "-inf", "99", "2147483648", "1e-6", "0.0", "true", '""', "[]", "{}", "[[1]]",
          '"\\u0000"', '"\\U0001F642"', "1979-05-27T07:32:00Z", "'''x'''", "9" * 5000, '"../x"', '"a/b.gguf"', '"1000000B"',
          '"0B"', '"0.1M"', '"99999999999999999999999B"', "[" * 500 + "]" * 500)  # fmt: skip


class ModelsToml(BaseTarget):
    """Cases are {"text": …}."""

    def make(self, rng: Random, seeds: Sequence[Case]) -> Case:
        mutator = Mutator(rng)
        text = rng.choice(seeds)["text"] if seeds and mutator.chance(0.2) else SOUND
        for _ in range(rng.choice((1, 1, 2, 4))):
            text = self._change(mutator, text)
        return {"text": text}

    def start(self, folder: Path) -> None:
        from edgefc.hardware import Machine
        from edgefc.models import recommend, registry
        from edgefc.models.source import parse_source

        self._path = folder / "config" / "models.toml"
        self._machine, self._registry, self._recommend = Machine(2, 8 << 30, "", 0), registry, recommend
        self._parse_source = functools.partial(parse_source, endpoint="https://hub.invalid")
        self._own = set(registry.cards())

    def run(self, case: Case) -> str:
        self._path.write_bytes(as_bytes(case["text"]))
        try:
            cards = self._registry.cards()
            self._recommend.suggest_models(self._machine)
            for name in cards.keys() - self._own:
                self._registry.licence_note(cards[name])
                for use in (self._registry.resolve, self._parse_source):
                    try:
                        use(name)
                    except EdgefcError:
                        continue
        finally:
            self._path.unlink()
        return "read"

    def _change(self, mutator: Mutator, text: str) -> str:
        rng = mutator.rng
        lines = text.split("\n")
        number = rng.randrange(len(lines))
        key, _, value = lines[number].partition(" = ")
        match rng.randrange(6):
            case 0 | 1 | 2:
                lines[number] = f"{key} = {rng.choice(VALUES)}"
            case 3:
                lines[number] = f"{rng.choice(('title', 'extra', 'a.b', mutator.text()))} = {value}"
            case 4:
                lines[number] = rng.choice(("", lines[number] * 2, f"{lines[number]}\n{lines[number]}", "[[x]]", "[x]"))
            case _:
                return mutator.change_text(text)
        return "\n".join(lines)


TARGET = ModelsToml

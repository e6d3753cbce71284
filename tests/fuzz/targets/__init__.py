"""The targets of the fuzzer, one module each."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Protocol

NAMES = (
    "gguf", "adapter", "bundle", "manifest", "prefix", "cache_files", "models_toml", "template", "tokenizer", "tools", "openapi", "requests",
)  # fmt: skip
Case = Any  # a JSON value


class BrokenPromiseError(Exception):
    """A fault that is no exception: something was written outside, a wrong answer, a reply that is not typed."""


class Target(Protocol):
    """One kind of input. `make` runs in the parent, all else in the child.

    allowed         exceptions that are answers to a bad input
    seconds         limit of a case: processor time of all processes of the target, or None: the target watches itself
    level_growth    bytes that a long run may add to the level
    """

    allowed: tuple[type[BaseException], ...]
    seconds: float | None
    level_growth: int

    def __init__(self, model: Path) -> None: ...

    def make(self, rng: Random, seeds: Sequence[Case]) -> Case:
        """Make a case; `seeds` are those of the corpus."""

    def start(self, folder: Path) -> None:
        """Load what all cases share; files go below `folder`, in which the user's folders lie too."""

    def run(self, case: Case) -> str:
        """Run a case and say in a word what came of it. Raises BrokenPromiseError."""

    def processes(self) -> list[int]:
        """Return the ids of the processes whose memory is watched."""

    def close(self) -> None:
        """End what `start` began."""


class BaseTarget:
    """Defaults of a target."""

    allowed: tuple[type[BaseException], ...] = ()
    seconds: float | None = 5.0
    level_growth = 200 << 20

    def __init__(self, model: Path) -> None:
        self.model = model

    def processes(self) -> list[int]:
        return []

    def close(self) -> None:
        return


def create(name: str, model: Path) -> Target:
    """Create a target by its name."""
    module = importlib.import_module(f"tests.fuzz.targets.{name}")
    target: Target = module.TARGET(model)
    return target

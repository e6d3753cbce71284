"""Interface between a model and the engine that computes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from typing_extensions import Unpack

from edgefc.engine.adapters import UsualAdapters
from edgefc.engine.generation import Generation
from edgefc.engine.sequence import RequestOptions
from edgefc.engine.setup import Setup
from edgefc.engine.tokenizer import Tokenizer


class Backend(Protocol):
    """Engine of a model: edgefc's own, a stock `llama_cpp.Llama`, or a server that computes for it."""

    @property
    def setup(self) -> Setup:
        """Threads, batches and their costs."""

    @property
    def adapters(self) -> UsualAdapters: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def n_ctx(self) -> int: ...

    @property
    def cached_bytes(self) -> Mapping[str, int]:
        """Memory of each cache: `prompts` are KV caches in no slot, `grammars` started ones."""

    def submit(self, prompt: list[int], **options: Unpack[RequestOptions]) -> Generation: ...

    def save_prefixes(self) -> list[Path]: ...

    def close(self) -> None: ...

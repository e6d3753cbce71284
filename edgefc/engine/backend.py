"""The interface between a model and the engine that computes it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from typing_extensions import Unpack

from edgefc.engine.generation import Generation
from edgefc.engine.sequence import RequestOptions
from edgefc.engine.tokenizer import Tokenizer


class Backend(Protocol):
    """What a model computes with: edgefc's own engine, or a stock Llama."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def n_ctx(self) -> int: ...

    def submit(self, prompt: list[int], **options: Unpack[RequestOptions]) -> Generation: ...

    def save_prefixes(self) -> list[Path]: ...

    def close(self) -> None: ...

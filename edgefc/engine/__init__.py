"""Runs models: llama.cpp's low-level API, batching, constrained sampling. llama.cpp is imported when it is used."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgefc.engine.config import ALL_LAYERS, EngineOptions
    from edgefc.engine.engine import Engine
    from edgefc.engine.gbnf import gbnf_grammar
    from edgefc.engine.generation import Generation, GenerationResult, GenerationStats
    from edgefc.engine.llama import supports_gpu
    from edgefc.engine.sampler import SamplingOptions, TokenLogprob
    from edgefc.engine.sequence import RequestOptions
    from edgefc.engine.tokenizer import Tokenizer

_HOMES = {
    "ALL_LAYERS": "config",
    "Engine": "engine",
    "EngineOptions": "config",
    "Generation": "generation",
    "GenerationResult": "generation",
    "GenerationStats": "generation",
    "RequestOptions": "sequence",
    "SamplingOptions": "sampler",
    "TokenLogprob": "sampler",
    "Tokenizer": "tokenizer",
    "gbnf_grammar": "gbnf",
    "supports_gpu": "llama",
}

__all__ = [
    "ALL_LAYERS",
    "Engine",
    "EngineOptions",
    "Generation",
    "GenerationResult",
    "GenerationStats",
    "RequestOptions",
    "SamplingOptions",
    "TokenLogprob",
    "Tokenizer",
    "gbnf_grammar",
    "supports_gpu",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value

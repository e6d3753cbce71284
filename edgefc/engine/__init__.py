"""Runs models: llama.cpp's low-level API, batching, constrained sampling."""

from edgefc.engine.constraint import gbnf_grammar
from edgefc.engine.engine import Engine
from edgefc.engine.sampler import SamplingOptions, TokenLogprob
from edgefc.engine.sequence import Generation, GenerationResult, GenerationStats, RequestOptions
from edgefc.engine.setup import EngineOptions
from edgefc.engine.tokenizer import Tokenizer

__all__ = [
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
]

"""Runs models: llama.cpp's low-level API, batching, constrained sampling."""

from edgefc.engine.config import ALL_LAYERS, EngineOptions
from edgefc.engine.engine import Engine
from edgefc.engine.gbnf import gbnf_grammar
from edgefc.engine.generation import Generation, GenerationResult, GenerationStats
from edgefc.engine.llama import supports_gpu
from edgefc.engine.sampler import SamplingOptions, TokenLogprob
from edgefc.engine.sequence import RequestOptions
from edgefc.engine.tokenizer import Tokenizer

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

"""JSON Schema and tools → grammars, without any model: compiled in milliseconds, also for a remote engine.

One rule graph is written as GBNF, which people can read and llama.cpp runs, and as Lark, which llguidance executes
in this process. The compiler is imported when it is used: many commands compile nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgefc.grammar.calls import (
        CompiledGrammar,
        calls_gbnf,
        compile_call_beginnings,
        compile_calls,
        compile_choices,
        compile_output,
        compile_regex,
        compile_schema,
        schema_gbnf,
    )
    from edgefc.grammar.json_schema.findings import Finding

__all__ = [
    "CompiledGrammar",
    "Finding",
    "calls_gbnf",
    "compile_call_beginnings",
    "compile_calls",
    "compile_choices",
    "compile_output",
    "compile_regex",
    "compile_schema",
    "schema_gbnf",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "json_schema.findings" if name == "Finding" else "calls"
    globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    return value

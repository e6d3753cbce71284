"""JSON Schema and tools → GBNF. Knows nothing of models: usable in milliseconds, and against a remote engine.

The same rule graph is written as GBNF, which anyone can print and llama.cpp runs, and as Lark for llguidance,
which executes it here.
"""

from edgefc.grammar.calls import (
    CompiledGrammar,
    calls_gbnf,
    compile_calls,
    compile_output,
    compile_schema,
    schema_gbnf,
)
from edgefc.grammar.json_schema.findings import Finding

__all__ = [
    "CompiledGrammar",
    "Finding",
    "calls_gbnf",
    "compile_calls",
    "compile_output",
    "compile_schema",
    "schema_gbnf",
]

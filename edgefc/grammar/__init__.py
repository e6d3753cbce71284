"""JSON Schema and tools → grammars, without any model: compiled in milliseconds, also for a remote engine.

One rule graph is written as GBNF, which people can read and llama.cpp runs, and as Lark, which llguidance executes
in this process.
"""

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

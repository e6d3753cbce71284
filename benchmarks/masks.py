"""Measures the cost of a mask, token by token: llguidance with the Lark text, llama.cpp's own sampler with the GBNF.

    python benchmarks/masks.py VOCABULARY.gguf … [--calls CALLS.jsonl.gz] [--tools 1 30 256] [--json]

Vocabularies are GGUF files; weights, if there are any, are not loaded. Both executors follow the same right answers
token by token: llguidance computes a mask at every token, llama.cpp checks the whole vocabulary at some of them. CALLS
is a file of cases with `tools` and `correct` calls; without it, made-up tools are used.
"""

from __future__ import annotations

import argparse
import ctypes
import gzip
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from edgefc.engine import Tokenizer, llama
from edgefc.engine.constraint import Constraint, guidance_tokenizer
from edgefc.errors import ConstraintError, SchemaError
from edgefc.formats import load_family
from edgefc.grammar import CompiledGrammar, compile_output
from edgefc.types import ToolChoice

LLAMA_TOKENS = 40  # per row of the output; each takes llama.cpp milliseconds
ANSWERS = 24  # per row of the output
SYNTAX = load_family("hermes").syntax

Case = tuple[list[dict[str, Any]], list[dict[str, Any]]]  # tools, correct calls


def read_cases(path: Path | None) -> list[Case]:
    if path is not None and path.is_file():
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [(row["tools"], row["correct"]) for row in map(json.loads, lines)]
    return [generate_case(number) for number in range(400)]


def generate_case(number: int) -> Case:
    """Generate a tool with text, numbers, an enum, a list and an object, and a call of it."""
    rng = random.Random(number)
    words = "city date amount title colour user limit unit mode tag owner phase".split()
    names = rng.sample(words, 5)
    kinds: list[tuple[dict[str, Any], Any]] = [
        ({"type": "string"}, "a quick brown fox"),
        ({"type": "integer", "minimum": 0, "maximum": 500}, 42),
        ({"type": "string", "enum": ["small", "medium", "large"]}, "medium"),
        ({"type": "array", "items": {"type": "number"}}, [1.5, 2]),
        ({"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "boolean"}}}, {"x": "é", "y": True}),
    ]
    properties = {f"{name}_{number}": schema for name, (schema, _) in zip(names, kinds, strict=True)}
    values = {name: value for name, (_, value) in zip(properties, kinds, strict=True)}
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:2]}
    name = f"{words[number % 12]}_tool_{number}"
    tool = {"type": "function", "function": {"name": name, "description": "A tool", "parameters": parameters}}
    return [tool], [{"name": name, "arguments": values}]


def pools(cases: list[Case], count: int) -> list[tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]]:
    """Return sets of `count` tools, each with right answers that call them: ANSWERS answers in all."""
    if count == 1:
        single = [(tools, [correct]) for tools, correct in cases if len(tools) == 1]
        return random.Random(0).sample(single, min(ANSWERS, len(single)))
    tools: dict[str, dict[str, Any]] = {}
    answers: list[list[dict[str, Any]]] = []
    for offered, correct in cases:
        by_name = {tool["function"]["name"]: tool for tool in offered}
        names = {call["name"] for call in correct}
        new = names - tools.keys()
        if len(tools) + len(new) <= count and all(tools.get(name, by_name[name]) == by_name[name] for name in names):
            tools.update((name, by_name[name]) for name in sorted(new))
            answers.append(correct)
    return [(list(tools.values()), random.Random(0).sample(answers, min(ANSWERS, len(answers))))]


def answer_text(calls: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
    """Write the answer as the model would, with properties in the schema's order."""
    texts = []
    orders = {tool["function"]["name"]: list(tool["function"]["parameters"].get("properties", {})) for tool in tools}
    for call in calls:
        arguments = {name: call["arguments"][name] for name in orders[call["name"]] if name in call["arguments"]}
        text = json.dumps(arguments, ensure_ascii=False)
        texts.append(SYNTAX.call.replace("{name}", call["name"]).replace("{arguments}", text))
    return SYNTAX.calls_begin + SYNTAX.calls_separator.join(texts) + SYNTAX.calls_end


class LlamaSampler:
    """llama.cpp's grammar sampler, applied to the whole vocabulary."""

    def __init__(self, vocabulary: llama.Vocabulary, gbnf: str) -> None:
        self.sampler = llama_cpp.llama_sampler_init_grammar(vocabulary.pointer, gbnf.encode(), b"root")
        assert self.sampler, "llama.cpp refuses the grammar"
        self.data = (llama_cpp.llama_token_data * vocabulary.size)()
        self.view = np.frombuffer(self.data, dtype=[("id", "i4"), ("logit", "f4"), ("p", "f4")])
        self.array = llama_cpp.llama_token_data_array(self.data, vocabulary.size, -1, False)

    def apply(self) -> float:
        """Check every token; returns the time in microseconds."""
        self.view["id"] = np.arange(len(self.view))
        self.view["logit"], self.array.size, self.array.selected = 1.0, len(self.view), -1
        started = time.perf_counter()
        llama_cpp.llama_sampler_apply(self.sampler, ctypes.byref(self.array))
        return (time.perf_counter() - started) * 1e6

    def allows(self, token: int) -> bool:
        return bool(self.view["logit"][token] > 0)

    def accept(self, token: int) -> None:
        llama_cpp.llama_sampler_accept(self.sampler, token)

    def __del__(self) -> None:
        llama_cpp.llama_sampler_free(self.sampler)


def walk(
    tokenizer: Tokenizer, guidance: Any, grammar: CompiledGrammar, gbnf: str | None, text: str
) -> Iterator[tuple[float, float | None, str]]:
    """Yield llguidance's µs, llama.cpp's µs or None, and the text of each token.

    Raises ConstraintError where the grammar refuses the answer.
    """
    constraint = Constraint(guidance, grammar)
    sampler = LlamaSampler(tokenizer.vocabulary, gbnf) if gbnf is not None else None
    for token in tokenizer.encode(text):
        started = time.perf_counter()
        mask = constraint.mask()
        duration = (time.perf_counter() - started) * 1e6
        other = sampler.apply() if sampler else None
        yield duration, other, tokenizer.piece(token).decode("utf-8", "replace")
        if not mask[token]:
            raise ConstraintError("the answer is not in the grammar")
        if sampler:
            assert sampler.allows(token), "the executors disagree"
            sampler.accept(token)
        constraint.consume(token)


def measure(tokenizer: Tokenizer, guidance: Any, sets: list[Any], mode: str) -> dict[str, Any]:
    """Measure one row of the output."""
    masks: list[tuple[float, str]] = []
    theirs: list[float] = []
    compiled: list[float] = []
    refused = 0
    for tools, answers in sets:
        names = tuple(tool["function"]["name"] for tool in tools)
        started = time.perf_counter()
        grammar = compile_output(SYNTAX, tools, ToolChoice("auto" if mode == "auto" else "required", names))
        compiled.append((time.perf_counter() - started) * 1000)
        gbnf = grammar.gbnf
        for answer in answers:
            text = answer_text(answer, tools)
            try:
                for duration, other, piece in walk(
                    tokenizer, guidance, grammar, gbnf if len(theirs) < LLAMA_TOKENS else None, text
                ):
                    masks.append((duration, piece))
                    theirs += [] if other is None else [other]
            except ConstraintError:
                refused += 1
    p50, p90, p99 = np.percentile([duration for duration, _ in masks], [50, 90, 99])
    slow = sorted(masks, reverse=True)[:3]
    return {
        "tools": len(sets[0][0]), "mode": mode, "tokens": len(masks), "answers_refused": refused,
        "compile_ms": round(float(np.median(compiled)), 1), "mask_us_p50": round(float(p50), 1),
        "mask_us_p90": round(float(p90), 1), "mask_us_p99": round(float(p99), 1), "mask_us_max": round(slow[0][0], 1),
        "slowest_before": [piece for _, piece in slow],
        "llama_cpp_tokens": len(theirs), "llama_cpp_us_p50": round(float(np.percentile(theirs, 50)), 1),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocabularies", type=Path, nargs="+")
    parser.add_argument("--calls", type=Path)
    parser.add_argument("--tools", type=int, nargs="+", default=[1, 30, 256])
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args(arguments)
    cases = read_cases(options.calls)
    rows: list[dict[str, Any]] = []
    for path in options.vocabularies:
        if not path.is_file():
            sys.exit(f"{path}: no such file; give any GGUF with a vocabulary")
        model = llama.Model(path, n_gpu_layers=0, vocab_only=True)
        tokenizer = Tokenizer(model.vocabulary)
        guidance = guidance_tokenizer(tokenizer.vocabulary)
        for count in options.tools:
            try:
                sets = pools(cases, count)
                for mode in ("required", "auto"):
                    rows.append({"vocabulary": path.stem} | measure(tokenizer, guidance, sets, mode))
                    if not options.as_json:
                        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
            except SchemaError as error:
                sys.exit(f"{count} tools: {error}")
    if options.as_json:
        print(json.dumps(rows))
    return rows


if __name__ == "__main__":
    main()

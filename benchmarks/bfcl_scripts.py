"""Writes a model that follows scripts for cases of BFCL, to compare harnesses without real weights.

The model has the demo model's vocabulary. Its answers depend on the question alone, not on the form of the tools: every
question has a unique token (see `scripted`), and cases without one are left out.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import cases as benchmark_cases
from benchmarks import scripted
from benchmarks.answers import answers
from benchmarks.scripted_layers import Shape
from edgefc import paths
from edgefc.engine import Tokenizer, llama
from edgefc.evaluation.bfcl import CATEGORIES, WITHOUT_EXPECTED, tool_name
from edgefc.evaluation.cases import Case
from edgefc.formats import Family

CONTEXT = 8192
SHAPE = Shape(2, 1024, 32, 2, 2048, 32, reach=16)  # the calls of one answer are similar
_ANY: dict[str, Any] = {"integer": 1, "float": 1.5, "boolean": True, "array": [], "dict": {}}  # "x" for other types


@dataclass(frozen=True, slots=True)
class _Script:
    """A case and its answer as tokens.

    prompt_tokens  all tokens that its prompt may contain, in either harness's form
    """

    case: Case
    prompt: tuple[int, ...]
    question: tuple[int, ...]
    prompt_tokens: frozenset[int]
    answer: tuple[int, ...]


def write(folder: Path, family: Family, cases: Sequence[Case], limit: int) -> tuple[Path, list[Case]]:
    """Write the model and its tokenizer, in transformers' format, to a folder.

    Returns the model's path and the cases that it can answer, at most `limit` of each category.
    """
    vocabulary = paths.demo_model()
    tokenizer = Tokenizer(llama.Model(vocabulary, n_gpu_layers=0, vocab_only=True).vocabulary)
    end = tokenizer.special_id(family.stop[0])
    if end is None:
        raise SystemExit(f"{family.name} ends answers with {family.stop[0]}, which the demo model's vocabulary lacks")
    scripts: list[_Script] = []
    counts: Counter[str] = Counter()
    for case in sorted(cases, key=lambda case: case.digest):
        if counts[case.category] < limit:
            answer = (*tokenizer.encode(_answer(case, counts[case.category], family)), end)
            question = tokenizer.encode(str(case.messages[-1]["content"]))
            prompt = tokenizer.encode(family.render(case.messages, case.tools))
            prompt_tokens = frozenset(tokenizer.encode(_prompt_content(case)))
            script = _Script(case, tuple(prompt), tuple(question), prompt_tokens, answer)
            if _is_unambiguous(prompt, answer) and len(_markers([*scripts, script])) > len(scripts):
                scripts.append(script)
                counts[case.category] += 1
    pairs = [scripted.Script(script.prompt, script.answer) for script in scripts]
    path = folder / "scripted.gguf"
    scripted.write(vocabulary, path, pairs, _markers(scripts), SHAPE)
    _write_tokenizer(folder, vocabulary)
    return path, sorted((script.case for script in scripts), key=lambda case: CATEGORIES.index(case.category))


def _markers(scripts: Sequence[_Script]) -> set[int]:
    """Find the tokens that occur in one question and nowhere else, at most one of each question."""
    uses = Counter(token for script in scripts for token in script.prompt_tokens)
    answer_tokens = {token for script in scripts for token in script.answer}
    markers = (
        next((t for t in script.question if uses[t] == 1 and t not in answer_tokens and t in script.prompt), None)
        for script in scripts
    )
    return {token for token in markers if token is not None}


def _answer(case: Case, number: int, family: Family) -> str:
    """Write the answer to a case: a right one if `number` is even, else one of the changed ones."""
    is_right = number % 2 == 0
    if case.category in WITHOUT_EXPECTED:
        doc = case.functions[0]
        properties = doc["parameters"]["properties"]
        arguments = {name: _ANY.get(properties[name].get("type"), "x") for name in _required(doc)}
        calls = (
            [{"name": doc["name"], "arguments": arguments}] if is_right == case.category.endswith("_relevance") else []
        )
    else:
        entry = {"category": case.category, "raw_functions": case.functions, "ground_truth": case.expected}
        first, *others = [calls for _, calls in answers(entry, random.Random(case.id))]
        calls = first if is_right else random.Random(case.id).choice(others)
    names = {tool_name(doc["name"]): doc["name"] for doc in case.functions}
    named_calls = tuple((names.get(call["name"], call["name"]), call["arguments"]) for call in calls)
    text = "" if named_calls else "None of these tools can do that."
    return benchmark_cases.answer_text(benchmark_cases.Case((), None, calls=named_calls, text=text), family.syntax)


def _required(doc: Any) -> list[str]:
    return list(doc["parameters"].get("required", ()))


def _prompt_content(case: Case) -> str:
    """Join everything that a prompt may contain of a case, in either harness's form."""
    messages = " ".join(str(message.get("content")) for message in case.messages)
    return f"{messages} {json.dumps(list(case.tools))} {json.dumps(list(case.functions))}"


def _is_unambiguous(prompt: Sequence[int], answer: Sequence[int]) -> bool:
    """Return True if equal token sequences, of the length that the model attends to, have the same next token."""
    length = len(SHAPE.distances) + 1
    tokens = (*prompt[-length:], *answer)
    next_tokens: dict[tuple[int, ...], int] = {}
    positions = ((tokens[end - length : end], tokens[end]) for end in range(length, len(tokens)))
    return all(next_tokens.setdefault(before, token) == token for before, token in positions)


def _write_tokenizer(folder: Path, vocabulary: Path) -> None:
    (folder / "tokenizer.json").write_bytes(vocabulary.with_name("tokenizer.json").read_bytes())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2", "max_position_embeddings": CONTEXT}))

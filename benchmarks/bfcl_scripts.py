"""A model that answers cases of BFCL as it is told, right or wrong, so that harnesses can be compared without weights.

It has the demo model's vocabulary. What it says depends on the question alone, not on how tools are put to it: every
question has a token of its own (see `scripted`), and cases of which that cannot be said are left out.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import scripted
from benchmarks.answers import answers
from benchmarks.workloads import Case as Told
from benchmarks.workloads import answer_text
from edgefc import paths
from edgefc.engine import Tokenizer, llama
from edgefc.evaluation.bfcl import CATEGORIES, WITHOUT_EXPECTED, tool_name
from edgefc.evaluation.cases import Case
from edgefc.formats import Family

CONTEXT = 8192
SHAPE = scripted.Shape(2, 1024, 32, 2, 2048)  # looks back at 16 tokens: the calls of one answer resemble each other
_ANY: dict[str, Any] = {"integer": 1, "float": 1.5, "boolean": True, "array": [], "dict": {}}  # "x" for other types


@dataclass(frozen=True, slots=True)
class _Script:
    """What is answered to a case; `shown`: all tokens that a prompt shows of it, in either side's spelling."""

    case: Case
    prompt: tuple[int, ...]
    question: tuple[int, ...]
    shown: frozenset[int]
    answer: tuple[int, ...]


def write(folder: Path, family: Family, cases: Sequence[Case], limit: int) -> tuple[Path, list[Case]]:
    """The model in the folder, with its tokenizer as transformers reads it, and the cases that it knows an answer to:
    of each category so many at most.
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
            answer = (*tokenizer.encode(_said(case, counts[case.category], family)), end)
            question = tokenizer.encode(str(case.messages[-1]["content"]))
            prompt = tokenizer.encode(family.render(case.messages, case.tools))
            shown = frozenset(tokenizer.encode(_everything(case)))
            script = _Script(case, tuple(prompt), tuple(question), shown, answer)
            if _can_be_told(prompt, answer) and len(_markers([*scripts, script])) > len(scripts):
                scripts.append(script)
                counts[case.category] += 1
    told = [scripted.Script(script.prompt, script.answer) for script in scripts]
    path = folder / "scripted.gguf"
    scripted.write(vocabulary, path, told, _markers(scripts), SHAPE)
    _write_tokenizer(folder, vocabulary)
    return path, sorted((script.case for script in scripts), key=lambda case: CATEGORIES.index(case.category))


def _markers(scripts: Sequence[_Script]) -> set[int]:
    """Of each question a token that nothing else has, where there is one."""
    uses = Counter(token for script in scripts for token in script.shown)
    said = {token for script in scripts for token in script.answer}
    found = (
        next((t for t in script.question if uses[t] == 1 and t not in said and t in script.prompt), None)
        for script in scripts
    )
    return {token for token in found if token is not None}


def _said(case: Case, number: int, family: Family) -> str:
    """Every other case is answered right, the rest with something that `answers` makes of the right calls."""
    right = number % 2 == 0
    if case.category in WITHOUT_EXPECTED:
        doc = case.functions[0]
        given = {name: _ANY.get(doc["parameters"]["properties"][name].get("type"), "x") for name in _required(doc)}
        calls = [{"name": doc["name"], "arguments": given}] if right == case.category.endswith("_relevance") else []
    else:
        made = {"category": case.category, "raw_functions": case.functions, "ground_truth": case.expected}
        first, *others = [calls for _, calls in answers(made, random.Random(case.id))]
        calls = first if right else random.Random(case.id).choice(others)
    names = {tool_name(doc["name"]): doc["name"] for doc in case.functions}
    told = tuple((names.get(call["name"], call["name"]), call["arguments"]) for call in calls)
    text = "" if told else "None of these tools can do that."
    return answer_text(Told((), None, calls=told, text=text), family.syntax)


def _required(doc: Any) -> list[str]:
    return list(doc["parameters"].get("required", ()))


def _everything(case: Case) -> str:
    """All that a prompt shows of a case, in either side's spelling."""
    said = " ".join(str(message.get("content")) for message in case.messages)
    return f"{said} {json.dumps(list(case.tools))} {json.dumps(list(case.functions))}"


def _can_be_told(prompt: Sequence[int], answer: Sequence[int]) -> bool:
    """Whether no two places are alike in all tokens that the model looks back at, and different in what follows."""
    seen = len(SHAPE.distances) + 1
    tokens = (*prompt[-seen:], *answer)
    following: dict[tuple[int, ...], int] = {}
    places = ((tokens[end - seen : end], tokens[end]) for end in range(seen, len(tokens)))
    return all(following.setdefault(before, token) == token for before, token in places)


def _write_tokenizer(folder: Path, vocabulary: Path) -> None:
    (folder / "tokenizer.json").write_bytes(vocabulary.with_name("tokenizer.json").read_bytes())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2", "max_position_embeddings": CONTEXT}))

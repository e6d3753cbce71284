"""A scripted model, for cases that are written for models of 1B to 8B: it gives the expected answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import scripted
from benchmarks.cases import Case
from benchmarks.scripted_layers import SHAPES
from benchmarks.sides import RequestBuilder
from edgefc import paths
from edgefc.engine import Tokenizer, llama
from edgefc.engine.constraint import guidance_tokenizer
from edgefc.formats import load_family


def write(path: Path, family: str, answers: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Path:
    """Write a model with the demo model's vocabulary.

    answers  pairs of a request's body and the answer: a `call` (name, arguments) or a `text`
    """
    vocabulary = paths.demo_model()
    tokenizer = Tokenizer(llama.Model(vocabulary, n_gpu_layers=0, vocab_only=True).vocabulary)
    requests = RequestBuilder(load_family(family), tokenizer)
    cases = [_case(body, answer) for body, answer in answers]
    pairs = requests.scripts(cases, guidance_tokenizer(tokenizer.vocabulary))
    scripts = [scripted.Script(tuple(prompt), tuple(answer)) for prompt, answer in pairs]
    scripted.write(vocabulary, path, scripts, _markers(scripts), SHAPES["tiny"])
    return path


def _case(body: Mapping[str, Any], answer: Mapping[str, Any]) -> Case:
    calls = ((answer["call"]["name"], answer["call"]["arguments"]),) if "call" in answer else ()
    tools = tuple(body["tools"]) if body.get("tools") else None
    return Case(tuple(body["messages"]), tools, calls=calls, text=answer.get("text", ""))


def _markers(scripts: Sequence[scripted.Script]) -> set[int]:
    """Find a token in each prompt that is in no other prompt, and in no answer."""
    answer_tokens = {token for script in scripts for token in script.answer}
    prompts = {script.prompt for script in scripts}
    return {
        next(
            token
            for token in prompt
            if token not in answer_tokens.union(*(other for other in prompts if other != prompt))
        )
        for prompt in prompts
    }

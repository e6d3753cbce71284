"""A model that says what cases want to hear that were written for models of 1B to 8B: what they test then is the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import scripted
from benchmarks.sides import Asker
from benchmarks.workloads import Case
from edgefc import paths
from edgefc.engine import Tokenizer, llama
from edgefc.engine.constraint import guidance_tokenizer
from edgefc.formats import load_family


def write(path: Path, family: str, answers: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Path:
    """Makes the model, of the demo model's vocabulary. `answers`: bodies of requests, and the `call` (name, arguments) or
    the `text` that is said.
    """
    vocabulary = paths.demo_model()
    tokenizer = Tokenizer(llama.Model(vocabulary, n_gpu_layers=0, vocab_only=True).vocabulary)
    asker = Asker(load_family(family), tokenizer)
    cases = [_case(body, said) for body, said in answers]
    pairs = asker.scripts(cases, guidance_tokenizer(tokenizer.vocabulary))
    scripts = [scripted.Script(tuple(prompt), tuple(answer)) for prompt, answer in pairs]
    scripted.write(vocabulary, path, scripts, _markers(scripts), scripted.SHAPES["tiny"])
    return path


def _case(body: Mapping[str, Any], said: Mapping[str, Any]) -> Case:
    calls = ((said["call"]["name"], said["call"]["arguments"]),) if "call" in said else ()
    tools = tuple(body["tools"]) if body.get("tools") else None
    return Case(tuple(body["messages"]), tools, calls=calls, text=said.get("text", ""))


def _markers(scripts: Sequence[scripted.Script]) -> set[int]:
    """Of each prompt a token that tells it from the others."""
    said = {token for script in scripts for token in script.answer}
    prompts = {script.prompt for script in scripts}
    return {
        next(token for token in prompt if token not in said.union(*(other for other in prompts if other != prompt)))
        for prompt in prompts
    }

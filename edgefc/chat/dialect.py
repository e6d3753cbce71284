"""Dialects: how the weights of a model say calls, where that differs from what its chat template says.

Some models carry the template of their base model but never learned its calls. A few built-in questions show it: the
model begins a call, but not with the marker of its family. Then the family `json-list` asks for calls in the way such
models know. What was found is kept in the cache folder.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgefc import formats, limits, paths
from edgefc.chat.confidence import auroc
from edgefc.chat.decision import DecidingGuide
from edgefc.chat.dialect_file import Dialect, family_in_dialect, keep, stored
from edgefc.chat.options import ChatOptions
from edgefc.chat.prompt import render_prompt
from edgefc.chat.prompt_parts import PartFinder
from edgefc.chat.request import new_request
from edgefc.engine.backend import Backend
from edgefc.errors import EdgefcError, StoreError
from edgefc.tools import ToolSet
from edgefc.types import Message

__all__ = ["Dialect", "calibrate", "family_in_dialect", "find_quickly", "in_dialect", "keep", "probes", "stored"]
log = logging.getLogger("edgefc.dialect")
QUICK_PROBES = 2  # at the first load of a model
QUICK_SECONDS = 5.0  # for them together
PATIENCE_SECONDS = 20.0  # for the first of them, on a slow or busy machine: a wrong dialect costs more than the wait
LIKELY = 0.5  # share of calls, in any spelling, from which a model is taken to want to call
MAX_BIAS = 4.0


class Probe(NamedTuple):
    """A built-in question, its tools, and the number of calls that answer it."""

    tools: ToolSet
    question: str
    calls: int

    @property
    def messages(self) -> list[Message]:
        return [{"role": "user", "content": self.question}]


@lru_cache(maxsize=1)
def probes() -> tuple[Probe, ...]:
    """Return the built-in questions, those with the same tools one after another."""
    declared = tomllib.loads((paths.root() / "chat_formats" / "probes.toml").read_text(encoding="utf-8"))
    found: list[Probe] = []
    for group in declared["set"]:
        tools = ToolSet.of([_tool(name, declared["tool"][name]) for name in group["tools"]])
        found += (Probe(tools, probe["question"], probe["calls"]) for probe in group["probe"])
    return tuple(found)


def _tool(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": facts["properties"], "required": facts["required"]}
    function = {"name": name, "description": facts["description"], "parameters": parameters}
    return {"type": "function", "function": function}


def in_dialect(
    engine: Backend,
    family: formats.Family,
    detection: formats.Detection,
    path: Path,
    metadata: Mapping[str, object],
) -> tuple[formats.Family, formats.Detection]:
    """Return the family that fits the weights; at the first load of a file, two short questions find it."""
    if "dialect" not in family.prompt:
        return family, detection
    found = stored(path, engine.adapters.key)
    if found is None and (found := find_quickly(engine, family)) is not None:
        try:
            keep(path, found, engine.adapters.key)
        except StoreError as error:
            log.warning("%s", error)
    if found is None or found.family == family.name:
        return family, detection
    log.info("%s: %s", path.name, found.describe())
    return family_in_dialect(metadata, path.name, found, eos=engine.tokenizer.eos_text)


# -- finding the dialect ------------------------------------------------------------------------------------------


def find_quickly(engine: Backend, family: formats.Family) -> Dialect | None:
    """Find the dialect from two built-in questions; None if not even one is answered in time, or can be asked."""
    questions = [probe for probe in probes() if probe.calls == 1][:QUICK_PROBES]
    shares: list[tuple[float, float]] = []
    start = time.monotonic()
    with contextlib.suppress(EdgefcError):
        for probe in questions:
            seconds = QUICK_SECONDS if shares else PATIENCE_SECONDS
            shares += [_first_token(engine, family, probe, start + seconds)]
    if not shares:
        log.warning("the model is too slow to find its dialect at once: run `edgefc bench MODEL --calibrate`")
        return None
    return _dialect(shares, family)


def calibrate(
    engine: Backend,
    family: formats.Family,
    other: formats.Family,
    progress: Callable[[float], None] = lambda _: None,
) -> Dialect:
    """Find the dialect from all built-in questions, and the bias of its decision. Raises what chats raise.

    other  the family that is taken if the weights do not say calls as `family` does
    """
    questions = [probe for probe in probes() if probe.calls]
    shares = []
    for number, probe in enumerate(questions):
        shares.append(_first_token(engine, family, probe))
        progress(0.4 * (number + 1) / len(questions))
    dialect = _dialect(shares, family)
    chosen = other if dialect.family == other.name else family
    if chosen.decision is None:
        return dialect
    calls: list[float] = []
    others: list[float] = []
    for number, probe in enumerate(probes()):
        (calls if probe.calls else others).append(_decision_score(engine, chosen, probe))
        progress(0.4 + 0.6 * (number + 1) / len(probes()))
    # So few questions are no more evidence than those that the family's own bias was measured with.
    call = round((chosen.decision.call + _threshold(calls, others)) / 2, 2)
    return replace(dialect, call=call, auroc=auroc(calls, others))


def _dialect(shares: Sequence[tuple[float, float]], family: formats.Family) -> Dialect:
    declared, any_call = (sum(column) / len(shares) for column in zip(*shares, strict=True))
    other = str(family.prompt.get("dialect", family.name))
    has_other = any_call >= LIKELY and declared < any_call / 2
    return Dialect(other if has_other else family.name, round(declared, 4), round(any_call, 4))


def _first_token(
    engine: Backend, family: formats.Family, probe: Probe, end: float | None = None
) -> tuple[float, float]:
    """Return the probability that an answer begins like a call of the family, and like a call in any spelling.

    end  time at which the question is given up, by time.monotonic. Raises CancelledError.
    """
    prompt = render_prompt(family, engine.tokenizer, probe.messages, probe.tools)
    generation = engine.submit(prompt.ids, max_tokens=1, logprobs=limits.MAX_TOP_LOGPROBS)
    try:
        generation.result(None if end is None else max(end - time.monotonic(), 0.0))
    except TimeoutError:
        generation.cancel()
        generation.result()
    head, declared, any_call = family.syntax.calls_head, 0.0, 0.0
    for token, logprob in generation.logprobs[0].top if generation.logprobs else ():
        text = engine.tokenizer.piece(token, show_control=True).decode("utf-8", "replace")
        is_declared = bool(text.strip()) and (head.startswith(text) or text.startswith(head))
        declared += math.exp(logprob) if is_declared else 0.0
        any_call += math.exp(logprob) if is_declared or formats.begins_like_call(text) else 0.0
    return declared, any_call


def _decision_score(engine: Backend, family: formats.Family, probe: Probe) -> float:
    """Return the log odds of a call."""
    options: ChatOptions = {"temperature": 0.0, "max_tokens": 64, "call_bias": limits.CALL_BIAS[0]}
    request = new_request(engine, PartFinder(family, engine.tokenizer), probe.messages, probe.tools, options)
    attempt = request.submit()
    attempt.generation.result()
    assert isinstance(attempt.guide, DecidingGuide)
    return -math.inf if attempt.guide.score is None else attempt.guide.score


def _threshold(calls: Sequence[float], others: Sequence[float]) -> float:
    """Return the bias that separates scores of calls from others with the fewest mistakes; in doubt, the middle."""
    cuts = sorted({*calls, *others})
    middles = [(low + high) / 2 for low, high in itertools.pairwise(cuts) if math.isfinite(low)]
    if not middles:
        return 0.0

    def mistakes(cut: float) -> float:
        # A call that is missed is worse than one too many: it can be declined, but not be made by the user.
        return 2 * sum(score < cut for score in calls) / len(calls) + sum(score >= cut for score in others) / len(
            others
        )

    least = min(map(mistakes, middles))
    best = [cut for cut in middles if mistakes(cut) <= least + 1e-9]
    return round(min(max(-float(np.median(best)), -MAX_BIAS), MAX_BIAS), 2)

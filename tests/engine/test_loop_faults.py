"""Faults in the engine's loop cost the requests that caused them; an engine that cannot go on says so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefc.engine import Engine, EngineOptions, SamplingOptions
from edgefc.engine.context import Context
from edgefc.engine.sampler import Sampler
from edgefc.engine.sequence import Sequence
from edgefc.engine.slots import Slots
from edgefc.errors import EdgefcError, EngineClosedError

PROMPT = [5 + i * 79 % 200 for i in range(100)]
Fault = Callable[[pytest.MonkeyPatch], None]


class PanicError(BaseException):
    """A panic in Rust is no Exception either."""


@pytest.fixture
def engine(tiny_model: Path) -> Iterator[Engine]:
    with Engine.load(tiny_model, EngineOptions(n_ctx=512, n_seq_max=2, prefix_disk=0)) as loaded:
        yield loaded


def raising(owner: type, name: str, error: type[BaseException], after: int = 0) -> Fault:
    """Return a fault: one call of a method, after so many others, takes memory where there is none."""

    def install(patch: pytest.MonkeyPatch) -> None:
        method, calls = getattr(owner, name), iter(range(1 << 30))

        def fail_once(*arguments: Any, **options: Any) -> Any:
            if next(calls) == after:
                raise error("injected")
            return method(*arguments, **options)

        patch.setattr(owner, name, fail_once)

    return install


FAULTS: dict[str, Fault] = {
    "batch": raising(Context, "decode", MemoryError),
    "later batch": raising(Context, "decode", MemoryError, after=3),
    "rows of a batch": raising(Context, "_add_rows", MemoryError),
    "logits": raising(Context, "logits", RuntimeError, after=2),
    "sampler": raising(Sampler, "sample", MemoryError, after=1),
    "panic": raising(Sampler, "sample", PanicError, after=1),
    "slot": raising(Slots, "_assign", MemoryError),
    "cached part": raising(Context, "truncate", MemoryError),
    "computed tokens": raising(Slots, "advance", IndexError, after=1),
    "start": raising(Sequence, "start", MemoryError),
    "draft": raising(Sequence, "propose_draft", ZeroDivisionError),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_costs_its_request(name: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    right = engine.submit(PROMPT, max_tokens=12).result().token_ids
    with monkeypatch.context() as patch:
        FAULTS[name](patch)
        with pytest.raises(EdgefcError) as caught:
            engine.submit(PROMPT, max_tokens=12).result(120)
    assert not isinstance(caught.value, EngineClosedError)
    assert not engine.has_stopped
    for _ in range(3):  # also from what is in the KV cache
        assert engine.submit(PROMPT, max_tokens=12).result(120).token_ids == right


def test_a_fault_costs_no_other_request(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    right = engine.submit(PROMPT, max_tokens=40).result().token_ids
    sample = Sampler.sample

    def fail_for_seed(sampler: Sampler, choice: Any) -> int:
        if sampler.seed == 7:
            raise MemoryError
        return sample(sampler, choice)

    monkeypatch.setattr(Sampler, "sample", fail_for_seed)
    others = [engine.submit(PROMPT, max_tokens=40) for _ in range(4)]
    bad = [engine.submit(PROMPT, max_tokens=40, sampling=SamplingOptions(seed=7)) for _ in range(4)]
    for generation in bad:
        with pytest.raises(EdgefcError, match="memory"):
            generation.result(120)
    assert [generation.result(120).token_ids for generation in others] == [right] * 4


def test_an_engine_that_cannot_go_on_fails_all_requests_and_can_be_closed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        raising(Context, "decode", MemoryError)(patch)
        patch.setattr(Slots, "clear", fail)
        requests = []
        with contextlib.suppress(EngineClosedError):  # it may stop before all are submitted
            requests += (engine.submit(PROMPT, max_tokens=40) for _ in range(6))
        for generation in requests:
            with pytest.raises(EdgefcError):
                generation.result(120)
    engine._thread.join(120)
    assert engine.has_stopped
    with pytest.raises(EngineClosedError, match="internal error"):
        engine.submit(PROMPT)
    engine.close()

"""LoRA adapters on real weights: scale 0 is the model, and every answer is the one that it would be alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import pytest

import edgefc
from edgefc.engine import engine
from tests.lora_files import write_adapter
from tests.real import weights
from tests.real.conftest import find_model
from tests.real.tool_cases import QUESTIONS, TOOLS, ask

SETS: list[Mapping[str, float]] = [{"a": 1.0}, {}, {"a": 0.5, "b": 1.0}]
OPTIONS: dict[str, Any] = {"max_tokens": 8, "temperature": 0, "logprobs": 0, "tools": TOOLS, "tool_choice": "auto"}


@pytest.fixture(scope="module")
def path() -> Path:
    return find_model(weights.NAME)


@pytest.fixture(scope="module")
def loras(path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[edgefc.Lora]:
    folder, layers = tmp_path_factory.mktemp("lora"), r"blk\.(1|17|29)\.(attn_(q|v|output)|ffn_(gate|down))\.weight"
    a = write_adapter(path, folder / "a.gguf", seed=1, rank=16, tensors=layers, size=0.4)
    b = write_adapter(path, folder / "b.gguf", seed=2, tensors=layers, size=0.4, kind=gguf.GGMLQuantizationType.F16)
    return [edgefc.Lora(a, 0), edgefc.Lora(b, 0)]


@pytest.fixture(scope="module")
def same_costs() -> Iterator[None]:
    """Let two loads compute the same batches, whatever else the machine does: their costs decide on the rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "row_costs", lambda _path, _context, _threads, estimate, *_: estimate)
        yield


@pytest.fixture(scope="module")
def model(path: Path, loras: list[edgefc.Lora], same_costs: None) -> Iterator[edgefc.Model]:
    with edgefc.load(path, n_ctx=1024, lora=loras, prefix_disk=0) as loaded:
        yield loaded


def submit(model: edgefc.Model, scales: Mapping[str, float] | None, question: int = 0) -> edgefc.ChatStream:
    return model.submit(model.request(ask(QUESTIONS[question]), **OPTIONS, lora=scales))


def tokens(stream: edgefc.ChatStream) -> list[tuple[int, float]]:
    return [(entry.token, entry.logprob) for entry in stream.reply.logprobs]


def test_scale_0_is_the_model_token_for_token(model: edgefc.Model, path: Path, same_costs: None) -> None:
    with edgefc.load(path, n_ctx=1024, prefix_disk=0) as base:
        expected = tokens(submit(base, None))
    assert tokens(submit(model, None)) == tokens(submit(model, {"a": 0})) == expected
    assert tokens(submit(model, {"a": 1.0})) != expected


def test_requests_with_different_adapters_answer_as_alone(
    model: edgefc.Model, path: Path, loras: list[edgefc.Lora]
) -> None:
    running = [submit(model, scales, 1) for scales in SETS]
    together = [tokens(stream) for stream in running]
    for scales, found in zip(SETS[1:], together[1:], strict=True):
        with edgefc.load(path, n_ctx=1024, n_parallel=2, lora=loras, prefix_disk=0) as fresh:
            assert tokens(submit(fresh, scales, 1)) == found, scales
    assert len({tuple(found) for found in together}) == len(SETS)

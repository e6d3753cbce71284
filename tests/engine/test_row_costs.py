"""The quick look at what batches cost: kept for the next load, and never a reason to fail."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgefc import gguf, paths
from edgefc.engine import Engine, EngineOptions, constraint, llama
from edgefc.engine import engine as engine_module
from edgefc.engine import row_costs as module
from edgefc.engine.config import choose_setup, with_costs
from edgefc.engine.context import Context, Rows
from edgefc.engine.costs import SMALL_MODEL, STEP_MS, Costs, estimate_costs
from edgefc.engine.row_costs import ROWS, row_costs
from edgefc.engine.timing import BackgroundLoad

ESTIMATE = Costs({1: 1.0, 4: 1.0}, per_token=0.001)


@pytest.fixture
def context(demo_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setenv("EDGEFC_CACHE_DIR", str(tmp_path))
    # Other tests run beside this one.
    monkeypatch.setattr(module, "MIN_CORES_LEFT", -1e9)
    monkeypatch.setattr(module, "MAX_UNSTEADINESS", 1e9)
    model = llama.Model(demo_path, n_gpu_layers=0)
    context = Context(model, n_ctx=64, n_batch=32, n_seq_max=2, n_threads=1, n_threads_batch=1)
    yield context
    context.close()
    model.close()


def test_costs_are_measured_once_and_leave_the_context_empty(demo_path: Path, context: Context) -> None:
    costs = row_costs(demo_path, context, 1, ESTIMATE, BackgroundLoad())
    assert costs.by_rows.keys() == set(ROWS)
    assert costs.per_batch == STEP_MS
    assert costs.per_token == pytest.approx(0.001 * costs.by_rows[1])
    assert costs.of(16) > costs.of(1)
    # The first token of a prompt can be computed now.
    assert context.decode([Rows(0, 0, [5], n_logits=1)]) == 0


@pytest.mark.parametrize(("name", "value"), [("MIN_CORES_LEFT", 1e9), ("MAX_UNSTEADINESS", 0.5)])
def test_the_estimate_stays_where_other_programs_disturb(
    demo_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    monkeypatch.setattr(module, name, value)
    assert row_costs(demo_path, context, 1, ESTIMATE, BackgroundLoad()) is ESTIMATE
    assert not (paths.cache_dir() / "row_costs.json").exists()


def test_what_was_measured_is_used_and_what_is_damaged_is_measured_again(demo_path: Path, context: Context) -> None:
    first = row_costs(demo_path, context, 1, ESTIMATE, BackgroundLoad())
    file = paths.cache_dir() / "row_costs.json"
    data = json.loads(file.read_text())
    [key] = data["models"]
    data["models"][key]["costs"] = {str(rows): 7.0 for rows in ROWS}
    file.write_text(json.dumps(data))
    assert set(row_costs(demo_path, context, 1, ESTIMATE, BackgroundLoad()).by_rows.values()) == {7.0}
    assert set(row_costs(demo_path, context, 2, ESTIMATE, BackgroundLoad()).by_rows.values()) != {7.0}  # other threads
    for damage in ({}, {"1": 1.0}, {str(rows): -1.0 for rows in ROWS}, "?", None):
        data["models"][key]["costs"] = damage
        file.write_text(json.dumps(data))
        again = row_costs(demo_path, context, 1, ESTIMATE, BackgroundLoad())
        assert again.by_rows.keys() == first.by_rows.keys()
        assert min(again.by_rows.values()) > 0


@pytest.mark.parametrize(("second_row", "min_rows"), [(11.5, 2), (14.5, 1)])
def test_a_row_is_padded_with_a_second_where_that_costs_little(
    demo_path: Path, second_row: float, min_rows: int
) -> None:
    costs, header = Costs({1: 10.0, 2: second_row, 4: 20.0}), gguf.read_model(demo_path)
    setup = with_costs(choose_setup(demo_path, header, EngineOptions(n_seq_max=4)), costs)
    assert (setup.costs, setup.min_rows) == (costs, min_rows)
    assert with_costs(setup, Costs({1: 1.0, 4: 1.0})).min_rows == 2, "a measurement after a guess"
    assert with_costs(choose_setup(demo_path, header, EngineOptions(n_seq_max=1)), costs).min_rows == 1


@pytest.mark.parametrize("second_row", [11.5, 14.5])
def test_an_engine_pads_by_what_was_measured(
    demo_path: Path, second_row: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the measurement at the load to the rows of a decoded token."""
    monkeypatch.setenv("EDGEFC_CACHE_DIR", str(tmp_path))
    costs = {1: 10.0, 2: second_row, 4: 40.0, 8: 80.0}
    monkeypatch.setattr(module, "_measure", lambda _: costs)
    monkeypatch.setattr(module, "MIN_CORES_LEFT", -1e9)
    monkeypatch.setattr(engine_module, "SMALL_MODEL", 0)
    rows: list[int] = []
    real = Context.decode

    def decode(self: Context, parts: list[Rows], min_rows: int = 2, **options: Any) -> int:
        rows.append(max(min_rows, *(len(part.tokens) for part in parts)))
        return real(self, parts, min_rows, **options)

    with Engine.load(demo_path, EngineOptions(n_ctx=256, n_seq_max=2, prefix_disk=0)) as engine:
        monkeypatch.setattr(Context, "decode", decode)
        engine.submit([*range(5, 25)], max_tokens=4).result()
    assert set(rows[1:]) == {2 if second_row == 11.5 else 1}


@pytest.mark.parametrize(("size", "second_row"), [(SMALL_MODEL, 1.5), (SMALL_MODEL - 1, 1.1)])
def test_without_avx512_every_row_of_a_large_model_costs_time(demo_path: Path, size: int, second_row: float) -> None:
    header = replace(gguf.read_model(demo_path), tensor_bytes=size)
    assert estimate_costs(header, is_narrow=True).by_rows[2] == second_row
    assert estimate_costs(header, is_narrow=False).by_rows[2] == 1.1


def test_the_engine_measures_when_its_vocabulary_is_converted(
    demo_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conversion takes a core: batches measured beside it were up to 15 times as slow."""
    monkeypatch.setenv("EDGEFC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(engine_module, "SMALL_MODEL", 0)
    monkeypatch.setattr(module, "MIN_CORES_LEFT", -1e9)
    events: list[str] = []
    convert, measure = constraint.guidance_tokenizer, module._measure

    def converting(*arguments: Any) -> Any:
        time.sleep(0.2)  # the vocabulary of the demo is small
        converted = convert(*arguments)
        events.append("converted")
        return converted

    def measuring(context: Context) -> dict[int, float] | None:
        events.append("measured")
        return measure(context)

    monkeypatch.setattr(constraint, "guidance_tokenizer", converting)
    monkeypatch.setattr(module, "_measure", measuring)
    Engine.load(demo_path, EngineOptions(n_ctx=64, n_threads=1)).close()
    assert events == ["converted", "measured"]

"""The quick look at what batches cost: kept for the next load, and never a reason to fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefc import paths
from edgefc.engine import llama
from edgefc.engine import row_costs as module
from edgefc.engine.context import Context, Rows
from edgefc.engine.costs import STEP_MS, Costs
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

"""Recommended models fit into memory, and measured speeds are used."""

from __future__ import annotations

from dataclasses import replace

import pytest

import edgefc
from edgefc import hardware
from edgefc.engine import bench, devices
from edgefc.models import recommend, registry, speeds

LAPTOP = hardware.Machine(cores=8, memory=10 << 30, gpu="", gpu_memory=0)


def test_everything_recommended_fits() -> None:
    for memory in (1, 2, 4, 8, 16, 64):
        machine = replace(LAPTOP, memory=memory << 30)
        suggestions = recommend.suggest_models(machine)
        assert suggestions
        assert all(item.memory <= machine.room for item in suggestions)
    assert not recommend.suggest_models(replace(LAPTOP, memory=256 << 20))
    sizes = [len(recommend.suggest_models(replace(LAPTOP, memory=memory << 30))) for memory in (2, 4, 8, 64)]
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0]


def test_models_made_for_tools_come_first_and_small_machines_get_small_ones() -> None:
    cards = registry.cards()
    best = recommend.suggest_models(LAPTOP)[0]
    assert best.family not in recommend.GENERIC
    small = recommend.suggest_models(replace(LAPTOP, cores=2))[0]
    assert cards[small.id].parameters < cards[best.id].parameters
    gpu = recommend.suggest_models(replace(LAPTOP, gpu="a GPU", gpu_memory=24 << 30))[0]
    assert cards[gpu.id].parameters >= 7


def test_a_requested_context_is_used() -> None:
    for item in recommend.suggest_models(LAPTOP, 4096):
        assert item.context == min(4096, registry.cards()[item.id].context)


def test_a_measured_speed_is_stored_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with edgefc.load("demo") as model:
        rates = bench.measure(model.engine, rounds=1)
        speed = speeds.record(model.name, model.path.stat().st_size, prefill=rates.prefill, decode=rates.decode)
    assert speed.prefill > 0
    assert speed.decode > 0
    assert speed in speeds.load()
    assert all(item.decode is None for item in recommend.suggest_models(LAPTOP)), (
        "the demo model says nothing of others"
    )
    other = speeds.Speed("some-3b", 2_000_000_000, 100.0, 12.0, "now")
    monkeypatch.setattr(speeds, "load", lambda: [other])
    for item in recommend.suggest_models(LAPTOP):
        assert item.decode is not None
        assert not item.is_measured
        weights = recommend._weight_bytes(registry.cards()[item.id], item.quantization)
        assert item.decode == pytest.approx(12.0 * 2e9 / weights)


def test_llama_cpp_lists_its_devices() -> None:
    found = devices.devices()
    assert any(not device.is_gpu for device in found)
    assert devices.machine().cores >= 1

"""Calibration: its choices, and its file, which holds for one model and machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgefc import gguf, hardware
from edgefc.engine import calibration, llama
from edgefc.engine.calibration import Calibration
from edgefc.engine.context import Rows
from edgefc.engine.costs import MEASURED_ROWS, STEP_MS, Costs
from edgefc.errors import ModelFileError, StoreError
from edgefc.gguf.adapter import Lora, loras_of, read_adapters
from tests.lora_files import write_adapter

EXAMPLE = Calibration(3, 5, Costs({rows: 10.0 + rows for rows in MEASURED_ROWS}, 0.01, STEP_MS))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEFC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"x" * 1000)
    return file


def test_a_saved_calibration_is_loaded_again(path: Path, cache: Path) -> None:
    assert calibration.load(path) is None
    calibration.save(path, EXAMPLE)
    assert calibration.load(path) == EXAMPLE
    assert [entry.name for entry in cache.iterdir()] == ["calibration.json"]
    newer = Calibration(1, 1, EXAMPLE.costs)
    calibration.save(path, newer)
    assert calibration.load(path) == newer


def test_it_holds_for_one_model_build_and_machine(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calibration.save(path, EXAMPLE)
    changes: list[Callable[[pytest.MonkeyPatch], None]] = [
        lambda patch: patch.setattr(hardware, "usable_cores", lambda: 77),
        lambda patch: patch.setattr(hardware, "processor", lambda: "another one"),
        lambda patch: patch.setattr(llama, "VERSION", "0.0.1"),
        lambda patch: patch.setattr(llama, "system_info", lambda: "AVX9"),
        lambda _: path.write_bytes(b"longer" * 1000),
    ]
    for change in changes:
        assert calibration.load(path) == EXAMPLE
        with monkeypatch.context() as patch:
            change(patch)
            assert calibration.load(path) is None
    other = tmp_path / "other.gguf"
    other.write_bytes(path.read_bytes())
    assert calibration.load(other) is None
    assert calibration.load(tmp_path / "none.gguf") is None


def test_it_holds_for_the_adapters_it_was_measured_with(path: Path, demo_path: Path, tmp_path: Path) -> None:
    file = write_adapter(demo_path, tmp_path / "a.gguf")
    full, half, off = (
        read_adapters(loras_of(Lora(file, scale)), gguf.read_model(demo_path)) for scale in (1.0, 0.5, 0.0)
    )
    other = Calibration(1, 1, EXAMPLE.costs)
    calibration.save(path, other, full)
    assert calibration.load(path) is None
    assert calibration.load(path, full) == other
    assert calibration.load(path, half) is None
    calibration.save(path, EXAMPLE)
    assert calibration.load(path) == calibration.load(path, off) == EXAMPLE
    assert calibration.load(path, half) == EXAMPLE, "the model's own is the nearest"
    assert calibration.load(path, full) == other


def edited(text: str, change: Callable[[dict[str, Any]], object]) -> str:
    data = json.loads(text)
    (entry,) = data["models"].values()
    change(entry)
    return json.dumps(data)


DAMAGE: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "cut off": lambda text: text[: len(text) // 2],
    "a list": lambda _: "[]",
    "nested deeply": lambda _: "[" * 100_000,
    "another format": lambda text: text.replace('"format": 3', '"format": 2'),
    "models are a list": lambda _: '{"format": 3, "models": []}',
    "no threads": lambda text: edited(text, lambda entry: entry.pop("n_threads")),
    "threads below one": lambda text: edited(text, lambda entry: entry.update(n_threads=0)),
    "threads as text": lambda text: edited(text, lambda entry: entry.update(n_threads_batch="2")),
    "no costs": lambda text: edited(text, lambda entry: entry.update(costs={})),
    "costs as text": lambda text: edited(text, lambda entry: entry.update(costs="free")),
    "a cost of nothing": lambda text: edited(text, lambda entry: entry["costs"].update({"8": 0})),
    "a cost that is no number": lambda text: edited(text, lambda entry: entry["costs"].update({"8": float("nan")})),
    "no attention": lambda text: edited(text, lambda entry: entry.pop("per_token")),
    "attention that gains": lambda text: edited(text, lambda entry: entry.update(per_token=-1.0)),
    "rows that were not measured": lambda text: edited(text, lambda entry: entry["costs"].update({"9": 1.0})),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_ignored_and_replaced(path: Path, cache: Path, damage: Callable[[str], str]) -> None:
    calibration.save(path, EXAMPLE)
    file = cache / "calibration.json"
    file.write_text(damage(file.read_text(encoding="utf-8")), encoding="utf-8")
    assert calibration.load(path) is None
    calibration.save(path, EXAMPLE)
    assert calibration.load(path) == EXAMPLE


def test_the_file_stays_small(path: Path, tmp_path: Path, cache: Path) -> None:
    calibration.save(path, EXAMPLE)
    for number in range(calibration.MAX_ENTRIES):
        other = tmp_path / f"{number}.gguf"
        other.write_bytes(b"x")
        calibration.save(other, EXAMPLE)
    assert calibration.load(path) is None, "it is the oldest"
    assert calibration.load(other) == EXAMPLE
    assert (
        len(json.loads((cache / "calibration.json").read_text(encoding="utf-8"))["models"]) == calibration.MAX_ENTRIES
    )


def test_a_cache_that_cannot_be_written_says_what_to_do(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFC_CACHE_DIR", str(path / "below a file"))
    assert calibration.load(path) is None
    with pytest.raises(StoreError, match="EDGEFC_CACHE_DIR"):
        calibration.save(path, EXAMPLE)


def test_numbers_of_threads_follow_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for physical, usable, expected in (
        (1, 2, [1, 2]),
        (2, 2, [1, 2]),
        (4, 8, [1, 2, 3, 4]),
        (10, 20, [2, 3, 4, 6, 8, 10]),
        (64, 128, [16, 24, 32, 48, 64]),
        (64, 4, [1, 2, 3, 4]),
        (None, 3, [1, 2, 3]),
    ):
        monkeypatch.setattr(hardware, "usable_cores", lambda usable=usable: usable)
        monkeypatch.setattr(calibration.psutil, "cpu_count", lambda logical, physical=physical: physical)
        default = max(min(physical or 1, usable), min(2, usable))
        monkeypatch.setattr(hardware, "default_threads", lambda default=default: default)
        assert calibration.thread_counts() == expected


class Machine:
    """Replaces llama.cpp and the clock: every batch takes the time it is set to take."""

    can_truncate, n_vocab = True, 1000

    def __init__(self, monkeypatch: pytest.MonkeyPatch, milliseconds: Callable[[int, int, int], float]) -> None:
        self.now, self.batches, self.length, self.threads = 0.0, 0, 0, 0
        self.milliseconds, self.left, self.attention = milliseconds, 8.0, 0.0
        monkeypatch.setattr(calibration.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(calibration, "thread_counts", lambda: [1, 2, 4, 8])
        monkeypatch.setattr(calibration.BackgroundLoad, "cores_left", lambda _: self.left)

    def set_threads(self, n_threads: int, n_threads_batch: int) -> None:
        assert n_threads == n_threads_batch
        self.threads = n_threads

    def decode(self, parts: list[Rows], min_rows: int) -> int:
        (part,) = parts
        assert min_rows == 1
        assert part.position == self.length, "as llama.cpp requires"
        self.batches += 1
        self.length += len(part.tokens)
        rows = len(part.tokens)
        self.now += (self.milliseconds(self.threads, rows, self.batches) + rows * part.position * self.attention) / 1000
        return 0

    def truncate(self, sequence: int, length: int = 0) -> bool:
        assert sequence == 0
        self.length = min(self.length, length)
        return True


def cost(threads: int, rows: int, _: int) -> float:
    """Decoding is fastest with 2 threads, prefill with 8; four rows cost less than three."""
    if rows > 63:
        return 800.0 / max(threads, 1)
    return ({1: 50.0, 2: 40.0, 4: 41.0, 8: 60.0}.get(threads, 45.0)) * (1.0 if rows == 4 else 1 + rows / 20)


def test_threads_and_costs_are_what_the_machine_does(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    found = calibration._Benchmark(Machine(monkeypatch, cost)).run(shares.append)  # type: ignore[arg-type]
    assert found is not None
    assert (found.n_threads, found.n_threads_batch) == (2, 8)
    by_rows = found.costs.by_rows
    assert by_rows.keys() == set(MEASURED_ROWS)
    assert by_rows[1] == 42.0
    assert by_rows[4] == 40.0 < by_rows[3]
    assert by_rows[63] == round(40 * (1 + 63 / 20), 3)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_cost_of_attention_is_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, cost)
    machine.attention = 0.01
    found = calibration._Benchmark(machine).run(lambda _: None)  # type: ignore[arg-type]
    assert found is not None
    assert found.costs.per_token == pytest.approx(0.01)
    assert found.costs.by_rows[4] == 40.0
    assert found.costs.by_rows[63] == round(40 * (1 + 63 / 20), 3)


def test_a_memory_that_cannot_be_truncated_is_measured_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, cost)
    machine.can_truncate = False
    found = calibration._Benchmark(machine).run(lambda _: None)  # type: ignore[arg-type]
    assert found is not None
    assert found.costs.by_rows[1] < found.costs.by_rows[2]


def test_a_machine_that_is_busy_is_not_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = Machine(monkeypatch, cost)
    steady.left = 4.0
    assert calibration._Benchmark(steady).run(lambda _: None) is None  # type: ignore[arg-type]
    disturbed = Machine(monkeypatch, lambda threads, rows, number: cost(threads, rows, 0) * (1 + 5 * (number % 3 > 0)))
    assert calibration._Benchmark(disturbed).run(lambda _: None) is None  # type: ignore[arg-type]


def test_a_real_model_is_measured_with_its_adapters(demo_path: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    file = write_adapter(demo_path, tmp_path / "a.gguf")
    adapters = read_adapters(loras_of(file), gguf.read_model(demo_path))
    found = calibration.measure(demo_path, shares.append, adapters)
    assert shares[-1] == 1.0
    if found is None:
        pytest.skip("other programs keep this machine busy")
    assert found.costs.by_rows.keys() == set(MEASURED_ROWS)
    assert 1 <= found.n_threads <= hardware.usable_cores()
    assert 1 <= found.n_threads_batch <= hardware.usable_cores()
    calibration.save(demo_path, found, adapters)
    assert calibration.load(demo_path, adapters) == found


def test_a_file_that_is_not_a_model_is_refused(path: Path) -> None:
    with pytest.raises(ModelFileError):
        calibration.measure(path)

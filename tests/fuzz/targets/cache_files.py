"""Small files of the cache folder: calibrations, costs, dialects, speeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutation import Mutator, as_bytes
from tests.fuzz.targets import BaseTarget, Case
from tests.fuzz.targets.manifest import put

KEY = "THE KEY OF THE MODEL"
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 63)
CALIBRATION = {"model": "demo-q8_0.gguf", "measured": "2026-11-28T12:00:00+00:00", "n_threads": 2, "n_threads_batch": 2,
               "costs": {str(rows): 1.0 + rows for rows in ROWS}, "per_token": 0.001}  # fmt: skip
DIALECT = {"family": "hermes", "declared": 0.0, "any_call": 1.0, "call": -0.5, "auroc": 0.9}
SPEED = {"name": "demo", "size": 7_000_000, "prefill": 1000.0, "decode": 100.0, "measured": "2026-11-28T12:00:00+00:00"}
SOUND: dict[str, Any] = {
    "calibration.json": {"format": 3, "models": {KEY: CALIBRATION}},
    "row_costs.json": {"format": 1, "models": {KEY: {"model": "demo", "costs": dict.fromkeys("1248", 2.5)}}},
    "dialects.json": {"format": 1, "models": {KEY: DIALECT}},
    "speed.json": [SPEED],
}
PLACES = ("folder", "pipe", "link", "device", "loop")


class CacheFiles(BaseTarget):
    """Cases are {"file": its name, "text": …, "place": what stands in its place}."""

    def make(self, rng: Random, seeds: Sequence[Case]) -> Case:
        mutator = Mutator(rng)
        name = rng.choice(list(SOUND))
        value = SOUND[name]
        for _ in range(rng.choice((1, 1, 2, 4))):
            value = mutator.change_json(value, list(SOUND.values()))
        return {
            "file": name,
            "text": mutator.write_json(value),
            "place": rng.choice(PLACES) if mutator.chance(0.05) else "file",
        }

    def start(self, folder: Path) -> None:
        from edgefc.chat import dialect
        from edgefc.engine import calibration, row_costs
        from edgefc.engine.identity import model_identity
        from edgefc.hardware import Machine
        from edgefc.models import recommend, speeds

        self._machine = Machine(2, 8 << 30, "", 0)
        self._folder = folder / "cache"
        self._calibration, self._dialect, self._speeds, self._recommend = calibration, dialect, speeds, recommend
        self._row_costs = row_costs
        self._keys = {
            "calibration.json": calibration.machine_key(self.model),
            "row_costs.json": row_costs.machine_key(self.model, 1),
            "dialects.json": model_identity([self.model]),
        }

    def run(self, case: Case) -> str:
        path = self._folder / case["file"]
        put(path, as_bytes(case["text"].replace(KEY, self._keys.get(case["file"], ""))), case["place"])
        try:
            return "used" if self._read(case["file"]) else "ignored"
        finally:
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    def _read(self, name: str) -> Any:
        if name == "calibration.json":
            return self._calibration.load(self.model)
        if name == "row_costs.json":
            return self._row_costs.stored(self.model, 1)
        if name == "dialects.json":
            found = self._dialect.stored(self.model)
            return found and found.describe()
        self._recommend.suggest_models(self._machine)
        return self._speeds.load()


TARGET = CacheFiles

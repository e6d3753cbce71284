"""Stores measured speeds of models on this machine in the cache folder, for `edgefc recommend`."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

from edgefc import files, paths

MAX_FILE = 1 << 20  # bytes
MAX_SIZE, MAX_SPEED = 1 << 50, 1e9


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second of a single request: prefill of its prompt, and decode without a grammar."""

    name: str
    size: int  # of the file, in bytes
    prefill: float
    decode: float
    measured: str  # time of the measurement: UTC, ISO 8601


def record(name: str, size: int, *, prefill: float, decode: float) -> Speed:
    """Save a model's speed in place of an earlier one."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    speed = Speed(name, size, prefill, decode, now)
    entries = [*(other for other in load() if other.name != name), speed]
    paths.cache_dir().mkdir(parents=True, exist_ok=True)
    files.write_file(_speeds_path(), json.dumps([dataclasses.asdict(entry) for entry in entries]).encode())
    return speed


def load() -> list[Speed]:
    """Read the saved speeds; empty when there are none or the file is unreadable."""
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        speeds = [Speed(**entry) for entry in json.loads(files.read_small(_speeds_path(), MAX_FILE))]
        return [speed for speed in speeds if _is_plausible(speed)]
    return []


def _is_plausible(speed: Speed) -> bool:
    """Return True if every field has its type and a number that can be."""
    return (
        isinstance(speed.name, str)
        and isinstance(speed.measured, str)
        and type(speed.size) is int
        and 0 < speed.size <= MAX_SIZE
        and all(isinstance(value, int | float) and 0 < value <= MAX_SPEED for value in (speed.prefill, speed.decode))
    )


def _speeds_path() -> Path:
    return paths.cache_dir() / "speed.json"

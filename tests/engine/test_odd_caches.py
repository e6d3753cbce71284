"""Small files in the cache folder that are odd in any way are as good as none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgefc.chat import dialect
from edgefc.engine import calibration
from edgefc.models import speeds

SPEED = {"name": "demo", "size": 5, "prefill": 1.0, "decode": 2.0, "measured": "2026"}
ODD = [
    b"", b"[" * 100_000, b"{}", b"null", b"5", b'"x"', b"\xff", b" " * (8 << 20),
    *[json.dumps([SPEED | change]).encode() for change in (
        {"name": 5}, {"size": "5"}, {"size": True}, {"size": -1}, {"prefill": None}, {"decode": float("nan")}, {"decode": 0},
        {"measured": []}, {"more": 1}, {"size": 10**400}, {"decode": 1e300},
    )],
]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEFC_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_odd_files_are_left_out(folder: Path, demo_path: Path) -> None:
    for content in ODD:
        for name in ("speed.json", "calibration.json", "dialects.json"):
            (folder / name).write_bytes(content)
        assert dialect.stored(demo_path) is None
        assert speeds.load() == []
        assert calibration.load(demo_path) is None
    (folder / "speed.json").write_text(json.dumps([SPEED]))
    assert [speed.decode for speed in speeds.load()] == [2.0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_and_devices_do_not_block(folder: Path, demo_path: Path) -> None:
    os.mkfifo(folder / "speed.json")
    (folder / "calibration.json").symlink_to("/dev/zero")
    os.mkfifo(folder / "dialects.json")
    assert dialect.stored(demo_path) is None
    assert speeds.load() == []
    assert calibration.load(demo_path) is None
    assert speeds.record("demo", 5, prefill=1.0, decode=2.0) in speeds.load(), "replaced by a file"

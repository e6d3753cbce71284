"""Servers for the tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RAW_SERVER = Path(__file__).with_name("raw_server.py")
PATIENCE_S = 300.0  # no test waits that long, however slow the machine is


@pytest.fixture
def raw() -> Callable[..., dict[str, Any]]:
    """Return a function that configures `raw_server.py` with a mode and other keys."""

    def configure(mode: str = "normal", *arguments: str, **keys: Any) -> dict[str, Any]:
        return {
            "command": sys.executable,
            "args": ["-I", "-S", str(RAW_SERVER), mode, *arguments],
            "timeout": PATIENCE_S,
            **keys,
        }

    return configure

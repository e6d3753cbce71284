"""Ctrl-C during an import: raised after it, so that no import lock stays held."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefc.terminal import interrupts
from edgefc.terminal.interrupts import python_handler, raise_outside_imports, spare_imports

MODULE = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
time.sleep(0.1)
is_whole = True
"""
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from edgefc.terminal import interrupts
interrupts.spare_imports()
try:
    import interrupted
    signal.pause()
except KeyboardInterrupt:
    import sys
    print("raised", sys.modules["interrupted"].is_whole)
"""


def test_an_interrupted_import_is_completed_first(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(MODULE)
    root = str(Path(interrupts.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": f"{tmp_path}:{root}"}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "raised True\n"


@pytest.fixture
def own_handler() -> Iterator[object]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    spare_imports()
    yield raise_outside_imports
    signal.signal(signal.SIGINT, before)


def test_outside_of_imports_it_is_raised_at_once(own_handler: object) -> None:
    assert signal.getsignal(signal.SIGINT) is own_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_asyncio_finds_the_handler_of_python(own_handler: object) -> None:
    with python_handler():
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is own_handler


def test_the_handlers_of_others_stay(own_handler: object) -> None:
    with python_handler():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    spare_imports()
    with python_handler():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert own_handler is not signal.SIG_IGN

"""Ctrl-C in a program of edgefc's: imports are not interrupted.

Python runs callbacks during an import, where a KeyboardInterrupt is lost, or leaves the import locks held: every later
import waits for ever. So it is raised after the import.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

RETRY_S = 0.02
_IMPORT_SYSTEM = "<frozen importlib._bootstrap>"


def spare_imports() -> None:
    """Install `raise_outside_imports` in place of Python's own handler, if that is installed."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, raise_outside_imports)


def raise_outside_imports(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; during an import, as soon as it is done."""
    outer = frame
    while outer is not None:
        if outer.f_code.co_filename == _IMPORT_SYSTEM:
            _thread.start_new_thread(_interrupt_again, ())  # takes no lock of Python's, which may be held here
            return
        outer = outer.f_back
    signal.default_int_handler(number, frame)


def _interrupt_again() -> None:
    time.sleep(RETRY_S)
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)  # ends its system call, too
    else:
        _thread.interrupt_main()


@contextlib.contextmanager
def python_handler() -> Iterator[None]:
    """Have Python's own handler: only in place of that one, asyncio cancels what runs on Ctrl-C."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not raise_outside_imports:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        spare_imports()

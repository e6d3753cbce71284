"""Return freed memory to the operating system."""

from __future__ import annotations

import asyncio
import ctypes
import sys

INTERVAL_S = 30.0


async def trim_periodically(interval: float = INTERVAL_S) -> None:
    """Call glibc's malloc_trim every `interval` seconds; return at once on systems without it.

    glibc keeps freed blocks that lie between blocks in use. Thousands of answers in many threads leave more and more of
    them, and the process seems to grow without end although nothing leaks.
    """
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim if sys.platform == "linux" else None
    except AttributeError:
        malloc_trim = None
    while malloc_trim is not None:
        await asyncio.sleep(interval)
        await asyncio.to_thread(malloc_trim, 0)

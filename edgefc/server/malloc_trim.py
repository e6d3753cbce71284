"""Gives the system back what memory nobody uses."""

from __future__ import annotations

import asyncio
import ctypes
import sys

EVERY = 30.0  # seconds


async def give_back(every: float = EVERY) -> None:
    """Do it again and again; ends at once where there is no glibc.

    glibc keeps what is freed between things that stay. Thousands of answers of many threads leave more and more of
    that, and the process seems to grow without end though nothing is lost.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim if sys.platform == "linux" else None
    except AttributeError:
        trim = None
    while trim is not None:
        await asyncio.sleep(every)
        await asyncio.to_thread(trim, 0)

"""Freed memory returns to the operating system."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import psutil
import pytest

from edgefc.server.malloc_trim import trim_periodically


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_memory_freed_between_blocks_in_use_is_returned() -> None:
    memory = psutil.Process().memory_info
    blocks = [bytes(4096) for _ in range(40_000)]  # about 160 MB, from malloc, not from Python's allocator
    in_use = blocks[::64]
    blocks.clear()
    before = memory().rss

    async def trim_briefly() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(trim_periodically(interval=0.01), 1)

    asyncio.run(trim_briefly())
    assert memory().rss < before - (50 << 20), "no memory was returned"
    assert len(in_use) == 625

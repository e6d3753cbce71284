"""What the server does not need it gives back."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import psutil
import pytest

from edgefc.server.malloc_trim import trim_periodically


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_memory_freed_between_what_stays_is_given_back() -> None:
    memory = psutil.Process().memory_info
    blocks = [bytes(4096) for _ in range(40_000)]  # about 160 MB, of malloc's and not Python's own
    stays = blocks[::64]
    blocks.clear()
    before = memory().rss

    async def for_a_moment() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(trim_periodically(interval=0.01), 1)

    asyncio.run(for_a_moment())
    assert memory().rss < before - (50 << 20), "was it kept at all?"
    assert len(stays) == 625

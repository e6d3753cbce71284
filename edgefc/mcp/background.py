"""The event loop of all connections, in a thread of its own, for as long as the process runs."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="edgefc-mcp", daemon=True).start()
    return loop


def wait_for(coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
    """Run a coroutine in the loop while the caller's thread waits. Raises what it raises, and TimeoutError.

    Ctrl-C interrupts the wait and cancels the coroutine.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return future.result(timeout)
    except BaseException:
        future.cancel()
        raise


async def await_in_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the loop, awaited in any other event loop; cancelling the caller cancels it."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, _loop()))

"""An event loop in a thread of its own, for asynchronous tools of callers that are not asynchronous.

All these tools share one loop for as long as the process runs: connections that one call opens belong to the loop, and
the next call finds them usable.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any

from edgefc.limits import MAX_TOOL_ITEMS
from edgefc.tools.thread import LimitError


@dataclass(frozen=True, slots=True)
class _Failure:
    """An exception as a value: asyncio would end its loop at some of those that a tool may raise."""

    error: BaseException


async def settle(result: Any) -> Any:
    """Await a tool's result, or collect the items of an asynchronous generator; return any other result as it is."""
    if isinstance(result, Awaitable):
        return await settle(await result)
    if isinstance(result, AsyncIterator):
        items: list[Any] = []
        async for item in result:
            items.append(item)
            if len(items) > MAX_TOOL_ITEMS:
                raise ValueError(f"the tool yields more than {MAX_TOOL_ITEMS:,} items")
        return items
    return result


def wait_for(result: Any, timeout: float | None) -> Any:
    """Settle a result in the loop of the asynchronous tools; the caller's thread waits.

    Raises what the tool raises, and LimitError after `timeout` seconds. Ctrl-C interrupts the wait, and the tool.
    """
    running, loop = _Running(result), _loop()
    try:
        loop.call_soon_threadsafe(running.start)
        if not running.done.wait(timeout):
            raise LimitError
    except BaseException:
        loop.call_soon_threadsafe(running.cancel)
        raise
    if isinstance(running.outcome, _Failure):
        raise running.outcome.error
    return running.outcome


class _Running:
    """A result that is being settled. `start` and `cancel` belong to the event loop's thread."""

    def __init__(self, result: Any) -> None:
        self._result, self._context = result, contextvars.copy_context()
        self._task: asyncio.Task[None] | None = None
        self.outcome: Any = None
        self.done = threading.Event()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._settle(), context=self._context)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _settle(self) -> None:
        try:
            self.outcome = await settle(self._result)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self.outcome = _Failure(error)
        finally:
            self.done.set()


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="edgefc-async-tools", daemon=True).start()
    return loop

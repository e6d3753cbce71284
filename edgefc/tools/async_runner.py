"""Running the calls of an asyncio task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from edgefc.tools import event_loop
from edgefc.tools.python import PythonTool
from edgefc.tools.run import WrongArgumentsError, call, describe_error, error_text, no_result, text_of
from edgefc.tools.thread import CallThread


class AsyncRunner:
    """Runs the calls of one asyncio task: asynchronous tools in its event loop, the others in one thread."""

    def __init__(self) -> None:
        self._thread: CallThread | None = None

    async def run(self, runner: PythonTool, arguments: str | Mapping[str, Any]) -> str:
        """Run a call as `run_tool` does; the event loop goes on meanwhile. Cancelling the task cancels the call."""
        try:
            async with asyncio.timeout(runner.timeout) as limit:
                function = partial(call, runner, arguments)
                result = function() if runner.is_async else await self._in_thread(function)
                return text_of(await event_loop.settle(result))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return error_text(describe_error(error))
        except TimeoutError as error:
            return no_result(runner) if limit.expired() else error_text(describe_error(error))
        except WrongArgumentsError as error:
            return error_text(str(error))
        except BaseException as error:  # noqa: BLE001 - as in `run_tool`
            return error_text(describe_error(error))

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        thread = self._thread = self._thread or CallThread()
        started = thread.start(function, on_done=lambda: _notify(loop, done))
        try:
            await done.wait()
        except BaseException:
            self._thread = None
            thread.stop()
            raise
        if started.error is not None:
            raise started.error
        return started.result


def _notify(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(event.set)
    except RuntimeError:  # the loop was closed: nobody waits any more
        return

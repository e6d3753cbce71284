"""Running a call. Whatever the function does costs this call an error result, and nothing more."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import itertools
import json
import re
import signal
import threading
from collections.abc import Callable, Iterator, KeysView, Mapping, ValuesView
from functools import partial
from types import FrameType
from typing import Any, Self

from edgefc.limits import MAX_TOOL_RESULT
from edgefc.tools import event_loop
from edgefc.tools.python import PythonTool
from edgefc.tools.thread import CallThread, call_with_timeout

LONGEST_REASON = 1000  # characters of an exception's text
_ADDRESS = re.compile(r"<.* at 0x[0-9a-fA-F]+>\Z", re.DOTALL)


def run_tool(runner: PythonTool, arguments: str | Mapping[str, Any]) -> str:
    """Run a call, its arguments given as JSON text or as an object, and return the result as text for the model.

    Asynchronous tools run in an event loop in another thread. The items of a generator become a list. Wrong arguments,
    any exception, a result that is not JSON or too long, and a call that exceeds the tool's `timeout` become
    `{"error": …}`: the model can read it and try something else. Only Ctrl-C reaches the caller.
    """
    if runner.timeout is not None and not runner.is_async:
        try:
            return call_with_timeout(lambda: _run(runner, arguments), runner.timeout)
        except TimeoutError:
            return _no_result(runner)
    with _Interrupts() as interrupts:
        return _run(runner, arguments, interrupts)


class AsyncRunner:
    """Runs the calls of one asyncio task: asynchronous tools in its event loop, the others in one thread."""

    def __init__(self) -> None:
        self._thread: CallThread | None = None

    async def run(self, runner: PythonTool, arguments: str | Mapping[str, Any]) -> str:
        """Run a call as `run_tool` does; the event loop goes on meanwhile. Cancelling the task cancels the call."""
        try:
            async with asyncio.timeout(runner.timeout) as limit:
                call = partial(_call, runner, arguments)
                result = call() if runner.is_async else await self._in_thread(call)
                return _text_of(await event_loop.settle(result))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return _error(_describe(error))
        except TimeoutError as error:
            return _no_result(runner) if limit.expired() else _error(_describe(error))
        except _WrongArgumentsError as error:
            return _error(str(error))
        except BaseException as error:  # noqa: BLE001 - as in `_run`
            return _error(_describe(error))

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        thread = self._thread = self._thread or CallThread()
        call = thread.start(function, on_done=lambda: _notify(loop, done))
        try:
            await done.wait()
        except BaseException:
            self._thread = None
            thread.stop()
            raise
        if call.error is not None:
            raise call.error
        return call.result


def _notify(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(event.set)
    except RuntimeError:  # the loop was closed: nobody waits any more
        return


class _Interrupts:
    """Tells Ctrl-C from a KeyboardInterrupt that a tool raises. Only the main thread is interrupted by Ctrl-C."""

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGINT)
        self._is_watching = is_main and handler is signal.default_int_handler
        # With another program's handler, any KeyboardInterrupt may come from it; none comes where Ctrl-C is ignored,
        # as in a shell's background.
        self.are_pending = is_main and not self._is_watching and handler not in (signal.SIG_IGN, signal.SIG_DFL)
        if self._is_watching:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_watching:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.are_pending = True
        signal.default_int_handler(number, frame)


class _WrongArgumentsError(Exception):
    """Arguments do not fit the tool's parameters; the text says how."""


def _call(runner: PythonTool, arguments: str | Mapping[str, Any]) -> Any:
    """Call the function; its iterators are read here, in its thread. Raises what it raises, or _WrongArgumentsError."""
    from pydantic import ValidationError

    from edgefc.tools.json_types import describe

    try:
        values = runner.parse(arguments)
    except ValidationError as error:
        raise _WrongArgumentsError(f"wrong arguments: {describe(error)}") from None
    result = runner.function(**values)
    return _items(result) if isinstance(result, Iterator) else result


def _items(iterator: Iterator[Any]) -> list[Any]:
    items = list(itertools.islice(iterator, event_loop.MAX_ITEMS + 1))
    if len(items) > event_loop.MAX_ITEMS:
        raise ValueError(f"the tool yields more than {event_loop.MAX_ITEMS:,} items")
    return items


def _run(runner: PythonTool, arguments: str | Mapping[str, Any], interrupts: _Interrupts | None = None) -> str:
    try:
        return _text_of(event_loop.wait_for(_call(runner, arguments), runner.timeout))
    except _WrongArgumentsError as error:
        return _error(str(error))
    except event_loop.LimitError:
        return _no_result(runner)
    except KeyboardInterrupt as error:
        if interrupts is not None and interrupts.are_pending:
            raise
        return _error(_describe(error))
    except BaseException as error:  # noqa: BLE001 - a tool may raise anything, SystemExit too, and the chat must go on
        return _error(_describe(error))


def _text_of(result: Any) -> str:
    """Return a result as text. Raises ValueError or TypeError for one that is not JSON, or too long."""
    text = result if isinstance(result, str) else json.dumps(
        result, ensure_ascii=False, allow_nan=False, default=_jsonable
    )  # fmt: skip
    if len(text) > MAX_TOOL_RESULT:
        raise ValueError(f"the result has {len(text):,} characters; at most {MAX_TOOL_RESULT:,} are accepted")
    return text.encode("utf-8", "replace").decode("utf-8")  # halves of surrogate pairs, as in names of files


def _jsonable(value: Any) -> Any:
    """Convert models, dataclasses, enums, sets and iterators, which json cannot write; others become their text."""
    if callable(dump := getattr(type(value), "model_dump", None)):
        return dump(value, mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("the result contains bytes: return text, for example base64")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Iterator | KeysView | ValuesView):
        return _items(iter(value))
    if hasattr(value, "close") and hasattr(value, "cr_frame"):
        value.close()  # a coroutine; closed, it is not reported as never awaited
    text = str(value)
    if _ADDRESS.match(text):
        kind = type(value).__name__
        raise TypeError(f"the result contains a value of the type {kind}, which is not JSON: return text or numbers")
    return text


def _no_result(runner: PythonTool) -> str:
    return _error(f"no result within {runner.timeout:g} s")


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - its text is a tool's code too
        return type(error).__name__


def _error(reason: str) -> str:
    reason = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…"
    return json.dumps({"error": reason.encode("utf-8", "replace").decode("utf-8")}, ensure_ascii=False)

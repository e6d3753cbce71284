"""Running a call. Whatever the function does costs this call an error result, and nothing more."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import json
import re
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator, KeysView, Mapping, ValuesView
from types import FrameType
from typing import Any, Self

from edgefc.limits import MAX_TOOL_ITEMS, MAX_TOOL_RESULT
from edgefc.terminal.interrupts import raise_outside_imports
from edgefc.tools.python import PythonTool
from edgefc.tools.thread import LimitError, call_with_timeout

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
            return no_result(runner)
    with _Interrupts() as interrupts:
        return _run(runner, arguments, interrupts)


class _Interrupts:
    """Tells Ctrl-C from a KeyboardInterrupt that a tool raises. Only the main thread is interrupted by Ctrl-C."""

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        self._previous = handler = signal.getsignal(signal.SIGINT)
        self._is_watching = is_main and handler in (signal.default_int_handler, raise_outside_imports)
        # With another program's handler, any KeyboardInterrupt may come from it; none comes where Ctrl-C is ignored,
        # as in a shell's background.
        self.are_pending = is_main and not self._is_watching and handler not in (signal.SIG_IGN, signal.SIG_DFL)
        if self._is_watching:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_watching:
            signal.signal(signal.SIGINT, self._previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.are_pending = True
        signal.default_int_handler(number, frame)


class WrongArgumentsError(Exception):
    """Arguments do not fit the tool's parameters; the text says how."""


def call(runner: PythonTool, arguments: str | Mapping[str, Any]) -> Any:
    """Call the function; its iterators are read here, in its thread. Raises what it raises, or WrongArgumentsError."""
    from pydantic import ValidationError

    from edgefc.tools.json_types import describe

    try:
        values = runner.parse(arguments)
    except ValidationError as error:
        raise WrongArgumentsError(f"wrong arguments: {describe(error)}") from None
    result = runner.function(**values)
    return _items(result) if isinstance(result, Iterator) else result


def _items(iterator: Iterator[Any]) -> list[Any]:
    items = list(itertools.islice(iterator, MAX_TOOL_ITEMS + 1))
    if len(items) > MAX_TOOL_ITEMS:
        raise ValueError(f"the tool yields more than {MAX_TOOL_ITEMS:,} items")
    return items


def _run(runner: PythonTool, arguments: str | Mapping[str, Any], interrupts: _Interrupts | None = None) -> str:
    try:
        result = call(runner, arguments)
        if isinstance(result, Awaitable | AsyncIterator):
            from edgefc.tools import event_loop

            result = event_loop.wait_for(result, runner.timeout)
        return text_of(result)
    except WrongArgumentsError as error:
        return error_text(str(error))
    except LimitError:
        return no_result(runner)
    except KeyboardInterrupt as error:
        if interrupts is not None and interrupts.are_pending:
            raise
        return error_text(describe_error(error))
    except BaseException as error:  # noqa: BLE001 - a tool may raise anything, SystemExit too, and the chat must go on
        return error_text(describe_error(error))


def text_of(result: Any) -> str:
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


def no_result(runner: PythonTool) -> str:
    return error_text(f"no result within {runner.timeout:g} s")


def describe_error(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - its text is a tool's code too
        return type(error).__name__


def error_text(reason: str) -> str:
    reason = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…"
    return json.dumps({"error": reason.encode("utf-8", "replace").decode("utf-8")}, ensure_ascii=False)

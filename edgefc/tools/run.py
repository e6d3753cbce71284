"""Running a call. Whatever the function does costs this call an error result, and nothing more."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import signal
import threading
from collections.abc import Mapping
from types import FrameType
from typing import Any, Self

from edgefc.limits import MAX_TOOL_RESULT
from edgefc.tools import signature
from edgefc.tools.python import PythonTool
from edgefc.tools.thread import call_with_timeout

LONGEST_REASON = 1000  # characters of an exception's text


def run_tool(runner: PythonTool, arguments: str | Mapping[str, Any]) -> str:
    """Run a call, its arguments given as JSON text or as an object, and return the result as text for the model.

    Wrong arguments, any exception, a result that is not JSON or too long, and a call that exceeds the tool's `timeout`
    become `{"error": …}`: the model can read it and try something else. Only Ctrl-C reaches the caller.
    """
    if runner.timeout is not None:
        try:
            return call_with_timeout(lambda: _run(runner, arguments), runner.timeout)
        except TimeoutError:
            return _error(f"no result within {runner.timeout:g} s")
    with _Interrupts() as interrupts:
        return _run(runner, arguments, interrupts)


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


def _run(runner: PythonTool, arguments: str | Mapping[str, Any], interrupts: _Interrupts | None = None) -> str:
    import jsonschema

    try:
        values = json.loads(arguments) if isinstance(arguments, str) else arguments
        jsonschema.validate(values, runner.schema["function"]["parameters"])
        result = runner.function(**signature.convert_arguments(runner.function, values))
        return _text_of(result)
    except jsonschema.ValidationError as error:
        return _error(f"wrong arguments: {error.message}")
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
    """Convert dataclasses, enums and sets, which json cannot write; most other objects become their text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("the result contains bytes: return text, for example base64")
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError("the tool is a coroutine function: use asyncio.run inside an ordinary function")
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - its text is a tool's code too
        return type(error).__name__


def _error(reason: str) -> str:
    reason = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…"
    return json.dumps({"error": reason.encode("utf-8", "replace").decode("utf-8")}, ensure_ascii=False)

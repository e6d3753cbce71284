"""Messages to and from a server's process, one JSON text a line.

Not the SDK's own transport, because here a line has a limit, stderr goes to the log, and `guard` ends the server's
processes also after edgefc was killed. Windows has the SDK's, whose job object does the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import mcp_types
from mcp.client.stdio import StdioServerParameters, get_default_environment, stdio_client
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from edgefc.errors import ToolError
from edgefc.mcp.config import ServerConfig
from edgefc.terminal import single_line

log = logging.getLogger("edgefc.mcp")
MAX_MESSAGE = 16 << 20  # bytes
LONGEST_LINE = 1000  # characters of a line of stderr in the log
GUARD = Path(__file__).with_name("guard.py")
LONGEST_REASON = 200  # characters of the reason why a line cannot be read
EXIT_S = 2.0  # for the server, once its stdin is closed
END_S = 5.0  # for the guard to end the server's processes
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ANSWERED = re.compile(rb'"id"\s*:\s*(\d{1,9})[\s,}]')


class Process:
    """One process of a server; `open` yields the streams of a transport of the SDK.

    end_reason  the reason why there are no more messages; "" while the process runs
    """

    def __init__(self, config: ServerConfig, on_end: Callable[[], None]) -> None:
        self._config, self._on_end = config, on_end
        self._last_line = ""  # of stderr
        self._process: asyncio.subprocess.Process | None = None
        self._logging: asyncio.Task[None] | None = None
        self._lifeline: int | None = None
        self._problem = ""
        self.end_reason = ""

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Any]:
        """Start the process and yield its streams. Raises ToolError if there is no such program."""
        if sys.platform == "win32":
            parameters = StdioServerParameters(
                command=str(self._config.command),
                args=list(self._config.args),
                env=dict(self._config.env),
                cwd=self._config.cwd,
            )
            async with stdio_client(parameters) as streams:
                yield streams
            return
        process = self._process = await self._start()
        incoming, read_stream = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write_stream, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
        self._logging = asyncio.create_task(self._log(process))
        reading, writing = self._read(process, incoming), self._write(process, outgoing)
        tasks = [self._logging, asyncio.create_task(reading), asyncio.create_task(writing)]
        try:
            yield read_stream, write_stream
        finally:
            for stream in (read_stream, write_stream, incoming, outgoing):
                stream.close()
            await asyncio.shield(asyncio.ensure_future(self._stop(process, tasks)))

    def kill(self) -> None:
        """End the process and all that it has started; the guard does it."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    async def _start(self) -> asyncio.subprocess.Process:
        command, environment = str(self._config.command), get_default_environment() | dict(self._config.env)
        _check_program(command, self._config.cwd, environment)
        end, self._lifeline = os.pipe()
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(GUARD), str(end), command, *self._config.args,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                env=environment, cwd=self._config.cwd, pass_fds=(end,), start_new_session=True, limit=MAX_MESSAGE,
            )  # fmt: skip
        except BaseException:
            self.kill()
            raise
        finally:
            os.close(end)

    async def _read(self, process: asyncio.subprocess.Process, incoming: Any) -> None:
        assert process.stdout is not None
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            try:
                while line := await process.stdout.readline():
                    if not line.isspace():
                        await incoming.send(self._parse(line))
            except ValueError:  # of readline
                self._problem = f"sent a message of more than {MAX_MESSAGE >> 20} MiB"
        if not self._problem:
            await _exits(process, EXIT_S)
            if self._logging is not None:  # the last of stderr may come later than the end of stdout
                await asyncio.wait([self._logging], timeout=0.2)
        self.end_reason = self._problem or self._exit_reason(process)
        incoming.close()
        self._on_end()

    def _parse(self, line: bytes) -> SessionMessage | Exception:
        try:
            return SessionMessage(mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False))
        except ValidationError as error:
            if mended := _mended(line):
                return mended
            text = single_line(line[:LONGEST_LINE].decode("utf-8", "replace").strip())
            log.warning("%s: a line on stdout that is no message: %s", self._config.name, text)
            return _refusal(line, error) or error

    def _exit_reason(self, process: asyncio.subprocess.Process) -> str:
        if process.returncode is None:
            return "closed its output"
        text = f"ended its process with status {process.returncode}"
        return f"{text}: {self._last_line}" if self._last_line else text

    async def _write(self, process: asyncio.subprocess.Process, outgoing: Any) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError, anyio.ClosedResourceError, anyio.BrokenResourceError):
            async for session_message in outgoing:
                text = session_message.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(f"{text}\n".encode())
                await process.stdin.drain()

    async def _log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        rest = b""
        while chunk := await process.stderr.read(1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._log_line(line)
            rest = rest[: 4 * LONGEST_LINE]
        self._log_line(rest)

    def _log_line(self, line: bytes) -> None:
        text = single_line(line[: 4 * LONGEST_LINE].decode("utf-8", "replace").strip(), limit=LONGEST_LINE)
        if text:
            self._last_line = text[:300]
            log.info("%s: %s", self._config.name, text)

    async def _stop(self, process: asyncio.subprocess.Process, tasks: list[asyncio.Task[None]]) -> None:
        """Close stdin, wait for the process, then let the guard end all its processes."""
        assert process.stdin is not None
        process.stdin.close()
        if not await _exits(process, EXIT_S if self._lifeline is not None else 0.0):
            self.kill()
            if not await _exits(process, END_S):
                log.warning("%s: process %d does not end", self._config.name, process.pid)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        self.kill()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - a survivor may hold the pipes open


def _mended(line: bytes) -> SessionMessage | None:
    """Return a message whose only mistake are halves of surrogate pairs, which JavaScript leaves where it cuts text."""
    if not _SURROGATE.search(line):
        return None
    try:
        text = json.dumps(json.loads(line), ensure_ascii=False).encode("utf-8", "replace")
        return SessionMessage(mcp_types.jsonrpc_message_adapter.validate_json(text, by_name=False))
    except (ValueError, RecursionError):
        return None


def _refusal(line: bytes, error: ValidationError) -> SessionMessage | None:
    """Return an error as the answer to the request that an unreadable line answers, so that nobody waits for it."""
    number = _ANSWERED.search(line[:200]) or _ANSWERED.search(line[-200:])
    if number is None or b'"method"' in line[:200]:
        return None
    reason = f"sent an answer that cannot be read: {single_line(error.errors()[0]['msg'], limit=LONGEST_REASON)}"
    data = mcp_types.ErrorData(code=mcp_types.PARSE_ERROR, message=reason)
    return SessionMessage(mcp_types.JSONRPCError(jsonrpc="2.0", id=int(number[1]), error=data))


def _check_program(command: str, folder: str | None, environment: dict[str, str]) -> None:
    """Raise ToolError if there is no such program."""
    if folder is not None and not Path(folder).is_dir():
        raise ToolError(f"no such folder: {folder}", "Check cwd.")
    # As the system looks it up: below the folder, if it is a path.
    local = str(Path(folder or ".") / command)
    program = local if os.sep in command else shutil.which(command, path=environment.get("PATH"))
    if program is None or not os.access(program, os.X_OK):
        raise ToolError(f"no program {command!r}", "Install it, or give its whole path as command.")


async def _exits(process: asyncio.subprocess.Process, within: float) -> bool:
    """Return True once a process has ended. `Process.wait` would also wait for the end of its pipes."""
    deadline = asyncio.get_running_loop().time() + within
    while process.returncode is None:
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(0.01)
    return True

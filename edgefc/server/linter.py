"""Tools of clients, checked and read in a child process: one request at a time, with a limit, and few that wait."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from edgefc.sandbox.process import ChildError, ChildProcess
from edgefc.server.errors import ApiError
from edgefc.types import OnUnsupported

MAX_SECONDS = 5.0  # of processor time for one request; 256 ordinary tools take 0.3
MAX_MEMORY = 768 << 20
MAX_REQUESTS = 4  # running or waiting
IDLE_S = 60.0  # until an idle process ends


class ToolLinter:
    """Runs `lint_tools` and the like where a hostile schema costs its own request only."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._child = ChildProcess("edgefc.sandbox.tools_child", seconds=MAX_SECONDS, memory=MAX_MEMORY)
        self._turn = asyncio.Lock()
        self._requests = 0
        self._idle_timer: asyncio.TimerHandle | None = None

    async def lint(
        self, tools: list[dict[str, Any]], on_unsupported: OnUnsupported = "refuse", *, with_grammar: bool = False
    ) -> dict[str, Any]:
        """Return the report; `on_unsupported` as in ChatOptions. Cancelling it ends the work. Raises ApiError."""
        question = {"task": "lint", "tools": tools, "on_unsupported": on_unsupported, "grammar": with_grammar}
        return await self._take_turn(question)

    async def read(self, source: str) -> dict[str, Any]:
        """Return the tools in an OpenAPI document or in Python functions, which are not run. Raises ApiError."""
        return _without_error(await self._take_turn({"task": "read", "source": source}), "source")

    async def run(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the result of an example tool. Raises ApiError."""
        return _without_error(await self._take_turn({"task": "run", "name": name, "arguments": arguments}), "name")

    async def _take_turn(self, question: dict[str, Any]) -> dict[str, Any]:
        if self._requests >= MAX_REQUESTS:
            raise ApiError(429, f"{MAX_REQUESTS} checks of tools are running or waiting", code="queue_full")
        self._requests += 1
        try:
            async with asyncio.timeout(self._timeout), self._turn:
                return await self._ask(question)
        except TimeoutError:
            raise ApiError(408, f"the request took more than {self._timeout:.0f} s", code="timeout") from None
        finally:
            self._requests -= 1

    def close(self) -> None:
        """End the process."""
        self._child.close()

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        work = asyncio.ensure_future(asyncio.to_thread(self._child.ask, question))
        try:
            report: dict[str, Any] = await asyncio.shield(work)
        except asyncio.CancelledError:
            self._child.kill()
            with contextlib.suppress(ChildError):
                await work
            raise
        except ChildError as error:
            raise ApiError(400, f"checking these tools {error}", path=("tools",), code="too_expensive") from None
        finally:
            self._idle_timer = asyncio.get_running_loop().call_later(IDLE_S, self._child.close)
        return report


def _without_error(answer: dict[str, Any], field: str) -> dict[str, Any]:
    """Return the child's answer. Raises ApiError, about this field of the request, if it is an error."""
    if "error" not in answer:
        return answer
    reason = f"{answer['error']}\n{answer['hint']}" if answer["hint"] else answer["error"]
    raise ApiError(400, reason, path=(field,))

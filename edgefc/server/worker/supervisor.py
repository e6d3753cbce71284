"""The models in a child process: a crash costs its running requests an error, and the process is restarted.

The child runs `edgefc.server.worker.child`: it reads its configuration from stdin, prints its port to stdout, and ends
when stdin closes, so that it never outlives the parent. It prints a heartbeat, too: a process that hangs, or whose
engine has stopped, is killed and restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgefc.errors import ModelLoadError
from edgefc.server.errors import ApiError
from edgefc.server.run import GRACE_S
from edgefc.server.settings import Settings

log = logging.getLogger("edgefc.server")
FIRST_RETRY_S, MAX_RETRY_S = 0.5, 30.0  # delay before a model that failed to load is tried again
SILENCE_S = 3.0  # without a heartbeat, until the process counts as not responding
MAX_SILENCES = 4  # in a row, until it is killed; loading holds the interpreter for longer
MAX_SILENCES_LOADING = 20
EXIT_TIMEOUT_S = 1.0  # between the end of a process's connections and its own


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A running worker: its port on this machine, the API key that it accepts, and its default model."""

    port: int
    key: str
    family: str
    n_ctx: int


class WorkerSupervisor:
    """Keeps a worker process running from `start` to `close`."""

    def __init__(
        self,
        names: list[str],
        options: dict[str, Any],
        settings: Settings,
        memory: int | None,
        keep_alive: float | None = None,
    ) -> None:
        self._key = secrets.token_urlsafe(32)
        # Only this process can reach the worker, and it has checked the client. At shutdown the worker cancels at once.
        inner = replace(
            settings, host="127.0.0.1", port=0, api_keys=(self._key,), allowed_hosts=(), allowed_origins=(), drain=0.0
        )
        config = {"names": names, "options": options, "settings": asdict(inner), "memory": memory,
                  "keep_alive": keep_alive}  # fmt: skip
        self._config = json.dumps(config).encode() + b"\n"
        self._restart_timeout = settings.timeout
        self._process: asyncio.subprocess.Process | None = None
        self._info: asyncio.Future[WorkerInfo]  # set in `start`, which has a running loop
        self._watcher: asyncio.Task[None] | None = None
        self._follower: asyncio.Task[None] | None = None
        self.problem = ""  # the reason why the process answers no requests, as its heartbeat tells
        self.stopping = False
        self.restarts = 0

    async def start(self) -> WorkerInfo:
        """Start the process and keep it running. Raises ModelLoadError if it cannot load its model."""
        self._info = asyncio.get_running_loop().create_future()
        self._info.set_result(await self._launch())
        self._watcher = asyncio.create_task(self._watch())
        return self._info.result()

    @property
    def is_ready(self) -> bool:
        return self._info.done()

    async def info(self) -> WorkerInfo:
        """Return the running worker, after a restart if need be. Raises ApiError if it takes too long or shuts down."""
        if self.stopping:
            raise ApiError(503, "the server is shutting down", code="stopping")
        try:
            return await asyncio.wait_for(asyncio.shield(self._info), self._restart_timeout)
        except TimeoutError:
            reason = "the model's process does not restart; see the server's log"
            raise ApiError(503, reason, code="loading") from None

    async def wait_for_exit(self) -> None:
        """Wait briefly for the end of a process that broke off a connection: later requests then wait for the next."""
        if self._process is not None and self.is_ready and not self.stopping:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), EXIT_TIMEOUT_S)

    def stop(self) -> None:
        """Tell the process to cancel its requests and end."""
        self.stopping = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def close(self) -> None:
        """Stop the process, wait for its end, and kill it if it takes too long."""
        self.stop()
        for task in (self._watcher, self._follower):
            if task is not None:
                task.cancel()
        if self._process is not None and self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), GRACE_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def _launch(self) -> WorkerInfo:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "edgefc.server.worker.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is handled by this process alone
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(self._config)
        messages = _messages(process.stdout)
        silences = 0
        async for message in messages:
            silences = silences + 1 if message is None else 0
            if silences == MAX_SILENCES_LOADING:
                process.kill()
                await process.wait()
                raise ModelLoadError(f"the model's process hung for {silences * SILENCE_S:.0f} s while it was loading")
            if message and "error" in message:
                await process.wait()
                raise ModelLoadError(message["error"], message["hint"])
            if message and "port" in message:
                self.problem = ""
                self._follower = asyncio.create_task(self._follow(process, messages))
                return WorkerInfo(key=self._key, **message)
        exit_text = _describe_exit(await process.wait())
        raise ModelLoadError(f"the model's process {exit_text} while it was loading")

    async def _follow(
        self, process: asyncio.subprocess.Process, messages: AsyncIterator[dict[str, Any] | None]
    ) -> None:
        """Read the heartbeat of a process, and kill it when it stops or reports a problem twice."""
        bad = 0
        async for message in messages:
            problem = "it does not respond" if message is None else message["problem"]
            bad = bad + 1 if problem else 0
            self.problem = f"the model's process is about to be restarted: {problem}" if problem else ""
            if bad == (MAX_SILENCES if message is None else 2):
                log.error("the model's process is killed: %s", problem)
                process.kill()
                return

    async def _watch(self) -> None:
        while True:
            assert self._process is not None
            code = await self._process.wait()
            if self.stopping:
                return
            self._info = asyncio.get_running_loop().create_future()
            log.error("the model's process %s; restarting it", _describe_exit(code))
            delay = FIRST_RETRY_S
            while error := await self._restart():
                log.error("%s", error)
                await asyncio.sleep(delay)
                delay = min(2 * delay, MAX_RETRY_S)

    async def _restart(self) -> ModelLoadError | None:
        """Start the process again; return the error if it cannot load its model."""
        try:
            info = await self._launch()
        except ModelLoadError as error:
            return error
        self.restarts += 1
        self._info.set_result(info)
        return None


async def _messages(stream: asyncio.StreamReader) -> AsyncIterator[dict[str, Any] | None]:
    """Yield the messages of a process until it ends, and None after each SILENCE_S without one."""
    while True:
        try:
            line = await asyncio.wait_for(stream.readline(), SILENCE_S)
        except TimeoutError:
            yield None
            continue
        except ValueError:  # no end of line within 64 KB: some library prints
            continue
        if not line:
            return
        with contextlib.suppress(ValueError):
            if isinstance(message := json.loads(line), dict):
                yield message


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"

"""The model in a process of its own: what kills it costs its requests an error, and it is started again.

The process runs `edgefc.server.worker.child`: it reads its settings from stdin, prints its address to stdout, and
ends when stdin closes, so that it never outlives this process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import signal
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgefc.errors import ModelLoadError
from edgefc.server.errors import ApiError
from edgefc.server.run import GRACE
from edgefc.server.settings import Settings

log = logging.getLogger("edgefc.server")
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # before a model that cannot be loaded is tried again


@dataclass(frozen=True, slots=True)
class Address:
    """Where the process listens, what it wants to be told there, and what it serves."""

    port: int
    key: str
    family: str
    n_ctx: int


class Worker:
    """The process, kept running from `start` to `end`."""

    def __init__(self, names: list[str], options: dict[str, Any], settings: Settings, memory: int | None) -> None:
        self._key = secrets.token_urlsafe(32)
        # Only this process reaches it, and has checked who asks; it ends at once what still runs when it is told to.
        inner = replace(
            settings, host="127.0.0.1", port=0, api_keys=(self._key,), allowed_hosts=(), allowed_origins=(), drain=0.0
        )
        asked = {"names": names, "options": options, "settings": asdict(inner), "memory": memory}
        self._asked = json.dumps(asked).encode() + b"\n"
        self._patience = settings.timeout
        self._process: asyncio.subprocess.Process | None = None
        self._address: asyncio.Future[Address]
        self._keeping: asyncio.Task[None] | None = None
        self.stopping = False
        self.restarts = 0

    async def start(self) -> Address:
        """Start it, and keep it running. Raises ModelLoadError when it cannot load its model."""
        self._address = asyncio.get_running_loop().create_future()
        self._address.set_result(await self._begin())
        self._keeping = asyncio.create_task(self._keep())
        return self._address.result()

    @property
    def is_ready(self) -> bool:
        return self._address.done()

    async def address(self) -> Address:
        """Waits while it is started again. Raises ApiError when that takes too long, or the server is to stop."""
        if self.stopping:
            raise ApiError(503, "the server is stopping", code="stopping")
        try:
            return await asyncio.wait_for(asyncio.shield(self._address), self._patience)
        except TimeoutError:
            raise ApiError(503, "the model's process does not start again; see the log", code="loading") from None

    def stop(self) -> None:
        """Have it end what it computes, and itself."""
        self.stopping = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def end(self) -> None:
        """Stop it, and wait until it is gone."""
        self.stop()
        if self._keeping is not None:
            self._keeping.cancel()
        if self._process is not None and self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), GRACE)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def _begin(self) -> Address:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "edgefc.server.worker.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is this process's to answer
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(self._asked)
        told = await process.stdout.readline()
        try:
            said = json.loads(told)
        except ValueError:
            raise ModelLoadError(f"the model's process {_end(await process.wait())} while it loaded") from None
        if "error" in said:
            await process.wait()
            raise ModelLoadError(said["error"], said["hint"])
        return Address(key=self._key, **said)

    async def _keep(self) -> None:
        while True:
            assert self._process is not None
            code = await self._process.wait()
            if self.stopping:
                return
            self._address = asyncio.get_running_loop().create_future()
            log.error("the model's process %s; it is started again", _end(code))
            wait = FIRST_WAIT_S
            while problem := await self._again():
                log.error("%s", problem)
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_S)

    async def _again(self) -> ModelLoadError | None:
        """Start it again; what keeps it from starting."""
        try:
            address = await self._begin()
        except ModelLoadError as error:
            return error
        self.restarts += 1
        self._address.set_result(address)
        return None


def _end(code: int) -> str:
    """How a process ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"

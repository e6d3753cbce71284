"""The replicas, seen from the process that listens: answers, health and metrics, and their errors as responses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayActorError, RayError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from edgefc.ray.replica import Call, Facts, Head
from edgefc.server.errors import ApiError

log = logging.getLogger("edgefc.server")
STATUS_TIMEOUT_S = 3.0  # until a replica counts as not responding
SPARE_S = 5.0  # a replica ends a request that takes too long by itself
LOST = "replica_lost"
LOST_ERRORS = (RayActorError, TaskCancelledError)
MAX_TRIES = 8  # of a request that is asked again when its replica is lost
FIRST_PAUSE_S, MAX_PAUSE_S = 0.25, 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A replica's answer; `parts` raises ApiError if the replica is lost."""

    head: Head
    parts: AsyncGenerator[bytes, None]


class Replicas:
    """Sends calls to a deployment of `Replica`. It rejects new ones while `stopping`, and cancels all in `stop()`."""

    def __init__(self, handle: DeploymentHandle[Any], timeout: float) -> None:
        """`timeout` is the seconds for the beginning of an answer, including the wait for a replica."""
        self._handle, self._timeout = handle, timeout
        self._running: set[DeploymentResponseGenerator[Any]] = set()
        self.stopping = False

    async def send(self, call: Call, key: str) -> Answer:
        """Send a call to the replica of its key, or where that one is busy or gone to another. Raises ApiError."""
        self._check_open()
        response = self._handle.options(stream=True, session_id=key).remote(call)
        items = self._items(response)
        try:
            head = await asyncio.wait_for(anext(items), self._timeout + SPARE_S)
        except TimeoutError:
            raise ApiError(503, "no replica has answered in time", code="no_replica") from None
        except BaseException:
            await items.aclose()
            raise
        return Answer(head, items)

    async def facts(self) -> Facts:
        """Return what a replica knows of the model."""
        found: Facts = await self._handle.facts.remote()
        return found

    async def check(self) -> None:
        """Raise ApiError unless a replica can answer."""
        self._check_open()
        problems = await self._ask_all("problem")
        if not problems:
            raise ApiError(503, "no replica responds", code="no_replica")
        if all(problems):
            raise ApiError(503, problems[0], code="engine_stopped")

    async def metrics(self) -> list[tuple[str, bytes]]:
        """Return the id and the metrics of each replica that responds."""
        return await self._ask_all("metrics")

    def stop(self) -> None:
        """Reject new calls, and cancel those that run."""
        self.stopping = True
        for response in list(self._running):
            response.cancel()

    def _check_open(self) -> None:
        if self.stopping:
            raise ApiError(503, "the server is shutting down", code="stopping")

    async def _ask_all(self, method: str) -> list[Any]:
        """Call a method of all replicas, also of busy ones; returns the results of those that respond."""
        results: list[Any] = []
        with contextlib.suppress(TimeoutError, RayError, RayServeException):
            responses = self._handle.broadcast(method)
            results = await responses.results_async(timeout_s=STATUS_TIMEOUT_S, return_exceptions=True)
        return [result for result in results if not isinstance(result, BaseException)]

    async def _items(self, response: DeploymentResponseGenerator[Any]) -> AsyncGenerator[Any, None]:
        is_complete = False
        self._running.add(response)
        try:
            async for item in response:
                yield item
            is_complete = True
        except (RayError, RayServeException) as error:
            is_complete = True
            raise self._api_error(error) from None
        finally:
            self._running.discard(response)
            if not is_complete:
                response.cancel()

    def _api_error(self, error: Exception) -> ApiError:
        if self.stopping:
            return ApiError(503, "the server is shutting down, or the request took too long", code="stopping")
        if isinstance(error, LOST_ERRORS):
            log.error("a replica was lost: %s", str(error).partition("\n")[0])
            return ApiError(503, "the replica that computed this answer was lost; ask again", code=LOST)
        match error:
            case BackPressureError():
                return ApiError(429, "the queue is full: all replicas are busy", code="queue_full")
            case DeploymentUnavailableError():
                return ApiError(503, "no replica could be started; see Ray's log", code="no_replica")
        log.error("request failed", exc_info=error)
        return ApiError(500, "internal server error; see the server's log", code="internal_error")


def pauses() -> Iterator[float]:
    """Yield the seconds to wait before each of MAX_TRIES tries; 0 before the first."""
    yield 0.0
    pause = FIRST_PAUSE_S
    for _ in range(MAX_TRIES - 1):
        yield pause
        pause = min(2 * pause, MAX_PAUSE_S)

"""Answers a file of requests in the format of OpenAI's Batch API, without a network.

A line of the input, and of the output (https://platform.openai.com/docs/guides/batch):

    {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {…}}
    {"id": "…", "custom_id": "1", "response": {"status_code": 200, "request_id": "…", "body": {…}}, "error": null}

The requests go through the server's own application, so each is read, checked and answered as over HTTP. Every line
that is answered is written at once, and never again: a batch that was interrupted goes on where it ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import httpx2
from fastapi import FastAPI

from edgefc.errors import EdgefcError, EngineClosedError, RequestError
from edgefc.server.access_log import ID_HEADERS
from edgefc.server.app import create_app
from edgefc.server.model_pool import ModelPool
from edgefc.server.settings import Settings
from edgefc.terminal import interrupts

URLS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
MAX_LINE = 64 << 20  # bytes
LONGEST_ID = 512  # characters
RESUME_HINT = "The same command with --resume goes on with the batch."
_BASE_URL = "http://127.0.0.1"


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A line of the input."""

    custom_id: str
    url: str
    body: dict[str, Any]


Ask = Callable[[httpx2.AsyncClient, BatchRequest], Awaitable[httpx2.Response]]


@dataclass(slots=True)
class BatchCounts:
    """Requests so far; `earlier` were answered in an earlier run, and `refused` have another status than 200."""

    total: int
    earlier: int = 0
    answered: int = 0
    refused: int = 0
    first_refusal: str = ""


def read_requests(path: Path) -> Iterator[BatchRequest]:
    """Read the requests of a file. Raises RequestError, which names the line, or OSError."""
    seen: set[str] = set()
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), 1):
            if not line.strip():
                continue
            request = _parse(f"{path}, line {number}", line)
            if request.custom_id in seen:
                raise RequestError("custom_id", f"{path}, line {number}: {request.custom_id!r} is not the first")
            seen.add(request.custom_id)
            yield request


def _parse(place: str, line: bytes) -> BatchRequest:
    """Raises RequestError."""
    if len(line) > MAX_LINE:
        raise RequestError((), f"{place}: longer than {MAX_LINE >> 20} MiB")
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError((), f"{place}: not JSON: {error}", "Each line is one JSON object.") from None
    if not isinstance(entry, dict):
        raise RequestError((), f"{place}: not a JSON object")
    custom_id, url, body = entry.get("custom_id"), entry.get("url"), entry.get("body")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= LONGEST_ID:
        raise RequestError("custom_id", f"{place}: must be a text of 1 to {LONGEST_ID} characters")
    if entry.get("method", "POST") != "POST":
        raise RequestError("method", f"{place}: must be POST")
    if url not in URLS:
        raise RequestError("url", f"{place}: must be one of {', '.join(URLS)}, not {url!r}")
    if not isinstance(body, dict):
        raise RequestError("body", f"{place}: must be an object")
    if body.get("stream"):
        raise RequestError("body.stream", f"{place}: a batch has whole answers", "Leave out `stream`.")
    return BatchRequest(custom_id, url, body)


def answered_ids(path: Path) -> set[str]:
    """Read the ids that an earlier run has answered, and cut off a last line that it did not finish.

    Raises RequestError for a file that is not a batch's output, or OSError.
    """
    ids: set[str] = set()
    with path.open("r+b") as file:
        end = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                ids.add(json.loads(line)["custom_id"])
            except (LookupError, TypeError, ValueError, RecursionError):
                raise RequestError(
                    (), f"{path}, line {number}: not an answer of a batch", "Name another file."
                ) from None
            end += len(line)
        file.truncate(end)
    return ids


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A file of requests, the file of its answers, and what that answers already."""

    source: Path
    target: Path
    done: frozenset[str]
    counts: BatchCounts


def plan_batch(source: Path, target: Path, *, resume: bool = False) -> BatchPlan:
    """Check all requests of a file, and what its answers have.

    resume  leave out what `target` answers already

    Raises RequestError, which names file and line, or OSError.
    """
    ids = {request.custom_id for request in read_requests(source)}
    done: set[str] = set()
    if target.exists():
        if not resume:
            raise RequestError(
                "out", f"{target} exists", "--resume goes on with it; to begin anew, name another file or delete it."
            )
        done = answered_ids(target)
        if foreign := done - ids:
            raise RequestError("out", f"{target} has the answer to {min(foreign)!r}, which {source} does not ask")
    return BatchPlan(source, target, frozenset(done), BatchCounts(len(ids), earlier=len(done)))


def run_batch(
    models: ModelPool, plan: BatchPlan, settings: Settings, progress: Callable[[BatchCounts], None] = lambda _: None
) -> BatchCounts:
    """Answer the requests of a plan, `settings.parallel` at a time; returns their numbers.

    Raises OSError, or EngineClosedError when the engine has stopped.
    """
    app = create_app(models, settings)

    async def ask(client: httpx2.AsyncClient, request: BatchRequest) -> httpx2.Response:
        response = await client.post(request.url, json=request.body)
        if response.status_code >= 500 and models.problem:
            raise EngineClosedError(models.problem, RESUME_HINT)
        return response

    return run_batch_with(app, ask, plan, settings.parallel, progress)


def run_batch_with(
    app: FastAPI, ask: Ask, plan: BatchPlan, parallel: int, progress: Callable[[BatchCounts], None] = lambda _: None
) -> BatchCounts:
    """Answer the requests of a plan by an application, `parallel` at a time; returns their numbers.

    ask  sends a request to the application; an EdgefcError of it ends the batch, and the request stays unanswered

    Raises OSError, or what `ask` raises.
    """
    with plan.target.open("ab") as output, interrupts.python_handler():
        asyncio.run(_Batch(app, ask, parallel, output, plan.counts, progress).run(plan))
    return plan.counts


class _Batch:
    """One run of a batch."""

    def __init__(
        self,
        app: FastAPI,
        ask: Ask,
        parallel: int,
        output: BinaryIO,
        counts: BatchCounts,
        progress: Callable[[BatchCounts], None],
    ) -> None:
        self._app, self._ask, self._parallel, self._output = app, ask, parallel, output
        self._counts, self._progress = counts, progress

    async def run(self, plan: BatchPlan) -> None:
        app = self._app
        requests = (request for request in read_requests(plan.source) if request.custom_id not in plan.done)
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url=_BASE_URL, timeout=None) as client,
        ):
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._parallel):
                        group.create_task(self._answer_all(client, requests))
            except* EdgefcError as errors:
                raise errors.exceptions[0] from None
        os.fsync(self._output.fileno())

    async def _answer_all(self, client: httpx2.AsyncClient, requests: Iterator[BatchRequest]) -> None:
        for request in requests:
            self._write(request, await self._ask(client, request))

    def _write(self, request: BatchRequest, response: httpx2.Response) -> None:
        body = response.json()
        answer = {
            "id": f"batch_req_{uuid.uuid4().hex}",
            "custom_id": request.custom_id,
            "response": {
                "status_code": response.status_code,
                "request_id": response.headers.get(ID_HEADERS[0].decode(), ""),
                "body": body,
            },
            "error": None,
        }
        self._output.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
        self._output.flush()
        self._counts.answered += 1
        if response.status_code != 200:
            self._counts.refused += 1
            if not self._counts.first_refusal:
                message = (body.get("error") or {}).get("message", "")
                self._counts.first_refusal = f"{request.custom_id}: {response.status_code} {message}"
        self._progress(self._counts)

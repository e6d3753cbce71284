"""Limits of request bodies: their time, their length, their values, and all of them together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Receive

BODY_TIMEOUT_S = 30.0
# Bodies up to this many times the limit are read to their end: a client that is still sending reads no response.
DRAIN_FACTOR = 4
TOTAL_FACTOR = 8  # all bodies together, in longest bodies
SMALL_BODY = 64 << 10  # bytes; such a body is accepted whatever the others have
MAX_PARSED = 32 << 20  # bytes of a body's values in Python, without its texts
# Bytes in CPython 3.11 with the place in the container: a dict with one key, an empty list, a short text.
_OBJECT, _ARRAY, _VALUE = 240, 64, 58
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class BodyBudget:
    """Counts the bytes of all bodies whose requests are not answered yet."""

    def __init__(self, max_body: int) -> None:
        self.limit, self.total = TOTAL_FACTOR * max_body, 0

    @contextmanager
    def open(self) -> Iterator[Body]:
        """Yield the account of a request; what it has taken is free at the end."""
        body = Body(self)
        try:
            yield body
        finally:
            self.total -= body.size


class Body:
    """The bytes that a request has received."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget, self.size = budget, 0

    def add(self, count: int) -> None:
        """Count bytes. Raises HTTPException if all bodies together have too many."""
        self.size += count
        self._budget.total += count
        if self._budget.total > self._budget.limit and self.size > SMALL_BODY:
            reason = "the bodies of all running requests are too long together"
            raise HTTPException(503, reason, {"Connection": "close", "Retry-After": "1"})


def limit_body(receive: Receive, max_bytes: int, body: Body) -> Receive:
    """Wrap `receive`: the body must arrive within BODY_TIMEOUT_S and have at most `max_bytes`."""
    loop = asyncio.get_running_loop()
    deadline, is_complete = loop.time() + BODY_TIMEOUT_S, False

    async def limited_receive() -> Any:
        nonlocal is_complete
        if is_complete:
            return await receive()
        while True:
            try:
                message = await asyncio.wait_for(receive(), deadline - loop.time())
            except TimeoutError:
                raise HTTPException(408, f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s") from None
            is_complete = message["type"] != "http.request" or not message.get("more_body", False)
            body.add(len(message.get("body", b"")))
            if body.size <= max_bytes:
                return message
            if is_complete or body.size > DRAIN_FACTOR * max_bytes:
                raise HTTPException(413, body_too_long(max_bytes))

    return limited_receive


def body_too_long(max_bytes: int) -> str:
    return f"the body is too long: at most {max_bytes:,} bytes are accepted"


def parsed_size(body: bytes) -> int:
    """Estimate the memory of a JSON body's values, without its texts: 8 MB of `{}` take 200 MB, of `{"a":1}` 260."""
    if (size := _size(body)) <= MAX_PARSED:
        return size
    texts = (body.count(b'"') - body.count(b'\\"')) // 2
    # Most of the characters may stand inside of texts; it takes time to find these if there are many.
    return size if texts * _VALUE > MAX_PARSED else _size(_STRING.sub(b"", body)) + texts * _VALUE


def _size(body: bytes) -> int:
    return _OBJECT * body.count(b"{") + _ARRAY * body.count(b"[") + _VALUE * body.count(b",")

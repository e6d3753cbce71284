"""The open connections of a server: how many there may be, and which ones make room for others.

A connection costs a file descriptor, and a process has few of them. So a full table closes the connections that nobody
waits for, those of clients with many before those of clients with few. What is left are requests in computation, which
the queue bounds. Some places are reserved for health checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import sys
import time
from collections import Counter
from enum import IntEnum
from typing import Any, Protocol

log = logging.getLogger("edgefc.server")
MAX_CONNECTIONS = 512
RESERVE = 16  # beyond the limit, for health checks
BACKLOG = 64  # connections that the kernel queues, and that are accepted before any of them is counted
MIN_DESCRIPTORS = 4096
OTHER_DESCRIPTORS = 128  # files, models, the event loop
# Connections in these stages are closed only if they have been in it for some time.
MIN_AGE_S = 2.0
LOG_INTERVAL_S = 10.0
RETRY_S = 0.5  # less than the second after which asyncio accepts connections again
OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Stage(IntEnum):
    """The state of a connection, in the order in which connections are closed to make room."""

    IDLE = 0  # no request, or an incomplete head
    SENDING = 1  # the body is incomplete
    NOT_READING = 2  # the client does not read the response
    WORKING = 3


class Connection(Protocol):
    """A connection in the table; `since` is the time at which its stage began."""

    since: float

    @property
    def stage(self) -> Stage: ...

    @property
    def address(self) -> str:
        """The client's IP address, or "" for one without."""

    def drop(self) -> None:
        """Close the connection at once."""


class ConnectionTable:
    """Counts connections, in total and for each client on another machine."""

    def __init__(self, limit: int = MAX_CONNECTIONS) -> None:
        self.limit, self.per_client = limit, max(1, limit // 2)
        self._connections: dict[Connection, str] = {}
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def is_full(self) -> bool:
        return len(self) > self.limit

    def add(self, connection: Connection) -> bool:
        """Add a connection, closing others if the table is full. False: there is no room, also not in the reserve."""
        client = client_of(connection.address)
        self._connections[connection] = client
        self._counts[client] += 1
        if client and self._counts[client] > self.per_client and not self._make_room(connection, client):
            return False
        if not self.is_full or self._make_room(connection):
            return True
        return not client and len(self) <= self.limit + RESERVE

    def remove(self, connection: Connection) -> None:
        """Remove a connection that was closed."""
        if (client := self._connections.pop(connection, None)) is not None:
            self._counts[client] -= 1
            if not self._counts[client]:
                del self._counts[client]

    def shrink(self) -> None:
        """Close idle connections, and allow no more than are left: the descriptors are used up."""
        self.limit = max(RESERVE, min(self.limit, len(self) - RESERVE))
        while self.is_full and self._make_room():
            pass

    def _make_room(self, new: Connection | None = None, client: str | None = None) -> bool:
        """Close one connection, of this client or of any; False if all have a reason to stay."""
        now, best = time.monotonic(), None
        for connection, owner in self._connections.items():
            stage = connection.stage
            if connection is new or stage is Stage.WORKING or (client is not None and owner != client):
                continue
            if stage is Stage.IDLE or now - connection.since > MIN_AGE_S:
                rank = (stage, -self._counts[owner], connection.since)
                if best is None or rank < best[0]:
                    best = rank, connection
        if best is None:
            return False
        self.remove(best[1])
        best[1].drop()
        return True


def client_of(address: str) -> str:
    """Return a client's address, of IPv6 the network; "" for this machine."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return client_of(str(parsed.ipv4_mapped))
        return "" if parsed.is_loopback else str(ipaddress.ip_network((parsed, 64), strict=False))
    return "" if parsed.is_loopback else str(parsed)


def affordable_limit() -> int:
    """Return the number of connections that the process has descriptors for, after asking for more of these."""
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < MIN_DESCRIPTORS:
        target = MIN_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MIN_DESCRIPTORS)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
            soft = target
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    # Accepted connections are counted two steps of the event loop later, and closed ones keep theirs for one.
    return max(RESERVE, min(MAX_CONNECTIONS, soft - OTHER_DESCRIPTORS - RESERVE - 4 * BACKLOG))


def handle_accept_errors(loop: asyncio.AbstractEventLoop, table: ConnectionTable) -> None:
    """Shrink the table if the descriptors are used up, and say so now and then.

    asyncio tries again a second later. It reports each connection that waits in the kernel's queue.
    """
    last_shrink = last_line = -LOG_INTERVAL_S

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal last_shrink, last_line
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES):
            loop.default_exception_handler(context)
            return
        if loop.time() - last_shrink >= RETRY_S:
            last_shrink = loop.time()
            table.shrink()
        if loop.time() - last_line >= LOG_INTERVAL_S:
            last_line = loop.time()
            log.error("no connections are accepted for a second: %s", error.strerror)

    loop.set_exception_handler(handle)

"""The ways in which the fake hub misbehaves, and the requests they hit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.models.fake_hub.repository import Data

Server = Literal["hub", "cdn", "other"]


@dataclass
class Request:
    """A request that arrived, and its outcome.

    path    with the query, still percent-encoded
    server  the origin it arrived at
    headers by lower-case name
    status  of the answer, 0 if there was none
    sent    bytes of the body that were handed to the connection
    at      time of arrival, `time.monotonic`
    """

    method: str
    path: str
    server: Server
    port: int
    headers: dict[str, str]
    status: int = 0
    sent: int = 0
    at: float = field(default_factory=time.monotonic)

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass(kw_only=True)
class Fault:
    """A misbehaviour, and the requests it hits. The effects combine; without any the answer is right.

    Which requests (all conditions must hold; of several faults that are due, the first added is used):
    path          a part of the path or query; a file's CDN address contains its name too, so a fault in an LFS file's
                  content needs server="cdn" and method="GET" not to be used up by the redirect or a HEAD before
    method        "GET" or "HEAD"
    server        "hub", "cdn" or "other"
    when          a further test of the request
    nth           the first matching request that is hit, from 1; only that one unless `times` is set
    times         the maximum number of hits; unlimited when neither is set

    The content:
    body          served instead of the right content; ranges count within it
    edit          maps the parsed JSON of an API answer to the JSON that is served instead
    flip          the byte at this offset of the file is inverted (negative: from the end)
    truncate      the file ends after so many bytes, and every header agrees
    ignore_range  the whole body with status 200 for a request with a Range

    The answer:
    status        400 and above: an error with this status; else the status of the right answer is replaced
    retry_after   the Retry-After header
    headers       headers to add or replace; None removes one
    redirect      "loop" (to itself, for ever), "other" (same path at the third origin), else the Location as it is
    html          a web page with status 200, as from a captive portal

    The connection:
    cut_after     closed after so many bytes of the body; -1: without any answer
    reset         a cut is a reset (RST, bytes in flight may be lost) instead of an early end (FIN)
    stall         wait so many seconds
    stall_at      after so many bytes of the body (a cut comes after it); -1: before the answer
    length_off    added to the declared Content-Length
    framing       "length"; "close": no Content-Length, the body ends with the connection; "chunked"
    rate          bytes per second

    then          called when a request is hit, before it is answered, for example to publish another commit
    hits          number of requests hit so far
    """

    path: str = ""
    method: str | None = None
    server: Server | None = None
    when: Callable[[Request], bool] | None = None
    nth: int | None = None
    times: int | None = None

    body: Data | None = None
    edit: Callable[[Any], Any] | None = None
    flip: int | None = None
    truncate: int | None = None
    ignore_range: bool = False

    status: int | None = None
    retry_after: int | str | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    redirect: str | None = None
    html: bool = False

    cut_after: int | None = None
    reset: bool = False
    stall: float = 0.0
    stall_at: int = -1
    length_off: int = 0
    framing: Literal["length", "close", "chunked"] = "length"
    rate: float | None = None

    then: Callable[[], object] | None = None
    hits: int = field(default=0, init=False)
    _matches: int = field(default=0, init=False, repr=False)

    def matches(self, request: Request) -> bool:
        return (
            self.path in request.path
            and self.method in {None, request.method}
            and self.server in {None, request.server}
            and (self.when is None or self.when(request))
        )

    def is_due(self) -> bool:
        """Count a matching request; True if it is one to hit."""
        self._matches += 1
        limit = 1 if self.nth is not None and self.times is None else self.times
        return self._matches >= (self.nth or 1) and (limit is None or self.hits < limit)


NO_FAULT = Fault()

"""Requests over HTTP: to the named host alone, never to an address inside the network unless the user named it.

The name is resolved here, its addresses are checked, and the connection goes to one of them: a name whose address
changes between check and connection gains nothing. Proxies of the environment are not used for the same reason.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import re
import socket
import ssl
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import urljoin

import httpx2

from edgefc._version import __version__
from edgefc.errors import RequestError, ToolError

CONNECT_S = 10.0
MAX_REDIRECTS = 5
MAX_ADDRESSES = 4  # that are tried
MAX_URL = 16_384  # characters
PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Url(NamedTuple):
    """The parts of an address that decide where a request goes; `host` is in lower case and ASCII."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is ready to be sent."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A response with its whole body."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes


class NamedHosts:
    """Hosts that the user has named, with a port or for all ports: they may be inside the network."""

    def __init__(self, hosts: Iterable[tuple[str, int | None]] = ()) -> None:
        self._hosts = frozenset(hosts)

    def has(self, url: Url) -> bool:
        """Return True if the user has named this host."""
        return (url.host, url.port) in self._hosts or (url.host, None) in self._hosts


def named_host(text: str) -> tuple[str, int | None]:
    """Read `host` or `host:port`. Raises RequestError."""
    url = parse_url(f"http://{text}/")
    if url is None or url.target != "/":
        raise RequestError("allow_host", f"must be a host or host:port, not {text!r}")
    return url.host, url.port if re.search(r":\d+\Z", text) else None


def parse_url(text: str) -> Url | None:
    """Return the parts of an http or https URL; None for other texts, and for one that holds a password."""
    if len(text) > MAX_URL or not text.isprintable() or " " in text or "\\" in text:
        return None
    try:
        url = httpx2.URL(text)
        host = url.raw_host.decode("ascii").lower().rstrip(".")
        target = url.raw_path.decode("ascii")
    except (httpx2.InvalidURL, ValueError, UnicodeError):
        return None
    if url.scheme not in PORTS or not host or url.userinfo:
        return None
    return Url(url.scheme, host, url.port or PORTS[url.scheme], target)


async def send(request: Request, named: NamedHosts, *, max_bytes: int, limit_s: float) -> Response:
    """Send a request and follow redirects to the same host. Raises ToolError, after `limit_s` seconds at the latest."""
    try:
        async with asyncio.timeout(limit_s):
            return await _send(request, named, max_bytes)
    except TimeoutError:
        raise ToolError(f"no answer within {limit_s:g} s") from None


async def _send(request: Request, named: NamedHosts, max_bytes: int) -> Response:
    first = url = _checked(request.url)
    for _ in range(MAX_REDIRECTS + 1):
        response = await _exchange(request, url, named, max_bytes)
        if response.status not in {301, 302, 303, 307, 308} or "location" not in response.headers:
            return response
        location = urljoin(f"{url.origin}{url.target}", response.headers["location"].partition("#")[0])
        url = _checked(location)
        if url.host != first.host or (url.scheme, url.port) not in {(first.scheme, first.port), ("https", 443)}:
            raise ToolError(f"the answer redirects to another host, {url.authority}")
        if request.method not in {"GET", "HEAD"} and response.status not in {307, 308}:
            if response.status != 303:
                raise ToolError(f"the answer redirects a {request.method} request")
            headers = tuple(pair for pair in request.headers if pair[0].lower() != "content-type")
            request = replace(request, method="GET", body=None, headers=headers)
    raise ToolError(f"more than {MAX_REDIRECTS} redirects")


def _checked(text: str) -> Url:
    url = parse_url(text)
    if url is None:
        raise ToolError("the address of the request is no http or https URL")
    return url


async def _exchange(request: Request, url: Url, named: NamedHosts, max_bytes: int) -> Response:
    """Send a request to one address of the host, the first that accepts a connection."""
    addresses = await _addresses(url, named)
    async with httpx2.AsyncClient(
        trust_env=False, verify=_tls(), timeout=httpx2.Timeout(None, connect=CONNECT_S), follow_redirects=False
    ) as client:
        for address in addresses:
            try:
                return await _exchange_with(client, request, url, address, max_bytes)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure: Exception = error
            except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, ValueError, zlib.error) as error:
                raise _failure(url, error) from None
        raise _failure(url, failure) from None


def _failure(url: Url, error: Exception) -> ToolError:
    return ToolError(f"{url.authority} cannot be reached: {type(error).__name__} {error}".rstrip()[:500])


async def _exchange_with(
    client: httpx2.AsyncClient, request: Request, url: Url, address: str, max_bytes: int
) -> Response:
    host = f"[{address}]" if ":" in address else address
    built = client.build_request(
        request.method,
        f"{url.scheme}://{host}:{url.port}{url.target}",
        headers=[
            ("Host", url.authority),
            ("User-Agent", f"edgefc/{__version__}"),
            ("Accept-Encoding", "identity"),
            *request.headers,
        ],
        content=request.body,
        extensions={"sni_hostname": url.host},
    )
    response = await client.send(built, stream=True)
    try:
        body = await _read(response, max_bytes) if request.method != "HEAD" else b""
    finally:
        await response.aclose()
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Response(response.status_code, response.reason_phrase, headers, body)


async def _read(response: httpx2.Response, max_bytes: int) -> bytes:
    """Read a body within the limit, also if it is compressed although that was not asked for."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "", "gzip", "deflate"}:
        raise ToolError(f"the answer has the encoding {encoding[:40]!r}, which is not supported")
    decoder = zlib.decompressobj(wbits=47) if encoding in {"gzip", "deflate"} else None
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk if decoder is None else decoder.decompress(chunk, max_bytes + 1 - len(body))
        if len(body) > max_bytes:
            raise ToolError(f"the answer has more than {max_bytes >> 20} MiB", "Ask for less of it.")
    return bytes(body)


async def _addresses(url: Url, named: NamedHosts) -> list[str]:
    """Resolve a host. Raises ToolError if none of its addresses may be reached."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ToolError(f"the host {url.host} is not found: {error}") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if named.has(url):
        return addresses[:MAX_ADDRESSES]
    public = [address for address in addresses if is_public(address)]
    if not public:
        reason = f"{url.authority} has the address {addresses[0]} inside the network, which the user has not named"
        raise ToolError(reason, f"If this is meant, add --allow-host {url.authority}.")
    return public[:MAX_ADDRESSES]


def is_public(address: str) -> bool:
    """Return True for an address of the internet: none of this machine, of private networks, or for groups."""
    one = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(one, ipaddress.IPv6Address):
        if one.ipv4_mapped is not None:
            return is_public(str(one.ipv4_mapped))
        if one in _NAT64:  # how networks without IPv4 reach it
            return is_public(str(ipaddress.IPv4Address(int(one) & 0xFFFFFFFF)))
        if one.sixtofour is not None or one.teredo is not None:
            return False
    return one.is_global and not one.is_multicast and not one.is_reserved


@functools.cache
def _tls() -> ssl.SSLContext:
    context: ssl.SSLContext = httpx2.create_ssl_context()
    return context

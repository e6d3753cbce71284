"""What of a server can be configured."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from edgefc.errors import RequestError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server behaves; nothing in it is about the model.

    host, port       where it listens; port 0: any free one
    api_keys         one of them must be sent; none: anybody who reaches it may ask
    allowed_hosts    names it may be called by, besides those of this machine and `host` (against DNS rebinding)
    allowed_origins  web pages that may ask, such as "http://localhost:3000"; none unless named
    max_body         bytes of a request
    parallel         requests that a model computes at the same time
    max_waiting      requests that wait while others are computed; more are turned away (429)
    timeout          seconds of one request, waiting included
    drain            seconds that running requests have to end when the server is told to stop
    heartbeat        seconds after which a silent stream says that it is alive
    grammars         whether requests may bring a GBNF of their own
    """

    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_body: int = 8 << 20
    parallel: int = 4
    max_waiting: int = 64
    timeout: float = 600.0
    drain: float = 30.0
    heartbeat: float = 10.0
    grammars: bool = False

    def __post_init__(self) -> None:
        limits = {"port": (0, 65535), "max_body": (1024, 1 << 30), "parallel": (1, 64), "max_waiting": (0, 4096),
                  "timeout": (1, 86_400), "drain": (0, 3600), "heartbeat": (0.1, 3600)}  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise RequestError(name, f"must be from {low} to {high}, not {getattr(self, name)!r}")
        if not all(self.api_keys):
            raise RequestError("api_keys", "an empty key would let everybody in", "Leave it out for no key at all.")
        if not self.api_keys and not self.is_loopback:
            raise RequestError(
                "host",
                f"{self.host} can be reached from other machines, and no key is set",
                "Set an API key (--api-key or EDGEFC_API_KEY), or listen on 127.0.0.1.",
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

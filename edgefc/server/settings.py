"""Server settings."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from edgefc.chat.enforceable import unsupported_option
from edgefc.errors import RequestError, require_extra
from edgefc.types import OnUnsupported

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Settings:
    """Server settings, except those of the models.

    host, port       address to listen on; port 0 picks a free one
    api_keys         accepted keys; empty: requests need no key
    allowed_hosts    accepted Host names besides this machine's and `host` (against DNS rebinding)
    allowed_origins  web pages that may send requests, such as "http://localhost:3000"
    max_body         longest request body, in bytes
    parallel         requests that one model computes at the same time
    max_waiting      requests that may wait for their turn; further ones get 429
    timeout          seconds for one request, including the wait
    drain            seconds that running requests get to finish when the server is stopped
    heartbeat        seconds of silence after which a stream sends a comment
    grammars         whether requests may contain a GBNF grammar
    mcp_endpoint     whether POST /mcp answers MCP clients
    mcp              path of a configuration of MCP servers, whose tools /v1/responses can offer and run
    ui               whether a browser gets the page at `/`
    on_unsupported   what becomes of tools that no grammar can enforce, unless the request says otherwise
    tool_budget      as for `Model.chat`, unless the request says otherwise; 0: the model is shown all tools
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
    mcp_endpoint: bool = False
    mcp: str | None = None
    ui: bool = True
    on_unsupported: OnUnsupported = "omit"
    tool_budget: int = 0

    def __post_init__(self) -> None:
        limits = {"port": (0, 65535), "max_body": (1024, 1 << 30), "parallel": (1, 64), "max_waiting": (0, 4096),
                  "timeout": (1, 86_400), "drain": (0, 3600), "heartbeat": (0.1, 3600),
                  "tool_budget": (-1, 1 << 30)}  # fmt: skip
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise RequestError((name,), f"must be between {low} and {high}, not {value!r}")
        unsupported_option(self.on_unsupported)
        if self.mcp_endpoint:
            require_extra("mcp", "mcp")
        if not all(self.api_keys):
            raise RequestError(("api_keys",), "an empty key would let everyone in", "Omit it to run without a key.")
        if not self.api_keys and not self.is_loopback:
            raise RequestError(
                ("host",),
                f"{self.host} can be reached from other machines, but no key is set",
                "Set an API key (--api-key or EDGEFC_API_KEY), or listen on 127.0.0.1.",
            )

    @property
    def is_loopback(self) -> bool:
        """True if only programs on this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

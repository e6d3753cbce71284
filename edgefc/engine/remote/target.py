"""The address of a remote engine, as users write it: `llama-server=http://host:8080`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from edgefc.errors import RequestError

KINDS = ("llama-server", "vllm", "sglang")
KEY_VARIABLE, TIMEOUT_VARIABLE = "EDGEFC_ENGINE_KEY", "EDGEFC_ENGINE_TIMEOUT"
CONNECT_S, SILENCE_S = 10.0, 300.0


@dataclass(frozen=True, slots=True)
class RemoteTarget:
    """A remote engine.

    kind       one of KINDS
    url        its address, without a path of its API
    key        sent as a bearer token; None: none is
    silence_s  longest time without a byte of an answer, the wait for a free slot included
    """

    kind: str
    url: str
    key: str | None = field(default=None, repr=False)
    silence_s: float = SILENCE_S

    def __str__(self) -> str:
        return f"{self.kind} at {self.url}"

    @classmethod
    def parse(cls, text: str) -> RemoteTarget:
        """Read `KIND=URL`; key and timeout are those of the environment. Raises RequestError."""
        kind, _, url = text.partition("=")
        if kind not in KINDS:
            raise RequestError(
                "engine", f"unknown engine {kind[:80]!r}", f"Write one of {', '.join(f'{k}=URL' for k in KINDS)}."
            )
        try:
            parts = urlsplit(url)
            is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_valid = False
        if not is_valid:
            raise RequestError("engine", f"invalid URL {url[:200]!r}", f"Write {kind}=http://HOST:PORT.")
        if parts.username is not None or parts.query or parts.fragment:
            reason = "the URL must have no user, password or query"
            raise RequestError("engine", reason, f"Set {KEY_VARIABLE} to send a key.")
        return cls(
            kind, re.sub(r"(/v1)?/*\Z", "", url), os.environ.get(KEY_VARIABLE) or None, _silence(TIMEOUT_VARIABLE)
        )


def _silence(variable: str) -> float:
    text = os.environ.get(variable)
    if not text:
        return SILENCE_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise RequestError("engine", f"{variable} must be a number of seconds above 0, not {text[:80]!r}")
    return seconds

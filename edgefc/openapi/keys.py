"""Security of operations. Keys come from the environment alone, from a variable that is bound to the host.

`EDGEFC_KEY_API_EXAMPLE_COM__BEARERAUTH` is the key of the scheme bearerAuth at api.example.com. A document of another
host cannot name it: a dot of the host's name is `_`, a hyphen `___`, and `__` ends the name.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from edgefc.errors import ToolError
from edgefc.openapi.http import PORTS, NamedHosts, Url
from edgefc.openapi.references import References

PREFIX = "EDGEFC_KEY_"
_HOST_SIGNS = {".": "_", "-": "___", "_": "_____", ":": "_"}
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}\Z")
MAX_ALTERNATIVES = 20


@dataclass(frozen=True, slots=True)
class Key:
    """A key that a request carries.

    kind      "bearer" or "basic", or the location of an API key: "header", "query" or "cookie"
    name      the header, query parameter or cookie
    variable  the environment variable that holds the key, for "basic" as user:password
    """

    kind: str
    name: str
    variable: str


@dataclass(frozen=True, slots=True)
class Security:
    """The alternatives of an operation: each is a set of keys that go together; an empty one means no key."""

    alternatives: tuple[tuple[Key, ...], ...] = ()

    @property
    def names(self) -> frozenset[tuple[str, str]]:
        """Return the parameters that hold keys, as (location, name); headers in lower case."""
        keys = {key for alternative in self.alternatives for key in alternative}
        named = {(key.kind, key.name.lower() if key.kind == "header" else key.name) for key in keys}
        return frozenset(named | ({("header", "authorization")} if keys else set()))

    @property
    def variables(self) -> tuple[str, ...]:
        """Return the environment variables of all alternatives."""
        return tuple(dict.fromkeys(key.variable for alternative in self.alternatives for key in alternative))

    def missing(self) -> tuple[str, ...]:
        """Return the variables of the first alternative if no alternative has all of its own; () if one has."""
        if not self.alternatives or self._usable() is not None:
            return ()
        return tuple(key.variable for key in self.alternatives[0] if not os.environ.get(key.variable))

    def choose(self) -> tuple[Key, ...]:
        """Return the keys of the first alternative that the environment has. Raises ToolError."""
        if not self.alternatives:
            return ()
        usable = self._usable()
        if usable is None:
            names = " and ".join(self.missing())
            raise ToolError(f"the environment has no {names}", "Set it to the key, and start again.")
        return usable

    def _usable(self) -> tuple[Key, ...] | None:
        """Return the first usable alternative, one with keys before one without."""
        ordered = sorted(self.alternatives, key=lambda keys: not keys)
        return next((keys for keys in ordered if all(os.environ.get(key.variable) for key in keys)), None)


@dataclass(frozen=True, slots=True)
class Secrets:
    """The keys of one request, where they go, and their values, which no result may show."""

    headers: tuple[tuple[str, str], ...]
    query: tuple[tuple[str, str], ...]
    cookies: tuple[tuple[str, str], ...]
    values: tuple[str, ...]


def read_security(root: Mapping[str, Any], operation: Mapping[str, Any], references: References, url: Url) -> Security:
    """Read what an operation requires. Raises ToolError if no alternative is supported."""
    listed = operation.get("security", root.get("security", []))
    if not isinstance(listed, list) or len(listed) > MAX_ALTERNATIVES:
        raise ToolError(f"security must be a list of at most {MAX_ALTERNATIVES} objects")
    components = root.get("components")
    schemes = components.get("securitySchemes") if isinstance(components, Mapping) else None
    found: list[tuple[Key, ...]] = []
    reason = ""
    for requirement in listed:
        try:
            if not isinstance(requirement, Mapping) or len(requirement) > MAX_ALTERNATIVES:
                raise ToolError("a security requirement must be an object")
            found.append(tuple(_read_key(name, schemes, references, url) for name in requirement))
        except ToolError as error:
            reason = reason or error.reason
    if listed and not found:
        raise ToolError(reason)
    return Security(tuple(found))


def _read_key(name: Any, schemes: Any, references: References, url: Url) -> Key:
    if not isinstance(schemes, Mapping) or name not in schemes or not isinstance(name, str):
        raise ToolError(f"the document has no security scheme {str(name)[:100]!r}")
    scheme = references.follow(schemes[name], "a security scheme")
    kind, variable = str(scheme.get("type")), variable_of(url, name)
    if kind == "http":
        method = str(scheme.get("scheme")).lower()
        if method not in {"bearer", "basic"}:
            raise ToolError(f"the HTTP authentication {method[:40]!r} is not supported")
        return Key(method, "", variable)
    if kind in {"oauth2", "openIdConnect"}:
        return Key("bearer", "", variable)
    if kind == "apiKey":
        location, parameter = str(scheme.get("in")), scheme.get("name")
        if (
            location not in {"header", "query", "cookie"}
            or not isinstance(parameter, str)
            or not _NAME.match(parameter)
        ):
            raise ToolError("an apiKey scheme must have a name, and in must be header, query or cookie")
        if location == "header" and parameter.lower() in {"host", "content-length", "transfer-encoding", "connection"}:
            raise ToolError(f"the header {parameter!r} cannot hold a key")
        return Key(location, parameter, variable)
    raise ToolError(f"the security scheme {kind[:40]!r} is not supported")


def variable_of(url: Url, scheme: str) -> str:
    """Return the environment variable of a scheme's key at a host."""
    host = "".join(_HOST_SIGNS.get(character, character) for character in url.host)
    port = "" if url.port == PORTS[url.scheme] else f"_{url.port}"
    name = re.sub(r"[^A-Za-z0-9]+", "_", scheme).strip("_") or "KEY"
    return f"{PREFIX}{host}{port}__{name}".upper()


def read_secrets(keys: Sequence[Key], url: Url, named: NamedHosts) -> Secrets:
    """Read the keys from the environment. Over http they go only to hosts that the user has named. Raises ToolError."""
    if keys and url.scheme != "https" and not named.has(url):
        raise ToolError(f"keys are not sent to {url.origin}: it is not encrypted", "Use the https server.")
    headers, query, cookies, values = [], [], [], []
    for key in keys:
        value = os.environ[key.variable].strip()
        if not value.isascii() or not value.isprintable():
            raise ToolError(f"{key.variable} must be printable ASCII text")
        values.append(value)
        if key.kind == "bearer":
            headers.append(("Authorization", f"Bearer {value}"))
        elif key.kind == "basic":
            encoded = base64.b64encode(value.encode()).decode()
            values.append(encoded)
            headers.append(("Authorization", f"Basic {encoded}"))
        elif key.kind == "header":
            headers.append((key.name, value))
        elif key.kind == "query":
            values.append(quote(value, safe=""))
            query.append((key.name, value))
        else:
            if re.search(r'[\s",;\\]', value):
                raise ToolError(f"{key.variable} has characters that a cookie cannot have")
            cookies.append((key.name, value))
    return Secrets(tuple(headers), tuple(query), tuple(cookies), tuple(values))

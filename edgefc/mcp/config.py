"""The configuration of MCP servers, in the `mcpServers` format of Cursor, Claude Desktop and LM Studio.

    {"mcpServers": {"files": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "."]},
                    "wiki": {"url": "https://example.org/mcp", "headers": {"Authorization": "${env:WIKI_KEY}"}}}}

Keys of a server: `command`, `args`, `env`, `cwd`, or `url`, `headers`; `type`, `disabled`; and edgefc's own:

allow    names of the tools that are offered, with * for any characters; without it, all
deny     names of tools that are not offered
approve  "ask" (the default), "read-only": those that the server calls so run without asking, "always", or names
timeout  seconds that a start or a call may take
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgefc import paths
from edgefc.errors import FieldPath, RequestError
from edgefc.files import read_small, write_file

MAX_BYTES = 1 << 20
MAX_TIMEOUT = 86_400.0  # seconds
TIMEOUT = 60.0  # seconds
SERVERS = "mcpServers"
APPROVE_MODES = ("ask", "read-only", "always")
# Key → the type of its value, in words.
_STDIO = {"command": "text", "args": "a list of texts", "env": "an object of texts", "cwd": "text"}
_HTTP = {"url": "text", "headers": "an object of texts"}
_COMMON = {
    "type": "text", "disabled": "true or false", "allow": "a list of texts", "deny": "a list of texts",
    "approve": "text or a list of texts", "timeout": "a number",
}  # fmt: skip
_KEYS = _STDIO | _HTTP | _COMMON
# Values of `type` as other programs write them.
_STDIO_TYPES, _HTTP_TYPES = {"stdio"}, {"http", "streamable-http", "streamableHttp", "streamable_http"}
_ENVIRONMENT = re.compile(r"\$\{env:([^}]*)\}")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One server. Exactly one of `command`, `url` and `server` is set.

    server  a server object of the SDK in this process, such as `MCPServer`
    """

    name: str
    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    server: Any = None
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    approve: str | tuple[str, ...] = "ask"
    timeout: float = TIMEOUT

    @property
    def identity(self) -> list[Any]:
        """Return the facts that an approval is bound to: what is run or asked, without secrets."""
        if self.command is not None:
            return ["stdio", self.command, list(self.args), self.cwd]
        return ["http", self.url] if self.url is not None else ["in process", self.name]

    @property
    def address(self) -> str:
        """Return the command or the URL, for people."""
        if self.command is not None:
            return " ".join((self.command, *self.args))
        return self.url if self.url is not None else "in this process"


def default_path() -> Path:
    """Return the file of the configuration folder."""
    return paths.config_dir() / "mcp.json"


def read_config(source: str | Path | Mapping[str, Any]) -> list[ServerConfig]:
    """Read a file, or its content as an object; servers that are disabled are left out.

    In an object, a server of this process may stand in the place of a server's keys. Raises RequestError with the
    location of the first mistake.
    """
    if isinstance(source, Mapping):
        return _servers(source, "", Path.cwd())
    path = Path(source)
    return _servers(load(path), f" in {path}", path.parent)


def load(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file. Raises RequestError."""
    try:
        data = json.loads(read_small(path, MAX_BYTES).decode("utf-8-sig"))
    except FileNotFoundError:
        hint = "`edgefc mcp add` makes one, and --mcp names another."
        raise RequestError("mcp", f"no such file: {path}", hint) from None
    except json.JSONDecodeError as error:
        where = f"{path} line {error.lineno}, column {error.colno}"
        raise RequestError("mcp", f"{where}: invalid JSON: {error.msg}") from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError("mcp", f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise RequestError("mcp", f"{path} must hold an object with {SERVERS!r}, not {_kind(data)}")
    return data


def add_server(path: Path, name: str, server: Mapping[str, Any], *, replace: bool = False) -> None:
    """Add a server to a file, which is made if there is none. Raises RequestError."""
    data = load(path) if path.exists() else {}
    servers = data.setdefault(SERVERS, {})
    _servers({SERVERS: {name: server}}, "", path.parent, check_environment=False)
    if not isinstance(servers, dict):
        raise RequestError(SERVERS, f"must be an object in {path}, not {_kind(servers)}")
    if name in servers and not replace:
        raise RequestError((SERVERS, name), f"is in {path} already", "Remove it first, or replace it with --force.")
    servers[name] = dict(server)
    save(path, data)


def remove_server(path: Path, name: str) -> None:
    """Remove a server from a file. Raises RequestError."""
    data = load(path)
    servers = data.get(SERVERS)
    if not isinstance(servers, dict) or name not in servers:
        known = list(servers) if isinstance(servers, dict) else []
        raise RequestError((SERVERS, name), f"no such server in {path}", _suggestion(name, known))
    del servers[name]
    save(path, data)


def save(path: Path, data: Mapping[str, Any]) -> None:
    """Write a file that only its owner can read: it may hold keys. Raises RequestError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, (json.dumps(data, ensure_ascii=False, indent=2) + "\n").encode(), mode=0o600)
    except OSError as error:
        raise RequestError("mcp", f"{path} cannot be written: {error}") from None


def _servers(
    data: Mapping[str, Any], where: str, folder: Path, *, check_environment: bool = True
) -> list[ServerConfig]:
    """Read all servers; keys beside `mcpServers` belong to other programs, such as Claude Desktop."""
    if SERVERS not in data:
        near = difflib.get_close_matches(SERVERS, map(str, data), 1, 0.6)
        raise RequestError("mcp", f"no {SERVERS!r}{where}", f"Rename {near[0]!r} to {SERVERS!r}." if near else "")
    servers = data[SERVERS]
    if not isinstance(servers, Mapping):
        raise RequestError(SERVERS, f"must be an object{where}, not {_kind(servers)}")
    reader = _Reader(where, folder, check_environment=check_environment)
    found = [reader.read(name, value) for name, value in servers.items()]
    return [server for server in found if server is not None]


class _Reader:
    """Reads the servers of one file, whose name is part of each error."""

    def __init__(self, where: str, folder: Path, *, check_environment: bool) -> None:
        self._where, self._folder, self._checks_environment = where, folder, check_environment

    def read(self, name: str, value: Any) -> ServerConfig | None:
        path: FieldPath = (SERVERS, name)
        if not name or not name.isprintable() or len(name) > 64:
            raise self._error(path, "a server's name must have 1 to 64 printable characters")
        if not isinstance(value, Mapping):
            if isinstance(value, str | int | float | list | None):
                raise self._error(path, f"must be an object, not {_kind(value)}")
            return ServerConfig(name, server=value)
        for key, item in value.items():
            self._check_key(key, item, path)
        is_stdio = self._check_kind(value, path)
        if value.get("disabled"):
            return None
        texts = {key: self._expand(value[key], (*path, key)) for key in (_STDIO if is_stdio else _HTTP) if key in value}
        if "args" in texts:
            texts["args"] = tuple(texts["args"])
        if "cwd" in texts:
            texts["cwd"] = str((self._folder / texts["cwd"]).absolute())
        if not is_stdio:
            self._check_url(texts["url"], (*path, "url"))
        return ServerConfig(
            name,
            **texts,
            allow=tuple(value["allow"]) if "allow" in value else None,
            deny=tuple(value.get("deny", ())),
            approve=self._approve(value.get("approve", "ask"), (*path, "approve")),
            timeout=self._timeout(value.get("timeout", TIMEOUT), (*path, "timeout")),
        )

    def _error(self, path: FieldPath, reason: str, hint: str = "") -> RequestError:
        return RequestError(path, f"{reason}{self._where}", hint)

    def _check_key(self, key: Any, item: Any, path: FieldPath) -> None:
        if key not in _KEYS:
            raise self._error((*path, str(key)), f"unknown key {key!r}", _suggestion(str(key), _KEYS))
        if not _fits(item, _KEYS[key]):
            raise self._error((*path, key), f"must be {_KEYS[key]}, not {_kind(item)}")

    def _check_kind(self, value: Mapping[str, Any], path: FieldPath) -> bool:
        """Return True for a server that is a process, False for one with a URL."""
        kind = value.get("type")
        if kind is not None and kind not in _STDIO_TYPES | _HTTP_TYPES:
            hint = "Use its streamable HTTP URL." if kind == "sse" else "Use stdio or http."
            raise self._error((*path, "type"), f"unsupported type {kind!r}", hint)
        if ("command" in value) == ("url" in value):
            raise self._error(path, "must have either command or url")
        is_stdio = "command" in value
        if kind is not None and is_stdio != (kind in _STDIO_TYPES):
            raise self._error((*path, "type"), f"must be {'stdio' if is_stdio else 'http'} here, not {kind!r}")
        if others := sorted(value.keys() & (_HTTP if is_stdio else _STDIO).keys()):
            raise self._error(
                (*path, others[0]), f"{others[0]} has no meaning beside {'command' if is_stdio else 'url'}"
            )
        return is_stdio

    def _check_url(self, url: str, path: FieldPath) -> None:
        try:
            parts = urlsplit(url)
            is_complete = parts.scheme in {"http", "https"} and bool(parts.hostname)
        except ValueError:
            is_complete = False
        if not is_complete:
            raise self._error(path, f"must be an http or https URL, not {url!r}")

    def _expand(self, value: Any, path: FieldPath) -> Any:
        """Replace `${env:NAME}` by the environment's value."""
        if isinstance(value, str):
            return _ENVIRONMENT.sub(lambda match: self._variable(match[1], path), value)
        if isinstance(value, Mapping):
            return {key: self._expand(item, (*path, key)) for key, item in value.items()}
        return [self._expand(item, (*path, number)) for number, item in enumerate(value)]

    def _variable(self, name: str, path: FieldPath) -> str:
        if name not in os.environ and self._checks_environment:
            raise self._error(path, f"the environment has no {name!r}", f"Set it: export {name}=…")
        return os.environ.get(name, "")

    def _approve(self, value: Any, path: FieldPath) -> str | tuple[str, ...]:
        if isinstance(value, list | tuple):
            return tuple(value)
        if value not in APPROVE_MODES:
            near = _suggestion(str(value), APPROVE_MODES)
            raise self._error(path, f"must be {', '.join(APPROVE_MODES)} or a list of tools, not {value!r}", near)
        return str(value)

    def _timeout(self, value: float, path: FieldPath) -> float:
        if not 0 < value <= MAX_TIMEOUT:
            raise self._error(path, f"must be between 0 and {MAX_TIMEOUT:g} seconds, not {value!r}")
        return float(value)


def _fits(value: Any, kind: str) -> bool:
    is_list = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if kind == "a list of texts":
        return is_list
    if kind == "text or a list of texts":
        return is_list or isinstance(value, str)
    if kind == "an object of texts":
        return isinstance(value, Mapping) and all(isinstance(item, str) for item in (*value, *value.values()))
    if kind == "a number":
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, bool if kind == "true or false" else str)


def _kind(value: Any) -> str:
    words = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object", bool: "true or false"}
    return "null" if value is None else words.get(type(value), type(value).__name__)


def _suggestion(name: str, known: Iterable[str]) -> str:
    names = list(known)
    lower = {one.lower(): one for one in names}
    near = difflib.get_close_matches(name.lower(), lower, 1, 0.6)
    if near:
        return f"Did you mean {lower[near[0]]!r}?"
    return f"Known: {', '.join(names)}." if names else ""

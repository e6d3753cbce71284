"""Settings with which other programs find `edgefc serve`: editors, assistants and dashboards.

Each client's documentation is the source of its form. Clients that refuse an empty key get a text that is none.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgefc.errors import RequestError
from edgefc.files import read_small, write_file
from edgefc.limits import MAX_ANSWER_TOKENS

MAX_BYTES = 4 << 20
NO_KEY = "none"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - addresses to listen on, not to ask


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The server as a client needs it: its URL without `/v1`, the model's name there, and its context in tokens."""

    url: str
    model: str
    context: int
    has_key: bool = False

    @property
    def answer(self) -> int:
        """Tokens of the context that a client leaves for an answer."""
        return min(MAX_ANSWER_TOKENS, self.context // 2)

    @property
    def key(self) -> str:
        """The key as a text for a command line, where a shell puts in the variable."""
        return "$EDGEFC_API_KEY" if self.has_key else NO_KEY


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """The settings of one client.

    text    what to enter, run or paste
    path    the client's own file that `data` or `text` belongs to; None: it is not a file's
    data    JSON that is merged into the file; None: `text` is a new file's content
    notes   what else the user has to do, one line each
    """

    text: str
    path: Path | None = None
    data: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the settings as `edgefc launch --json` prints them."""
        settings: Any = self.text if self.data is None else self.data
        path = None if self.path is None else str(self.path)
        return {"settings": settings, "path": path, "notes": list(self.notes)}

    def write(self) -> None:
        """Write the file, or merge `data` into it, with a copy of what was there. Raises RequestError."""
        assert self.path is not None
        try:
            old = read_small(self.path, MAX_BYTES) if self.path.exists() else None
            if self.data is None and old is not None:
                raise _unwritable(self.path, "it exists")
            content = self.text if self.data is None else _indented(_merged(_parse(self.path, old), self.data))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if old is not None:
                write_file(self.path.with_name(f"{self.path.name}.before-edgefc"), old)
            write_file(self.path, content.encode())
        except OSError as error:
            raise _unwritable(self.path, error.strerror or str(error)) from None


def _unwritable(path: Path, reason: str) -> RequestError:
    return RequestError("client", f"{path} was not changed: {reason}", "Add the printed settings to it yourself.")


def _parse(path: Path, data: bytes | None) -> dict[str, Any]:
    """Read a file of JSON; one with comments, as editors allow them, would lose these. Raises RequestError."""
    if data is None or not data.strip():
        return {}
    try:
        value = json.loads(data)
    except ValueError:
        raise _unwritable(path, "it has comments, or is not JSON") from None
    if not isinstance(value, dict):
        raise _unwritable(path, "it is not an object")
    return value


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with the members of both; objects in it are merged likewise."""
    result = dict(old)
    for key, value in new.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if both else value
    return result


def _indented(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _config_folder() -> Path:
    """Return the folder of programs' settings, which is the same on Linux and macOS for those here."""
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home())
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def opencode(server: ServerAddress) -> ClientSettings:
    """Return opencode's settings: a provider with one model (opencode.ai/docs/providers)."""
    model = {"name": server.model, "tool_call": True, "limit": {"context": server.context, "output": server.answer}}
    options = {"baseURL": f"{server.url}/v1", "apiKey": "{env:EDGEFC_API_KEY}" if server.has_key else NO_KEY}
    provider = {
        "npm": "@ai-sdk/openai-compatible", "name": "edgefc", "options": options, "models": {server.model: model},
    }  # fmt: skip
    data = {"$schema": "https://opencode.ai/config.json", "provider": {"edgefc": provider}}
    path = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "opencode" / "opencode.json"
    return ClientSettings(_indented(data), path, data, (f"In opencode, choose edgefc/{server.model} with /models.",))


def continue_dev(server: ServerAddress) -> ClientSettings:
    """Return Continue's settings: a model of config.yaml (docs.continue.dev, reference)."""
    key = "${{ secrets.EDGEFC_API_KEY }}" if server.has_key else NO_KEY
    text = (
        "name: edgefc\nversion: 0.0.1\nschema: v1\nmodels:\n"
        f"  - name: {json.dumps(server.model)}\n    provider: openai\n    model: {json.dumps(server.model)}\n"
        f"    apiBase: {server.url}/v1\n    apiKey: {json.dumps(key)}\n    roles: [chat, edit, apply]\n"
        f"    capabilities: [tool_use]\n    defaultCompletionOptions:\n      contextLength: {server.context}\n"
    )
    return ClientSettings(text, Path.home() / ".continue" / "config.yaml", None)


def zed(server: ServerAddress) -> ClientSettings:
    """Return Zed's settings: a provider of its settings.json (zed.dev/docs/ai)."""
    capabilities = {"tools": True, "images": False, "parallel_tool_calls": True, "prompt_cache_key": False}
    model = {
        "name": server.model, "display_name": server.model, "max_tokens": server.context,
        "max_output_tokens": server.answer, "capabilities": capabilities,
    }  # fmt: skip
    provider = {"api_url": f"{server.url}/v1", "available_models": [model]}
    data = {"language_models": {"openai_compatible": {"edgefc": provider}}}
    folder = "Zed" if sys.platform == "win32" else "zed"
    note = "Zed reads the key from EDGEFC_API_KEY in its environment; without a key, set it to any text."
    return ClientSettings(_indented(data), _config_folder() / folder / "settings.json", data, (note,))


def aider(server: ServerAddress) -> ClientSettings:
    """Return aider's command (aider.chat/docs/llms/openai-compat.html)."""
    text = (
        f"OPENAI_API_BASE={server.url}/v1 OPENAI_API_KEY={server.key} "
        f"aider --model openai/{server.model} --no-show-model-warnings\n"
    )
    return ClientSettings(text)


def home_assistant(server: ServerAddress) -> ClientSettings:
    """Return the fields of Home Assistant's Ollama integration."""
    lines = ["Settings > Devices & services > Add integration > Ollama", f"  URL: {server.url}"]
    if server.has_key:
        lines.append("  API key: the value of EDGEFC_API_KEY")
    lines += [
        f"  Model: {server.model}", f"  Context window size: {server.context}",
        "  Control Home Assistant: Assist",
    ]  # fmt: skip
    return ClientSettings("\n".join(lines) + "\n", notes=_notes_for_others(server))


def open_webui(server: ServerAddress) -> ClientSettings:
    """Return the environment of Open WebUI (docs.openwebui.com, environment configuration)."""
    text = f"OPENAI_API_BASE_URL={server.url}/v1\nOPENAI_API_KEY={server.key}\nENABLE_OLLAMA_API=false\n"
    return ClientSettings(text, notes=_notes_for_others(server))


def _notes_for_others(server: ServerAddress) -> tuple[str, ...]:
    """Return what programs in containers and on other machines need."""
    port = urlsplit(server.url).port
    note = (
        f"From a container or another machine, use http://NAME:{port}, and add --host 0.0.0.0, --api-key and "
        "--allowed-host NAME to the server's options."
    )
    return (note,)


CLIENTS: Mapping[str, Callable[[ServerAddress], ClientSettings]] = {
    "opencode": opencode,
    "continue": continue_dev,
    "zed": zed,
    "aider": aider,
    "home-assistant": home_assistant,
    "open-webui": open_webui,
}

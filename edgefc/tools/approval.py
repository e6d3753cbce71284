"""The tools of servers that the user allows or refuses for good, in a file that only the user can read.

A tool is known by its fingerprint, so that another command, URL, description or schema asks again.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from edgefc import paths
from edgefc.errors import ToolError
from edgefc.files import read_small, write_file
from edgefc.tools.remote import ServerTool

log = logging.getLogger("edgefc.tools")
Decision = Literal["always", "never"]
MAX_BYTES = 4 << 20


class Approvals:
    """The file of decisions. Reads are lenient: a damaged file allows nothing, and each tool is asked about again."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or paths.config_dir() / "approvals.json"

    def decision(self, tool: ServerTool) -> Decision | None:
        """Return the remembered decision about a tool; None: the user has to be asked."""
        entry = self._read().get(tool.fingerprint)
        decision = entry.get("decision") if isinstance(entry, dict) else None
        return decision if decision in {"always", "never"} else None

    def remember(self, tool: ServerTool, decision: Decision) -> None:
        """Remember a decision. Raises ToolError if the file cannot be written."""
        self._change({tool.fingerprint: {"server": tool.server, "tool": tool.name, "decision": decision}})

    def forget(self, server: str) -> int:
        """Forget all decisions about a server's tools, and return their number."""
        return self._change({}, without=server)

    def _read(self) -> dict[str, Any]:
        try:
            data = json.loads(read_small(self.path, MAX_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s cannot be read, so that every tool is asked about: %s", self.path, error)
            return {}
        tools = data.get("tools") if isinstance(data, dict) else None
        return tools if isinstance(tools, dict) else {}

    def _change(self, entries: dict[str, Any], *, without: str = "") -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock", mode=0o600):
                known = self._read()
                rest = {key: one for key, one in known.items() if not (without and _server_of(one) == without)}
                text = json.dumps({"version": 1, "tools": rest | entries}, ensure_ascii=False, indent=1)
                write_file(self.path, text.encode(), mode=0o600)
        except OSError as error:
            raise ToolError(f"{self.path} cannot be written: {error}") from None
        return len(known) - len(rest)


def _server_of(entry: Any) -> Any:
    return entry.get("server") if isinstance(entry, dict) else None

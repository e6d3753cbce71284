"""Small JSON files in the cache folder that hold one entry for each model, the newest last."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefc import files, paths
from edgefc.errors import StoreError

MAX_FILE = 4 << 20  # bytes


@dataclass(frozen=True, slots=True)
class ModelEntries:
    """One such file.

    version      of its format: a file of another one is as good as none
    max_entries  number of models; the one written longest ago is dropped first
    """

    name: str
    version: int
    max_entries: int

    @property
    def path(self) -> Path:
        return paths.cache_dir() / self.name

    def read(self) -> dict[str, Any]:
        """Return the entries by key. Raises ValueError for a file that is missing, damaged or of another version."""
        try:
            data = json.loads(files.read_small(self.path, MAX_FILE))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{self.path}: {error}") from error
        entries = data.get("models") if isinstance(data, dict) else None
        if not isinstance(entries, dict) or data.get("format") != self.version:
            raise ValueError(f"{self.path} has another format")
        return entries

    def write(self, key: str, entry: dict[str, Any]) -> None:
        """Add an entry, in place of an earlier one. Raises StoreError."""
        try:
            entries = self.read()
        except ValueError:
            entries = {}
        entries.pop(key, None)  # the newest entry is the last
        entries[key] = entry
        data = {"format": self.version, "models": dict(list(entries.items())[-self.max_entries :])}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.write_file(self.path, json.dumps(data, indent=1).encode())
        except OSError as error:
            hint = "Set EDGEFC_CACHE_DIR to a writable folder."
            raise StoreError(f"{self.path}: {error.strerror or error}", hint) from None

"""Files of saved prompts."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutation import Mutator, as_bytes, edit_bytes
from tests.fuzz.targets import BaseTarget, BrokenPromiseError, Case
from tests.fuzz.targets.manifest import put

KEYS = list(range(100, 164))
DATA = bytes(range(256)) * 40
PLACES = ("folder", "pipe", "link", "device", "loop", "sparse")


class Prefix(BaseTarget):
    """Cases are the header as text (None: the sound one), signed with the user's key or not, and edits of the bytes."""

    def make(self, rng: Random, seeds: Sequence[Case]) -> Case:
        mutator = Mutator(rng)
        case: dict[str, Any] = {
            "header": None,
            "signed": mutator.chance(0.7),
            "edits": [],
            "place": "file",
            "mode": 0o600,
        }
        if mutator.chance(0.6):
            header = {"format": 2, "identity": "me", "tokens": len(KEYS), "bytes": len(DATA), "sha256": "0" * 64}
            case["header"] = mutator.write_json(mutator.change_json(header))
        if mutator.chance(0.5):
            case["edits"] = [mutator.change_bytes(rng.choice((20, 400, 11_000))) for _ in range(rng.choice((1, 1, 4)))]
        if mutator.chance(0.1):
            case["place"] = rng.choice(PLACES)
        if mutator.chance(0.1):
            case["mode"] = rng.choice((0, 0o400, 0o644, 0o666, 0o777))
        return case

    def start(self, folder: Path) -> None:
        import numpy as np

        from edgefc.engine.prefix_store import PrefixStore
        from edgefc.engine.private_files import MAGIC

        logging.disable()
        self._folder, self._store, self._magic = folder / "cache" / "prefixes", PrefixStore, MAGIC
        store = self._open()
        store.add(KEYS, np.frombuffer(DATA, dtype=np.uint8), on_disk=True)
        store.close()
        (self._path,) = self._folder.glob("*.kv")
        self._sound = self._path.read_bytes()
        self._key = (folder / "config" / "cache.key").read_bytes()

    def run(self, case: Case) -> str:
        shutil.rmtree(self._folder)
        self._folder.mkdir(mode=0o700)
        put(self._path, self._content(case), case["place"])
        if case["place"] == "file":
            self._path.chmod(case["mode"])
        store = self._open()
        try:
            match = store.find([*KEYS, 7], len(KEYS))
            snapshot = None if match is None else store.load(match, KEYS)
        finally:
            store.close()
        if snapshot is not None and not case["signed"] and snapshot.data.tobytes() != DATA:
            raise BrokenPromiseError("data that edgefc did not write")
        return "refused" if snapshot is None else "restored"

    def _open(self) -> Any:
        return self._store("me", self._folder, memory_bytes=1 << 20, disk_bytes=1 << 26)

    def _content(self, case: Case) -> bytes:
        content = self._sound
        end = 12 + int.from_bytes(content[8:12], "little")
        fields = json.loads(content[12:end])
        header = (
            content[12:end] if case["header"] is None else as_bytes(case["header"].replace("0" * 64, fields["sha256"]))
        )
        code = hmac.digest(self._key, header, "sha256") if case["signed"] else hashlib.sha256(header).digest()
        if case["header"] is None and not case["signed"]:
            code = content[end : end + 32]
        content = self._magic + len(header).to_bytes(4, "little") + header + code + content[end + 32 :]
        return edit_bytes(content, case["edits"])


TARGET = Prefix

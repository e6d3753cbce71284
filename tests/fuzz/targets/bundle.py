"""Bundles: an archive and the manifest in it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutation import Mutator, as_bytes, edit_bytes
from tests.fuzz.targets import BaseTarget, BrokenPromiseError, Case
from tests.fuzz.targets.manifest import CONTENT, MANIFEST, change_manifest

SOUND = {"manifest": json.dumps(MANIFEST), "head": "manifest.json", "entries": [["m.gguf", "", {}]], "edits": []}
TYPES = "01234567xgLKSV\0"


class Bundle(BaseTarget):
    """Cases are a manifest as text, entries as [name, other content, other fields of the header], edits of the bytes."""

    def make(self, rng: Random, seeds: Sequence[Case]) -> Case:
        mutator = Mutator(rng)
        case = dict(rng.choice(seeds) if seeds and mutator.chance(0.3) else SOUND)
        if mutator.chance(0.6):
            case["manifest"] = change_manifest(mutator, case["manifest"], case["entries"])
        if mutator.chance(0.3):
            case["entries"] = [self._change_entry(mutator, list(entry)) for entry in case["entries"]]
            case["entries"] *= rng.choice((0, 1, 1, 1, 2, 3))
        if mutator.chance(0.05):
            case["head"] = mutator.text()
        if mutator.chance(0.3):
            case["edits"] = [mutator.change_bytes(6 * 1024) for _ in range(rng.choice((1, 1, 3)))]
        return case

    def start(self, folder: Path) -> None:
        from edgefc.models import bundle, store

        self._read, self._store = bundle.read_bundle, store
        self._folder = folder
        self._outside = tree(folder)

    def run(self, case: Case) -> str:
        archive = self._folder / "b.tar"
        archive.write_bytes(pack(case))
        try:
            model = self._read(archive)
            self._store.remove(self._store.get(model.name))
        finally:
            archive.unlink()
            if (now := tree(self._folder)) != self._outside:
                raise BrokenPromiseError(f"written or deleted: {sorted(now ^ self._outside)}")
        return "accepted"

    def _change_entry(self, mutator: Mutator, entry: list[Any]) -> list[Any]:
        match mutator.rng.randrange(4):
            case 0:
                entry[0] = mutator.rng.choice(("../m.gguf", "/m.gguf", "M.gguf", "./m.gguf", mutator.text()))
            case 1:
                entry[1] = mutator.text()
            case 2:
                entry[2] = {"type": mutator.rng.choice(TYPES)}
            case _:
                entry[2] = {"pax": {mutator.rng.choice(("path", "size", "linkpath", "GNU.sparse.map", "GNU.sparse.realsize",
                                                        "hdrcharset", mutator.text())): mutator.text()}}  # fmt: skip
        return entry


def pack(case: Case) -> bytes:
    """Write the archive of a case."""
    stream = io.BytesIO()
    data = as_bytes(case["manifest"])
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo(case["head"])
        entry.pax_headers = {"EDGEFC.sha256": hashlib.sha256(data).hexdigest()}
        _add(archive, entry, data)
        for name, other, fields in case["entries"]:
            entry = tarfile.TarInfo(name)
            entry.type = fields.get("type", "0").encode("latin-1")
            entry.pax_headers = fields.get("pax", {})
            _add(archive, entry, as_bytes(other) or CONTENT)
    return edit_bytes(stream.getvalue(), case["edits"])


def _add(archive: tarfile.TarFile, entry: tarfile.TarInfo, data: bytes) -> None:
    entry.size = len(data)
    try:
        archive.addfile(entry, io.BytesIO(data))
    except ValueError:  # a name or a field that no archive can hold
        entry.name, entry.pax_headers = "m.gguf", {}
        archive.addfile(entry, io.BytesIO(data))


def tree(folder: Path) -> frozenset[str]:
    """List everything below a folder, with the sizes of files."""
    return frozenset(f"{path} {path.lstat().st_size if path.is_file() else ''}" for path in folder.rglob("*")
                     if path.name != "stderr.txt")  # fmt: skip


TARGET = Bundle

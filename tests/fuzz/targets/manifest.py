"""Manifests in the folder of models, beside a sound model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutation import Mutator, as_bytes
from tests.fuzz.targets import BaseTarget, BrokenPromiseError, Case


def smallest_gguf() -> bytes:
    """Write a GGUF with an architecture and one tensor: enough for the store."""
    key, value, name = b"general.architecture", b"qwen2", b"output.weight"
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)
    header += struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    header += struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, 8, 0, 0)
    return header + bytes(-len(header) % 32) + bytes(32)


CONTENT = smallest_gguf()
FILE = {"name": "m.gguf", "role": "model", "size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
MANIFEST: dict[str, Any] = {
    "format": 1, "id": "nice", "repo": "acme/nice", "revision": "main", "quantization": "Q8_0", "family": "hermes",
    "licence": "apache-2.0", "created": "2026-11-28T12:00:00+00:00", "files": [FILE],
}  # fmt: skip
DIGESTS = ("/../../../x/", "../../x", "0" * 63, "A" * 64, "0" * 64, FILE["sha256"])
PLACES = ("file", "folder", "pipe", "link", "device", "loop")


class Manifest(BaseTarget):
    """Cases are {"text": of the manifest, "place": what stands in its place}."""

    def make(self, rng: Random, seeds: Sequence[Case]) -> Case:
        mutator = Mutator(rng)
        text = rng.choice(seeds)["text"] if seeds and mutator.chance(0.3) else json.dumps(MANIFEST)
        return {
            "text": change_manifest(mutator, text, [["m.gguf"]]),
            "place": rng.choice(PLACES) if mutator.chance(0.05) else "file",
        }

    def start(self, folder: Path) -> None:
        from edgefc.models import registry, store

        self._store, self._registry = store, registry
        self._folder, self._models = folder, folder / "models"
        sound = self._models / "acme--sound" / "Q8_0-000000000000"
        self._write(sound, json.dumps({**MANIFEST, "id": "sound", "repo": "acme/sound"}))
        (folder / "precious").mkdir()
        (folder / "precious" / "thesis.txt").write_text("precious")

    def run(self, case: Case) -> str:
        folder = self._models / "acme--nice" / "Q8_0-111111111111"
        self._write(folder, case["text"], case["place"])
        outcome = "left out"
        try:
            self._store.recorded_hash(folder / "m.gguf")
            for model in self._store.stored_models():
                self._store.to_json(model)
                self._store.verify(model)
                self._registry.resolve(model.name)
                if model.folder == folder:
                    outcome = "accepted"
                    self._store.remove(model)
        finally:
            shutil.rmtree(folder.parent, ignore_errors=True)
            if self._store.find("sound") is None or not (self._folder / "precious" / "thesis.txt").exists():
                raise BrokenPromiseError("a sound model or a foreign folder was deleted")
        return outcome

    def _write(self, folder: Path, text: str, place: str = "file") -> None:
        folder.mkdir(parents=True)
        (folder / ".edgefc").touch()
        (folder / "m.gguf").write_bytes(CONTENT)
        path = folder / "manifest.json"
        put(path, as_bytes(text), place)


def put(path: Path, data: bytes, place: str) -> None:
    """Write a file, or what stands in its place."""
    match place:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.with_suffix(".other").write_bytes(data)
            path.symlink_to(path.with_suffix(".other"))
        case "device":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to(path)
        case "sparse":
            path.write_bytes(data)
            os.truncate(path, 200 << 20)
        case _:
            path.write_bytes(data)


def change_manifest(mutator: Mutator, text: str, entries: Sequence[Sequence[Any]]) -> str:
    """Change a manifest here and there; its hashes and names stay right more often than not."""
    try:
        value = json.loads(text)
    except ValueError:
        return mutator.change_text(text)
    for _ in range(mutator.rng.choice((1, 1, 2, 3))):
        value = mutator.change_json(value, (MANIFEST, FILE))
    files = value.get("files") if isinstance(value, dict) else None
    if isinstance(files, list) and files and isinstance(files[0], dict) and mutator.chance(0.5):
        files[0]["name"] = entries[0][0] if entries else "m.gguf"
        if mutator.chance(0.3):
            files[0]["sha256"] = mutator.rng.choice(DIGESTS)
        if mutator.chance(0.2):
            files.append(dict(files[0], sha256=FILE["sha256"]))
    return mutator.write_json(value)


TARGET = Manifest

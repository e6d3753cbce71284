"""One archive with a model, its tokenizer, licence and hashes, for a machine without a network.

A plain tar, uncompressed since weights do not compress: the manifest first, with its own hash in a PAX header, then
the files. What is read back is hashed while it is written, and becomes a model only when every hash is right.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO

from edgefc import files, gguf, paths
from edgefc.errors import StoreError
from edgefc.files import BLOCK
from edgefc.models import store
from edgefc.models.store import MANIFEST, StoredModel

MAX_MANIFEST = 1 << 20
HASH = "EDGEFC.sha256"
Advance = Callable[[int], None]


def bundle(model: StoredModel, out: Path, advance: Advance = lambda _: None) -> Path:
    """Write a model into an archive. Raises StoreError for files that are not as they were when they were fetched."""
    if wrong := store.verify(model):
        raise StoreError(f"{model.name} is damaged: {wrong[0]}", f"Fetch it again: `edgefc pull {model.name}`.")
    part = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with store.os_errors(out), tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
            for name in (MANIFEST, *(file.name for file in model.files)):
                path = model.folder / name
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = path.stat().st_size, 0o644
                if name == MANIFEST:
                    entry.pax_headers = {HASH: files.hash_file(path)}
                with path.open("rb") as file:
                    archive.addfile(entry, _Counted(file, advance))
        with store.os_errors(out):
            part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return out


def unbundle(archive: Path, advance: Advance = lambda _: None) -> StoredModel:
    """Make the model of an archive one of this machine's. Raises StoreError or ModelFileError for a bad one."""
    try:
        with tarfile.open(archive, "r:") as opened:
            return _unpack(opened, archive, advance)
    except (tarfile.TarError, EOFError) as error:
        raise StoreError(f"{archive} is no bundle: {error}", "Bundles are made by `edgefc bundle`.") from None
    except OSError as error:
        raise store.store_error(error, archive) from error


def _unpack(opened: tarfile.TarFile, archive: Path, advance: Advance) -> StoredModel:
    first = opened.next()
    content = opened.extractfile(first) if first is not None and first.isreg() else None
    if first is None or first.name != MANIFEST or first.size > MAX_MANIFEST or content is None:
        raise StoreError(f"{archive} is no bundle: it does not begin with {MANIFEST}", "Make it with `edgefc bundle`.")
    work = paths.models_dir() / f".{uuid.uuid4().hex}"
    with store.os_errors(work):
        work.mkdir(parents=True)
    try:
        data = content.read()
        if hashlib.sha256(data).hexdigest() != first.pax_headers.get(HASH):
            raise StoreError(f"{archive} is damaged: {MANIFEST} has another hash", "Copy it over again.")
        (work / MANIFEST).write_bytes(data)
        promised = {file["name"]: file for file in json.loads((work / MANIFEST).read_text(encoding="utf-8"))["files"]}
        while (entry := opened.next()) is not None:
            content = opened.extractfile(entry) if entry.isreg() else None
            if content is None or entry.name not in promised:
                raise StoreError(f"{archive} holds {entry.name[:80]!r}, of which its manifest knows nothing")
            store.check_name(entry.name)
            digest = _copy(content, work / entry.name, advance)
            if digest != promised[entry.name]["sha256"]:
                raise StoreError(f"{archive} is damaged: {entry.name} has another hash", "Copy it over again.")
        model = store.read_manifest(work / MANIFEST)
        gguf.read_header(model.path)
        return _settle(model, work)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{archive}: its manifest is damaged: {error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _settle(model: StoredModel, work: Path) -> StoredModel:
    """Move an unpacked model to its place."""
    sha256 = next(file.sha256 for file in model.files if file.role == "model")
    folder = store.folder_for(model.repo or "local/files", model.quantization, sha256)
    return store.settle(work, folder) or store.read_manifest(folder / MANIFEST)


def _copy(source: IO[bytes], target: Path, advance: Advance) -> str:
    digest = hashlib.sha256()
    with target.open("wb") as file:
        while block := source.read(BLOCK):
            file.write(block)
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


class _Counted(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, file: IO[bytes], advance: Advance) -> None:
        super().__init__()
        self._file, self._advance = file, advance

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._advance(len(block))
        return block

"""Bundles: one archive with a model, its tokenizer, licence and hashes, for a machine without a network.

A bundle is a plain tar, uncompressed since weights do not compress: the manifest first, with its own hash in a PAX
header, then the files. They are hashed as they are unpacked, and become a model only when every hash is right.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import uuid
from pathlib import Path
from typing import IO

from edgefc import files, gguf, paths
from edgefc.errors import StoreError
from edgefc.files import BLOCK
from edgefc.models import store
from edgefc.models.store import MANIFEST, Progress, StoredModel

MAX_MANIFEST = 1 << 20  # bytes
HASH_HEADER = "EDGEFC.sha256"


def write_bundle(model: StoredModel, out: Path, progress: Progress = lambda _: None) -> Path:
    """Write a model to an archive. Raises StoreError when a file's hash is no longer right."""
    if problems := store.verify(model):
        raise StoreError(f"{model.name} is damaged: {problems[0]}", f"Fetch it again: `edgefc pull {model.name}`.")
    part = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with store.translate_os_errors(out), tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
            for name in (MANIFEST, *(file.name for file in model.files)):
                path = model.folder / name
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = path.stat().st_size, 0o644
                if name == MANIFEST:
                    entry.pax_headers = {HASH_HEADER: files.hash_file(path)}
                with path.open("rb") as file:
                    archive.addfile(entry, _ProgressReader(file, progress))
        with store.translate_os_errors(out):
            part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return out


def read_bundle(archive: Path, progress: Progress = lambda _: None) -> StoredModel:
    """Add the model of an archive to this machine's. Raises StoreError or ModelFileError for a bad archive."""
    try:
        with tarfile.open(archive, "r:") as tar:
            return _unpack(tar, archive, progress)
    except (tarfile.TarError, EOFError) as error:
        raise StoreError(f"invalid bundle {archive}: {error}", "Bundles are made by `edgefc bundle`.") from None
    except OSError as error:
        raise store.store_error(error, archive) from error


def _unpack(tar: tarfile.TarFile, archive: Path, progress: Progress) -> StoredModel:
    manifest = _read_manifest_entry(tar, archive)
    work = paths.models_dir() / f".{uuid.uuid4().hex}"
    with store.translate_os_errors(work):
        work.mkdir(parents=True)
    try:
        (work / MANIFEST).write_bytes(manifest)
        listed = {file["name"]: file for file in json.loads(manifest.decode("utf-8"))["files"]}
        while (entry := tar.next()) is not None:
            content = tar.extractfile(entry) if entry.isreg() else None
            if content is None or entry.name not in listed:
                raise StoreError(
                    f"{archive} holds {entry.name[:80]!r}, which its manifest does not list",
                    "Make the bundle again with `edgefc bundle`.",
                )
            store.check_file_name(entry.name)
            if _copy(content, work / entry.name, progress) != listed[entry.name]["sha256"]:
                raise StoreError(f"{archive} is damaged: {entry.name} has another hash", "Copy it over again.")
        model = store.read_manifest(work / MANIFEST)
        gguf.read_header(model.path)
        return _move_into_store(model, work)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{archive}: its manifest is damaged: {error}", "Copy it over again.") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read_manifest_entry(tar: tarfile.TarFile, archive: Path) -> bytes:
    """Read the manifest, which must be the first entry, and check its hash."""
    first = tar.next()
    content = tar.extractfile(first) if first is not None and first.isreg() else None
    if first is None or first.name != MANIFEST or first.size > MAX_MANIFEST or content is None:
        raise StoreError(
            f"invalid bundle {archive}: it does not begin with {MANIFEST}", "Bundles are made by `edgefc bundle`."
        )
    data = content.read()
    if hashlib.sha256(data).hexdigest() != first.pax_headers.get(HASH_HEADER):
        raise StoreError(f"{archive} is damaged: {MANIFEST} has another hash", "Copy it over again.")
    return data


def _move_into_store(model: StoredModel, work: Path) -> StoredModel:
    sha256 = next(file.sha256 for file in model.files if file.role == "model")
    folder = store.model_folder(model.repo or "local/files", model.quantization, sha256)
    return store.move_into_store(work, folder) or store.read_manifest(folder / MANIFEST)


def _copy(source: IO[bytes], target: Path, progress: Progress) -> str:
    """Copy to a file and return the sha256."""
    digest = hashlib.sha256()
    with target.open("wb") as file:
        while block := source.read(BLOCK):
            file.write(block)
            digest.update(block)
            progress(len(block))
    return digest.hexdigest()


class _ProgressReader(io.RawIOBase):
    """A file that reports how many bytes were read."""

    def __init__(self, file: IO[bytes], progress: Progress) -> None:
        super().__init__()
        self._file, self._progress = file, progress

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._progress(len(block))
        return block

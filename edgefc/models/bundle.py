"""Bundles: one archive with a model, its tokenizer, licence and hashes, for a machine without a network.

A bundle is a plain tar, uncompressed since weights do not compress: the manifest first, with its own hash in a PAX
header, then the files. They are hashed as they are unpacked, and become a model only when every hash is right.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import uuid
from dataclasses import replace
from pathlib import Path
from typing import IO, BinaryIO

from edgefc import files, gguf
from edgefc.errors import StoreError
from edgefc.files import BLOCK
from edgefc.models import store
from edgefc.models.archive import ArchiveError, Entry, read_entries
from edgefc.models.manifest import MANIFEST, MAX_MANIFEST, StoredModel, parse_manifest
from edgefc.models.store import Progress
from edgefc.paths import inside, models_dir

HASH_HEADER = "EDGEFC.sha256"
DISK_RESERVE = 64 << 20  # bytes that an import leaves free on the disk
MADE_BY = "Bundles are made by `edgefc bundle`."


def write_bundle(model: StoredModel, out: Path, progress: Progress = lambda _: None) -> Path:
    """Write a model to an archive. Raises StoreError when a file's hash is no longer right."""
    if problems := store.verify(model):
        raise StoreError(f"{model.name} is damaged: {problems[0]}", f"Fetch it again: `edgefc pull {model.name}`.")
    part = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with store.translate_os_errors(out), tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
            for name in (MANIFEST, *(file.name for file in model.files)):
                path = inside(model.folder, name)
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
        with files.open_regular(archive) as file:
            return _unpack(file, archive, progress)
    except ArchiveError as error:
        raise StoreError(f"invalid bundle {archive}: {error}", MADE_BY) from None
    except OSError as error:
        raise store.store_error(error, archive) from error


def _unpack(file: BinaryIO, archive: Path, progress: Progress) -> StoredModel:
    entries = read_entries(file)
    manifest = _read_manifest_entry(file, next(entries, None), archive)
    missing = {stored.name: stored for stored in manifest.files}
    with store.work_folder() as work:
        _check_space(manifest, archive, work)
        for entry in entries:
            stored = missing.pop(entry.name, None)
            if stored is None or entry.size != stored.size:
                raise StoreError(
                    f"{archive} holds {entry.name[:80]!r}, which its manifest does not list so",
                    "Make the bundle again with `edgefc bundle`.",
                )
            with store.translate_os_errors(work):
                sha256 = _copy(file, stored.size, inside(work, stored.name), progress)
            if sha256 != stored.sha256:
                raise StoreError(f"{archive} is damaged: {stored.name} has another hash", "Copy it over again.")
        if missing:
            raise StoreError(f"{archive} is incomplete: it lacks {min(missing)}", "Copy it over again.")
        gguf.read_model(replace(manifest, folder=work).path)
        return store.move_into_store(work, manifest)


def _read_manifest_entry(file: BinaryIO, entry: Entry | None, archive: Path) -> StoredModel:
    """Read the manifest, which must be the first entry, and check its hash; returns the model as it will be stored."""
    if entry is None or entry.name != MANIFEST or entry.size > MAX_MANIFEST:
        raise StoreError(f"invalid bundle {archive}: it does not begin with {MANIFEST}", MADE_BY)
    data = file.read(entry.size)
    if hashlib.sha256(data).hexdigest() != entry.fields.get(HASH_HEADER):
        raise StoreError(f"{archive} is damaged: {MANIFEST} has another hash", "Copy it over again.")
    try:
        model = parse_manifest(data, Path())
    except StoreError as error:
        raise StoreError(f"{archive}: {error.reason}", MADE_BY) from None
    # `created` decides which of several models of a name is used: it is the time at which this machine got the model.
    folder = store.model_folder(model.repo or "local/files", model.quantization, model.sha256)
    return replace(model, folder=folder, created=store.now())


def _check_space(model: StoredModel, archive: Path, folder: Path) -> None:
    """Raise StoreError unless the disk has room for all files and, at least as large, the archive holds them."""
    store.make_folder(models_dir())
    with store.translate_os_errors(folder):
        free = shutil.disk_usage(folder).free
    if model.size > archive.stat().st_size:
        raise StoreError(f"{archive} is incomplete: its files have {model.size:,} bytes", "Copy it over again.")
    if model.size + DISK_RESERVE > free:
        raise StoreError(
            f"{model.name} needs {model.size / 1e9:.2f} GB in {models_dir()}, and {free / 1e9:.2f} GB are free",
            "Free some space, or set EDGEFC_MODELS_DIR to another disk.",
        )


def _copy(source: BinaryIO, size: int, target: Path, progress: Progress) -> str:
    """Copy the next `size` bytes to a new file and return their sha256."""
    digest = hashlib.sha256()
    with target.open("xb") as file:
        while size > 0 and (block := source.read(min(size, BLOCK))):
            file.write(block)
            digest.update(block)
            size -= len(block)
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

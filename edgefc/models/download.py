"""Downloads one file over HTTP: resumed after a failure, hashed as it arrives, renamed only when its hash is right.

huggingface_hub makes the requests: endpoints, tokens, proxies, redirects, offline mode, waiting when the server asks
for it. Every process writes to a part file of its own, so two processes can at worst both download a file, but never
mix its bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import psutil

from edgefc.errors import DownloadError, HashMismatchError, StoreError
from edgefc.files import BLOCK, sync_folder
from edgefc.models.store import Progress, store_error
from edgefc.paths import check_name

log = logging.getLogger(__name__)
MAX_ATTEMPTS = 5  # in a row without a new byte
RETRY_DELAYS = (0.2, 1.0, 2.0, 4.0, 8.0)  # seconds
WRITE_SIZE = 256 << 10  # bytes written and hashed at a time
DISK_RESERVE = 64 << 20  # bytes that a download leaves free on the disk
RETRY_STATUSES = (408, 429, 500, 502, 503, 504)  # may succeed a little later
ABANDONED_AFTER = 86_400  # seconds without a byte, for the part of a process on another machine


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to download.

    path      in its repository, or its plain name
    size      in bytes; None when unknown
    sha256    in hex; None when unknown
    git_sha1  the git blob id of a small file that is not stored with LFS; None when unknown
    """

    path: str
    url: str
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


_ACTIVE_PARTS: set[str] = set()  # names of the part files that this process is writing


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def download_file(file: RemoteFile, target: Path, *, headers: Mapping[str, str], progress: Progress) -> str:
    """Download a file to `target` and return its sha256; after a failure or Ctrl-C, the next call resumes.

    Raises DownloadError, HashMismatchError, StoreError, or huggingface_hub's errors for the server's answers.
    """
    check_name(target.name)
    part = _PartFile(target, file, progress)
    _ACTIVE_PARTS.add(part.name)
    try:
        with part:
            _download_rest(part, headers)
            sha256 = part.check_hash()
        part.publish()
    except OSError as error:
        # huggingface_hub's errors are OSErrors as well; those of the file system carry a number.
        if error.errno and type(error).__module__ == "builtins":
            raise store_error(error, target) from error
        raise
    finally:
        _ACTIVE_PARTS.discard(part.name)
    return sha256


class _PartFile:
    """A file being downloaded, `NAME.HOST.PID.RANDOM.part`; takes over the part of a dead process if there is one."""

    def __init__(self, target: Path, file: RemoteFile, progress: Progress) -> None:
        self.target, self.file, self.progress = target, file, progress
        self.size = 0
        self._descriptor = -1
        self._path = target.with_name(f"{target.name}.{_host_name()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
        self._digests: list[_Digest] = []
        # Hashing runs in parallel to network and disk.
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="edgefc-hash")
        self._hashing: Future[None] | None = None

    @property
    def name(self) -> str:
        return self._path.name

    def __enter__(self) -> Self:
        is_adopted = self._adopt()
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        self._reset_digests()
        try:
            if is_adopted:
                self._hash_existing()
            self._check_space()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._hasher.shutdown(wait=True, cancel_futures=True)
        os.close(self._descriptor)

    def write(self, data: bytes) -> None:
        """Append bytes; they are hashed while the next ones are received."""
        if self.file.size is None and (self.size + len(data)) // DISK_RESERVE > self.size // DISK_RESERVE:
            self._check_space()
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        if self._hashing is not None:
            self._hashing.result()
        self._hashing = self._hasher.submit(self._update, data)
        self.size += len(data)
        self.progress(len(data))

    def restart(self) -> None:
        """Discard the content, when it is not the beginning of what the server sends."""
        if self._hashing is not None:
            self._hashing.result()
        self._hashing = None
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self.progress(-self.size)
        self.size = 0
        self._reset_digests()

    def check_hash(self) -> str:
        """Compare the hash with the published one and return the sha256. A wrong part is deleted."""
        if self._hashing is not None:
            self._hashing.result()
        file, sha256 = self.file, self._digests[0].hexdigest()
        expected, actual = (file.sha256, sha256) if file.sha256 else (file.git_sha1, self._digests[-1].hexdigest())
        if expected is not None and expected != actual:
            self._path.unlink(missing_ok=True)
            raise HashMismatchError(
                f"{file.name} has the hash {actual}, but the hub published {expected}",
                "The download was thrown away. Try again; if it happens again, a proxy may be changing files.",
            )
        os.fsync(self._descriptor)
        return sha256

    def publish(self) -> None:
        """Give the file its final name, and delete the parts that dead processes left."""
        self._path.replace(self.target)
        sync_folder(self.target.parent)
        for path in _part_paths(self.target):
            if not _is_in_use(path):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _update(self, data: bytes) -> None:
        for digest in self._digests:
            digest.update(data)

    def _reset_digests(self) -> None:
        self._digests = [hashlib.sha256()]
        if self.file.git_sha1 is not None and self.file.sha256 is None:
            # Git's ids are the SHA-1 of a header with the size, and the content. They guard against accidents only.
            head = f"blob {self.file.size}\0".encode()
            self._digests.append(hashlib.sha1(head, usedforsecurity=False))

    def _adopt(self) -> bool:
        """Take over the largest part that a dead process left; by renaming, so that only one process gets it."""
        abandoned = [path for path in _part_paths(self.target) if not _is_in_use(path)]
        for path in sorted(abandoned, key=_size_of, reverse=True):
            with contextlib.suppress(OSError):
                path.rename(self._path)
                return True
        return False

    def _hash_existing(self) -> None:
        """Hash the bytes of an adopted part: nothing is trusted, not even our own files."""
        while block := os.read(self._descriptor, BLOCK):
            self._update(block)
            self.size += len(block)
            self.progress(len(block))
        if self.file.size is not None and self.size > self.file.size:
            self.restart()

    def _check_space(self) -> None:
        folder = self.target.parent
        missing = 0 if self.file.size is None else self.file.size - self.size
        needed, free = missing + DISK_RESERVE, shutil.disk_usage(folder).free
        if needed > free:
            raise StoreError(
                f"{self.file.name} needs {needed / 1e9:.2f} GB more in {folder}, but only {free / 1e9:.2f} GB are free",
                "Free some space, set EDGEFC_MODELS_DIR to another disk, or choose a smaller quantization.",
            )


def _download_rest(part: _PartFile, headers: Mapping[str, str]) -> None:
    """Request the missing bytes until all are there."""
    import httpx2

    attempts = 0
    while True:
        size_before = part.size
        try:
            _receive_response(part, headers)
        except (httpx2.TransportError, ConnectionError) as error:
            if isinstance(error, httpx2.UnsupportedProtocol | httpx2.ProxyError):
                raise DownloadError(
                    f"{part.file.name}: {error}", "Check the proxy settings; the server may redirect to a bad address."
                ) from error
            reason = str(error) or type(error).__name__
        else:
            if part.file.size is None or part.size == part.file.size:
                return
            reason = f"received {part.size:,} of {part.file.size:,} bytes"
            if part.size > part.file.size:
                part.restart()
        attempts = 0 if part.size > size_before else attempts + 1
        if attempts >= MAX_ATTEMPTS:
            hint = "Run the same command again to resume the download."
            raise DownloadError(
                f"{part.file.name}: {reason}", hint if part.size else "Check the address, the network and the proxy."
            )
        log.info("%s: %s; trying again", part.file.name, reason)
        time.sleep(RETRY_DELAYS[attempts])


def _receive_response(part: _PartFile, headers: Mapping[str, str]) -> None:
    """Write the body of one response, as far as it gets."""
    from huggingface_hub import constants
    from huggingface_hub.utils import hf_raise_for_status, http_stream_backoff

    request_headers = {**headers, "Accept-Encoding": "identity"}
    if part.size:
        if part.size == part.file.size:
            return
        request_headers["Range"] = f"bytes={part.size}-"
    with http_stream_backoff(
        "GET",
        part.file.url,
        headers=request_headers,
        retry_on_exceptions=(),
        retry_on_status_codes=RETRY_STATUSES,
        max_retries=3,
        base_wait_time=RETRY_DELAYS[1],
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
    ) as response:
        if response.status_code == 416:
            part.restart()
            return
        hf_raise_for_status(response)
        if part.size and response.status_code != 206:
            part.restart()  # the server ignored the range and sends everything
        elif part.size and not _starts_at(response, part.size):
            part.restart()  # the server sends another range
            return
        _refuse_web_page(part.file, response.headers.get("Content-Type", ""))
        pieces = bytearray()
        try:
            # Without a chunk size: with one, the last incomplete chunk would be lost when the connection breaks.
            for piece in response.iter_raw():
                pieces += piece
                if len(pieces) >= WRITE_SIZE:
                    part.write(bytes(pieces))
                    pieces.clear()
                if part.file.size is not None and part.size > part.file.size:
                    break  # the caller starts over; the response may never end
        finally:
            if pieces:
                part.write(bytes(pieces))


def _starts_at(response: Any, size: int) -> bool:
    """Return True if a partial response begins at byte `size`."""
    begin = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return bool(begin == str(size))


def _refuse_web_page(file: RemoteFile, content_type: str) -> None:
    if content_type.startswith("text/html"):
        raise DownloadError(
            f"{file.name}: the server sent a web page instead of the file",
            "This network may require you to log in: open any page in a browser first.",
        )


def _host_name() -> str:
    return "".join(c for c in socket.gethostname()[:32] if c.isalnum() or c == "-") or "host"


def _part_paths(target: Path) -> Iterator[Path]:
    for path in target.parent.iterdir():
        if path.name.startswith(f"{target.name}.") and path.name.endswith(".part"):
            yield path


def _size_of(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _is_in_use(part: Path) -> bool:
    """Return True if the process that writes a part may still run; on another machine, for a day."""
    try:
        *_, host, pid, _, _ = part.name.rsplit(".", 4)
        changed = part.stat().st_mtime
        if host != _host_name():
            return time.time() - changed < ABANDONED_AFTER
        # Process ids are reused: a process that started after the part's last byte is another one.
        if int(pid) == os.getpid():
            return part.name in _ACTIVE_PARTS
        return psutil.Process(int(pid)).create_time() <= changed + 1
    except psutil.NoSuchProcess:
        return False
    except (OSError, ValueError, psutil.Error):
        return True

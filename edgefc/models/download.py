"""One file over HTTP: resumed, hashed while it comes, published only when it is what was promised.

huggingface_hub does the talking: endpoints, tokens, proxies, redirects, offline mode, waiting when the server says so.
Parts have names of their own per process, so that two processes can at worst both fetch a file, and never mix it.
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
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import psutil

from edgefc.errors import DownloadError, HashMismatchError, StoreError
from edgefc.files import BLOCK, sync_folder
from edgefc.models.store import check_name, store_error

log = logging.getLogger("edgefc.models.hub")
ATTEMPTS = 5  # without a byte of progress
PAUSES = (0.2, 1.0, 2.0, 4.0, 8.0)  # seconds before attempts
PIECE = 256 << 10  # bytes that are written and hashed at once
RESERVE = 64 << 20  # bytes that a download leaves free on the disk
WAIT = (408, 429, 500, 502, 503, 504)  # the server may answer otherwise in a while


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to fetch.

    path    in its repository, or its plain name
    size    in bytes; None: not known
    sha256  in hex; None: not known
    git_sha1  the id of a small file that is no LFS object; None: not known
    """

    path: str
    url: str
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


_ACTIVE: set[str] = set()  # names of the parts that this process is fetching
Progress = Callable[[int], None]  # told how many more bytes are there; negative when some are given up


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def fetch(file: RemoteFile, target: Path, *, headers: Mapping[str, str], progress: Progress) -> str:
    """Fetch a file to `target`; gives its sha256. What came before a failure or Ctrl-C is kept for the next time.

    Raises DownloadError, HashMismatchError, StoreError or what huggingface_hub raises for the server's answers.
    """
    check_name(target.name)
    part = _Part(target, file, progress)
    _ACTIVE.add(part.name)
    try:
        with part:
            _complete(part, headers)
            digest = part.check()
        part.publish()
    except OSError as error:
        # Those of huggingface_hub are OSErrors as well; those of the file system carry a number.
        if error.errno and type(error).__module__ == "builtins":
            raise store_error(error, target) from error
        raise
    finally:
        _ACTIVE.discard(part.name)
    return digest


class _Part:
    """A file that is being fetched: `NAME.HOST.PID.RANDOM.part`, adopted from a process that died if there is one."""

    def __init__(self, target: Path, file: RemoteFile, progress: Progress) -> None:
        self.target, self.file, self.progress = target, file, progress
        self.size = 0
        self._descriptor = -1
        self._path = target.with_name(f"{target.name}.{_host()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
        self._digests: list[_Digest] = []
        # Hashing runs beside the network and the disk.
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="edgefc-hash")
        self._hashing: Future[None] | None = None

    @property
    def name(self) -> str:
        return self._path.name

    def __enter__(self) -> Self:
        adopted = self._adopt()
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        self._fresh_digests()
        try:
            if adopted:
                self._read_again()
            self._check_space()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._hasher.shutdown(wait=True, cancel_futures=True)
        os.close(self._descriptor)

    def write(self, data: bytes) -> None:
        """Append. The hash follows a block behind."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        if self._hashing is not None:
            self._hashing.result()
        self._hashing = self._hasher.submit(self._update, data)
        self.size += len(data)
        self.progress(len(data))

    def restart(self) -> None:
        """Begin anew: what is there is not the beginning of what comes."""
        if self._hashing is not None:
            self._hashing.result()
        self._hashing = None
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self.progress(-self.size)
        self.size = 0
        self._fresh_digests()

    def check(self) -> str:
        """Compare with what was promised; gives the sha256. A part that is wrong is deleted."""
        if self._hashing is not None:
            self._hashing.result()
        file, found = self.file, self._digests[0].hexdigest()
        promised, got = (file.sha256, found) if file.sha256 else (file.git_sha1, self._digests[-1].hexdigest())
        if promised is not None and promised != got:
            self._path.unlink(missing_ok=True)
            raise HashMismatchError(
                f"{file.name} has the hash {got}, and the hub published {promised}",
                "What came was thrown away. Try again; if it happens again, something on the way changes files.",
            )
        os.fsync(self._descriptor)
        return found

    def publish(self) -> None:
        """Give the file its name, and clear away what dead processes left of it."""
        self._path.replace(self.target)
        sync_folder(self.target.parent)
        for path in _parts(self.target):
            if not _is_alive(path):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _update(self, data: bytes) -> None:
        for digest in self._digests:
            digest.update(data)

    def _fresh_digests(self) -> None:
        self._digests = [hashlib.sha256()]
        if self.file.git_sha1 is not None and self.file.sha256 is None:
            # Git's ids are SHA-1 of a header with the size, and the content. They guard against accidents only.
            head = f"blob {self.file.size}\0".encode()
            self._digests.append(hashlib.sha1(head, usedforsecurity=False))

    def _adopt(self) -> bool:
        """Take over the largest part of a process that is gone; a rename, so that only one gets it."""
        left = [path for path in _parts(self.target) if not _is_alive(path)]
        for path in sorted(left, key=_size, reverse=True):
            with contextlib.suppress(OSError):
                path.rename(self._path)
                return True
        return False

    def _read_again(self) -> None:
        """Hash what is there: nothing is taken on trust, not even from ourselves."""
        promised = self.file.size
        while block := os.read(self._descriptor, BLOCK):
            self._update(block)
            self.size += len(block)
            self.progress(len(block))
        if promised is not None and self.size > promised:
            self.restart()

    def _check_space(self) -> None:
        if self.file.size is None:
            return
        needed, free = self.file.size - self.size + RESERVE, shutil.disk_usage(self.target.parent).free
        if needed > free:
            folder = self.target.parent
            raise StoreError(
                f"{self.file.name} needs {needed / 1e9:.2f} GB more in {folder}, where {free / 1e9:.2f} are free",
                "Make room, set EDGEFC_MODELS_DIR to another disk, or choose a smaller quantization.",
            )


def _complete(part: _Part, headers: Mapping[str, str]) -> None:
    """Ask for what is missing until it is there."""
    import httpx2

    idle = 0
    while True:
        before = part.size
        try:
            _receive(part, headers)
        except (httpx2.TransportError, ConnectionError) as error:
            if isinstance(error, httpx2.UnsupportedProtocol | httpx2.ProxyError):
                raise DownloadError(
                    f"{part.file.name}: {error}", "The server, or a proxy, sends it elsewhere."
                ) from error
            reason = str(error) or type(error).__name__
        else:
            if part.file.size is None or part.size == part.file.size:
                return
            reason = f"{part.size:,} of {part.file.size:,} bytes came"
            if part.size > part.file.size:
                part.restart()
        idle = 0 if part.size > before else idle + 1
        if idle >= ATTEMPTS:
            raise DownloadError(
                f"{part.file.name}: {reason}", "What came is kept: run the same command again, it goes on from there."
            )
        log.info("%s: %s; trying again", part.file.name, reason)
        time.sleep(PAUSES[idle])


def _receive(part: _Part, headers: Mapping[str, str]) -> None:
    """One answer of the server, as far as it goes."""
    from huggingface_hub import constants
    from huggingface_hub.utils import hf_raise_for_status, http_stream_backoff

    asked = {**headers, "Accept-Encoding": "identity"}
    if part.size:
        if part.size == part.file.size:
            return
        asked["Range"] = f"bytes={part.size}-"
    with http_stream_backoff(
        "GET",
        part.file.url,
        headers=asked,
        retry_on_exceptions=(),
        retry_on_status_codes=WAIT,
        max_retries=3,
        base_wait_time=PAUSES[1],
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
    ) as response:
        if response.status_code == 416:
            part.restart()
            return
        hf_raise_for_status(response)
        if part.size and response.status_code != 206:
            part.restart()  # everything comes
        elif part.size and not _continues(response, part.size):
            part.restart()  # some other piece does
            return
        _check_kind(part.file, response.headers.get("Content-Type", ""))
        pieces = bytearray()
        try:
            # As they come: a chunk size would lose what is short of it when the connection breaks.
            for piece in response.iter_raw():
                pieces += piece
                if len(pieces) >= PIECE:
                    part.write(bytes(pieces))
                    pieces.clear()
        finally:
            if pieces:
                part.write(bytes(pieces))


def _continues(response: Any, size: int) -> bool:
    """Whether an answer goes on where we are."""
    begin = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return bool(begin == str(size))


def _check_kind(file: RemoteFile, content_type: str) -> None:
    if content_type.startswith("text/html"):
        raise DownloadError(
            f"{file.name}: a web page was sent instead of the file",
            "Perhaps this network wants you to log in: open a page in a browser first.",
        )


def _host() -> str:
    return "".join(c for c in socket.gethostname()[:32] if c.isalnum() or c == "-") or "host"


def _parts(target: Path) -> Iterator[Path]:
    for path in target.parent.iterdir():
        if path.name.startswith(f"{target.name}.") and path.name.endswith(".part"):
            yield path


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _is_alive(part: Path) -> bool:
    """Whether the process that fetches a part may still run. On another machine that shares the disk: for a day."""
    try:
        *_, host, pid, _, _ = part.name.rsplit(".", 4)
        changed = part.stat().st_mtime
        if host != _host():
            return time.time() - changed < 86_400
        # Numbers of processes come again: one that began after the part's last byte is another.
        if int(pid) == os.getpid():
            return part.name in _ACTIVE
        return psutil.Process(int(pid)).create_time() <= changed + 1
    except psutil.NoSuchProcess:
        return False
    except (OSError, ValueError, psutil.Error):
        return True

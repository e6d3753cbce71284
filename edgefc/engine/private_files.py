"""Files of what was computed for a model: KV caches of prompts, and its vocabulary. Only their owner can read them.

llama.cpp trusts a saved state blindly. A file is used only if it is the user's own, and its header has a code that
needs the user's secret key, in the folder of settings; the header has the size and the sha256 of the rest. Nothing is
read or allocated before that. The name of a file is a hash, with the same key, of all that it depends on.

    8 bytes  MAGIC
    4        length of the header
    header   JSON: format, identity, tokens, bytes, sha256
    32       HMAC-SHA256 of the header
    8 each   the keys of the tokens; a vocabulary has none
    bytes    the data
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgefc import files, paths
from edgefc.engine.identity import FILE_VERSION

log = logging.getLogger("edgefc.prefix")
SUFFIX = ".kv"
MAGIC = b"edgefckv"
MAX_HEADER = 4096
KEY_FILE, KEY_SIZE = "cache.key", 32


class UnusableFileError(ValueError):
    """A file is damaged, foreign, or of another model, release or prompt."""


class PrivateFiles:
    """The files of one model in a folder that all models share.

    identity  hash of all that the data depend on, but the prompt
    limit     bytes that all files of the folder may take
    """

    def __init__(self, identity: str, folder: Path, limit: int) -> None:
        self._identity, self._folder, self.limit = identity, folder, limit
        self._key = b""

    def path(self, keys: list[int]) -> Path:
        """Return the path of the file for exactly these tokens. Raises OSError where no key can be had."""
        digest = hmac.new(self._secret(), self._identity.encode() + key_bytes(keys), hashlib.sha256)
        return self._folder / f"{digest.hexdigest()[:40]}{SUFFIX}"

    def write(self, path: Path, keys: list[int], data: NDArray[np.uint8]) -> None:
        """Write data, and delete the files used longest ago if there are too many. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._check_folder()
        tokens = key_bytes(keys)
        digest = hashlib.sha256(tokens)
        digest.update(data.data)
        fields = {
            "format": FILE_VERSION,
            "identity": self._identity,
            "tokens": len(keys),
            "bytes": int(data.nbytes),
            "sha256": digest.hexdigest(),
        }
        header = json.dumps(fields).encode()
        head = MAGIC + len(header).to_bytes(4, "little") + header + self._code(header) + tokens
        files.write_file(path, head, data.data, mode=0o600)
        self._drop_oldest(path)

    def read(self, path: Path, keys: list[int]) -> NDArray[np.uint8]:
        """Read data. Raises UnusableFileError, OSError, or MemoryError where it does not fit into memory."""
        self._check_folder()
        with _open_own(path) as file:
            fields = self._read_header(file)
            tokens, size = key_bytes(keys), fields["bytes"]
            if (fields["format"], fields["identity"], fields["tokens"]) != (FILE_VERSION, self._identity, len(keys)):
                raise UnusableFileError("of another model, release or prompt")
            if file.tell() + len(tokens) + size != os.fstat(file.fileno()).st_size or size > self.limit:
                raise UnusableFileError("incomplete")
            if file.read(len(tokens)) != tokens:
                raise UnusableFileError("of another prompt")
            data = np.empty(size, dtype=np.uint8)
            if file.readinto(data.data) != size:  # type: ignore[attr-defined]  # of a buffered reader
                raise UnusableFileError("incomplete")
        digest = hashlib.sha256(tokens)
        digest.update(data.data)
        if digest.hexdigest() != fields["sha256"]:
            raise UnusableFileError("wrong hash")
        with contextlib.suppress(OSError):
            os.utime(path)
        return data

    def _read_header(self, file: BinaryIO) -> dict[str, Any]:
        """Read the header, and check that this user's edgefc wrote it. Raises UnusableFileError."""
        start = file.read(12)
        size = int.from_bytes(start[8:], "little")
        if start[:8] != MAGIC or size > MAX_HEADER:
            raise UnusableFileError("not a snapshot")
        header, code = file.read(size), file.read(hashlib.sha256().digest_size)
        if not hmac.compare_digest(code, self._code(header)):
            raise UnusableFileError("damaged, or not written by this user")
        fields: dict[str, Any] = json.loads(header)
        return fields

    def _code(self, header: bytes) -> bytes:
        return hmac.digest(self._secret(), header, "sha256")

    def _secret(self) -> bytes:
        if not self._key:
            self._key = _user_key(paths.config_dir())
        return self._key

    def _check_folder(self) -> None:
        """Make sure that only the user can write to the folder. Raises OSError."""
        status = self._folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or not _is_own(status):
            raise PermissionError(f"{self._folder} is not a folder of this user")
        if os.name == "posix" and status.st_mode & 0o077:
            self._folder.chmod(0o700)

    def _drop_oldest(self, newest: Path) -> None:
        """Delete files until the folder is within its limit; another process may be doing the same."""
        found: list[tuple[float, int, Path]] = []
        for path in newest.parent.glob(f"*{SUFFIX}"):
            with contextlib.suppress(OSError):
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode) or status.st_size > self.limit:
                    path.unlink()
                else:
                    found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit:
                return
            if path != newest:
                with contextlib.suppress(OSError):
                    path.unlink()
                total -= size


def key_bytes(keys: list[int]) -> bytes:
    """Return the keys of tokens as they stand in a file."""
    return np.asarray(keys, dtype="<i8").tobytes()


def _user_key(folder: Path) -> bytes:
    """Return the user's secret key, a new one at first. Raises OSError for a file that others can read or write."""
    path = folder / KEY_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write_file(path, secrets.token_bytes(KEY_SIZE), mode=0o600)
    with _open_own(path) as file:
        status, key = os.fstat(file.fileno()), file.read(KEY_SIZE + 1)
    if len(key) != KEY_SIZE or (os.name == "posix" and status.st_mode & 0o077):
        raise PermissionError(f"{path} is damaged, or not private: delete it")
    return key


def _open_own(path: Path) -> BinaryIO:
    """Open a regular file of this user's; a link is none. Raises OSError."""
    if path.is_symlink():
        raise PermissionError(f"{path} is a link")
    file = files.open_regular(path)
    status = os.fstat(file.fileno())
    if not _is_own(status) or (os.name == "posix" and status.st_mode & 0o022):
        file.close()
        raise PermissionError(f"{path} can be written by others")
    return file


def _is_own(status: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()

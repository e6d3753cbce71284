"""llama-server's own tests, as the source of the pinned llama-cpp-python has them, and an environment to run them in.

Both are kept in edgefc's cache folder; nothing of them is part of this project.
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
TESTS, TEMPLATES = "tools/server/tests", "models/templates"  # cases name templates, and want to see them
REQUIREMENTS = bootstrap.lock("conformance")
_NO_CODE = re.compile(r"(?:^#.*\n|^\n)+", re.MULTILINE)
_PARAMETERS = re.compile(r"^@pytest.*?^def (\w+)", re.MULTILINE | re.DOTALL)
_CASE = re.compile(r"^( +)# (\(.*\),) *$", re.MULTILINE)


def source(archive: Path | None = None) -> Path:
    """The folder with TESTS and TEMPLATES in it: of this source package, else of the pinned one, which is fetched once."""
    what = hashlib.sha256(archive.read_bytes()).hexdigest()[:16] if archive else VERSION

    def extract(folder: Path) -> None:
        with (
            tempfile.TemporaryDirectory() as place,
            tarfile.open(archive or peer.source_package(Path(place))) as packed,
        ):
            for member in packed:
                path = member.name.partition("/vendor/llama.cpp/")[2]
                if path.startswith((f"{TESTS}/", f"{TEMPLATES}/")):
                    packed.extract(member.replace(name=path), folder, filter="data")
        if not (folder / TESTS).is_dir():
            sys.exit(f"{archive or VERSION}: no {TESTS} of llama.cpp in it")

    return _kept(f"llama-server-tests-{what}", extract)


def python() -> Path:
    """The interpreter of an environment with what the tests need."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    inside = Path("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def create(folder: Path) -> None:
        _run(sys.executable, "-m", "venv", str(folder))
        pip = (str(folder / inside), "-m", "pip", "--disable-pip-version-check", "-q")
        _run(*pip, "install", "--require-hashes", "-r", str(REQUIREMENTS))

    return _kept(f"llama-server-tests-env-{wanted}", create) / inside


def copy(folder: Path, place: Path) -> Path:
    """A copy of `source()` with the cases for required calls switched on, and names of headers that may be written in
    small letters as well, which they are here; its folder of tests.
    """
    shutil.copytree(folder, place, dirs_exist_ok=True)
    tests = place / TESTS
    _change(tests / "unit" / "test_tool_call.py", switched_on)
    _change(tests / "utils.py", lambda text: text.replace("dict(response.headers)", "response.headers"))
    return tests


def switched_on(text: str) -> str:
    """A test module in which functions, and parameters of functions about required calls, are code again that were
    commented out; comments that are no code stay.
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
        sys.exit(f"{path.name} of llama-cpp-python {VERSION} is not what {__file__} was written for")
    path.write_text(after, encoding="utf-8")


def _is_code(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache; made where it is not there, whole or not at all."""
    folder = paths.cache_dir() / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{name}-") as place:
            made = Path(place) / name
            made.mkdir()
            make(made)
            if not folder.is_dir():
                made.replace(folder)
    return folder


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout[-4000:]}\n`{' '.join(command[:5])} …` failed; its last words are above")

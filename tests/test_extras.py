"""The library works without the packages of its extras, and says which extra a part needs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=~! ;]", requirement, maxsplit=1)[0].lower()


OPTIONAL = {name_of(entry) for extra in EXTRAS.values() for entry in extra} - {"edgefc"}
UNLOCKED = {"ray"}  # with its packages 400 MB; tests/ray runs where it is installed
# Imports that fail in a library without extras: those of the extras, and what comes along with them.
MODULES = sorted({name.replace("-", "_") for name in OPTIONAL} | {"starlette", "click", "pygments"})
BLOCK = f"""
import sys
for name in {MODULES}:
    sys.modules[name] = None  # an import of it fails, as if it were not installed
"""


def run_without_extras(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_library_needs_neither_server_nor_command_line() -> None:
    done = run_without_extras("""
import asyncio
import edgefc, edgefc.llama_cpp, edgefc.transcripts, edgefc.evaluation.run
from edgefc.lint import lint_tools

@edgefc.tool
def get_weather(location: str) -> str:
    '''Get the current weather for a city'''
    return '18 degrees celsius'

assert not lint_tools([get_weather])[0].is_refused
with edgefc.load('demo', n_threads=1) as model:
    print(model.run('What is the weather in Paris?', tools=[get_weather], temperature=0).messages[2]['content'])
    print(asyncio.run(model.achat([{'role': 'user', 'content': 'Hello'}], max_tokens=4)).outcome)
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["18 degrees celsius", "length"]


def test_a_part_names_the_extra_that_it_needs() -> None:
    done = run_without_extras("""
from edgefc.errors import MissingPackageError
from edgefc.models.pull import pull_model

def serve():
    import edgefc.server

for use in (serve, lambda: pull_model('qwen3-8b')):
    try:
        use()
    except MissingPackageError as error:
        print(error.hint)
""")
    assert done.stdout.splitlines() == [
        "Install what this needs: pip install 'edgefc[server]'",
        "Install what this needs: pip install 'edgefc[hub]'",
    ], done.stderr


def test_the_program_says_how_to_install_it() -> None:
    done = run_without_extras(
        "import runpy\nsys.argv = ['edgefc', 'list']\nrunpy.run_module('edgefc', run_name='__main__')"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: typer")
    assert "pip install 'edgefc[cli]'" in done.stderr


def test_the_locks_hold_the_packages_of_all_extras() -> None:
    needed = (OPTIONAL - UNLOCKED) | {name_of(entry) for entry in PROJECT["dependencies"]}
    for lock in ("run.txt", "test.txt"):
        text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
        assert needed <= {match.lower() for match in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def test_the_readme_installs_the_program_with_its_extras() -> None:
    assert "pip install '.[cli,server]'" in (ROOT / "README.md").read_text(encoding="utf-8")

"""The documents' Python passes mypy and pyright in their strict modes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import blocks

ROOT = Path(__file__).parents[1]
SNIPPETS = [(document, text) for document, text in blocks("python") if document != "ray.md"]  # Ray is rarely installed
# Wrong uses, and a word of the report that names what is wrong.
MISTAKES = {
    'reply = model.chat(messages, temprature=0.5)': "temprature",
    'reply = model.chat(messages, temperature="warm")': "temperature",
    'model.run("Hello", tools=[], max_round=3)': "max_round",
    "number: str = add(1, 2)": "str",
    'add("one", 2)': "int",
    'model.chat(messages, response_format=Point).parsed.z': "z",
}  # fmt: skip
CORRECT = '''
import asyncio
import functools
from dataclasses import dataclass
from typing import assert_type

import edgefc
from edgefc.types import Delta


@dataclass
class Point:
    x: int


@edgefc.tool
def add(a: int, b: int = 1) -> int:
    """Add numbers"""
    return a + b


@edgefc.tool(timeout=5)
async def double(a: int) -> int:
    return 2 * a


messages = [{"role": "user", "content": "Hello"}]
model = edgefc.load("demo")
assert_type(add(1), int)
assert_type(model.chat(messages, tools=[add, double, functools.partial(add, b=2)]).calls, list[edgefc.Call])
assert_type(model.chat(messages, response_format=Point, stop=None, tool_choice=None).parsed, Point | None)
assert_type(model.run("Hello", tools=[], response_format=Point).parsed, Point | None)
assert_type([delta for delta in model.chat(messages, stream=True)], list[Delta])
options: edgefc.ChatOptions = {"temperature": 0.5, "seed": None}
answer: edgefc.Reply = model.chat(messages, **options)
assert_type(answer.content, str)


async def main() -> None:
    assert_type(await double(2), int)
    reply = await model.achat(messages, response_format=Point)
    assert_type(reply.parsed, Point | None)
    async for delta in await model.achat(messages, stream=True):
        assert_type(delta, Delta)
    result = await model.arun("Hello", tools=[double], on_result=lambda name, arguments, content: print(name, content))
    assert_type(result.content, str)


asyncio.run(main())
'''


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The snippets of the documents, and typed programs with and without mistakes, as files."""
    folder = tmp_path_factory.mktemp("snippets")
    for number, (document, text) in enumerate(SNIPPETS):
        (folder / f"{document.removesuffix('.md')}_{number}.py").write_text(text, encoding="utf-8")
    (folder / "correct.py").write_text(CORRECT, encoding="utf-8")
    start = CORRECT[: CORRECT.index("assert_type(add")]
    for number, line in enumerate(MISTAKES):
        (folder / f"mistake_{number}.py").write_text(f"{start}{line}\n", encoding="utf-8")
    return folder


def checked(files: Path, found: dict[str, list[str]]) -> None:
    """Compare the errors of each file: none, but in each mistake one that names it."""
    for number, word in enumerate(MISTAKES.values()):
        reports = found.pop(f"mistake_{number}.py", [])
        assert any(word in report for report in reports), (list(MISTAKES)[number], reports)
    assert not found, "\n".join(f"{n} {x}" for n, v in found.items() for x in v)


def test_mypy_finds_nothing_in_strict_mode(files: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(ROOT / ".mypy_cache")]
    settings = ["--config-file", str(ROOT / "pyproject.toml"), "--no-namespace-packages", "--output", "json"]
    done = subprocess.run(
        [*command, *settings, *(path.name for path in sorted(files.glob("*.py")))],
        cwd=files, capture_output=True, text=True, timeout=500, env={**os.environ, "MYPYPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stderr
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        if entry["severity"] == "error":
            found.setdefault(Path(entry["file"]).name, []).append(
                f"{entry['line']}: {entry['message']}{entry['hint'] or ''}"
            )
    checked(files, found)


@pytest.mark.skipif(shutil.which("node") is None, reason="pyright needs node")
def test_pyright_finds_nothing_in_strict_mode(files: Path) -> None:
    settings = {
        "typeCheckingMode": "strict", "pythonVersion": "3.11", "include": ["*.py"], "extraPaths": [str(ROOT)],
        "reportMissingTypeStubs": False,
    }  # fmt: skip
    (files / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=files, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for entry in json.loads(done.stdout)["generalDiagnostics"]:
        if entry["severity"] == "error":
            line = entry["range"]["start"]["line"] + 1
            found.setdefault(Path(entry["file"]).name, []).append(f"{line}: {entry['message']}")
    checked(files, found)

"""The language of the code: docstrings begin with a verb or a noun phrase, and names are nouns or verbs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("edgefc", "demo", "benchmarks")
FILES = [ROOT / "bootstrap.py", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
# Questions and pronouns: the reader has to turn the sentence round to learn what a thing is or does.
OPENERS = re.compile(
    r"(What|Whether|Which|How|Who|Whose|Whom|When|Where|Why|Those|That|These|This|As|It|Its|The same)\b", re.IGNORECASE
)
BANNED = {
    "asked", "asks", "begun", "gone", "given", "heard", "held", "hope", "kept", "made", "nobody", "said", "shown",
    "spent", "spoken", "told", "wanted", "wants",
}  # fmt: skip


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            text := ast.get_docstring(node)
        ):
            yield getattr(node, "lineno", 1), text


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that a file gives to something, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def location(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def poor_openers(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [f"{location(path, line)}: {text[:60]!r}" for line, text in docstrings(tree) if OPENERS.match(text)]


def banned_names(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [(line, name) for line, name in names(tree) if name.strip("_").lower() in BANNED]
    modules = [(1, path.stem)] if path.stem.strip("_") in BANNED else []
    return [f"{location(path, line)}: {name}" for line, name in [*modules, *found]]


def function_lengths(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{location(path, node.lineno)} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_docstrings_begin_with_a_verb_or_a_noun_phrase() -> None:
    assert not [finding for path in FILES for finding in poor_openers(path)]


def test_names_are_nouns_and_verbs() -> None:
    assert not [finding for path in FILES for finding in banned_names(path)]


def test_functions_fit_on_a_screen() -> None:
    assert not [name for path in FILES for name, length in function_lengths(path) if length > 60]


def test_modules_can_be_read_in_one_sitting() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > 420}


def test_the_rules_find_what_they_forbid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "sample.py"
    path.write_text('"""What it is."""\n\n\ndef told(given):\n    """Which one."""\n    self.kept = given\n', "utf-8")
    assert len(poor_openers(path)) == 2
    assert [finding.rpartition(" ")[2] for finding in banned_names(path)] == ["told", "given", "kept"]

"""Imports run one way: the files of the package have a topological order, and some rooms never meet."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edgefc"
FILES = sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py"))
# A room on the left never imports, directly or through others, from a room on the right.
NEVER = [
    ("engine", "models"),
    ("models", "engine"),
    ("models", "chat"),
    ("models", "llama_cpp"),
    ("grammar", "engine"),
    ("formats", "engine"),
    ("grammar", "formats"),
    ("server", "cli"),
]


def file_of(name: str) -> Path | None:
    """The file of a dotted name: a module, a package, or the module that defines the last part."""
    parts = name.split(".")
    while parts and parts[0] == "edgefc":
        base = Path(*parts)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if (ROOT / path).is_file():
                return path
        parts.pop()
    return None


def imported(file: Path) -> set[str]:
    """Dotted names of everything a file imports, inside functions and for type checking included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: relative imports hide the direction"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def edges(file: Path) -> set[Path]:
    return {target for name in imported(file) if (target := file_of(name)) is not None}


GRAPH = {file: edges(file) for file in FILES}


def room_of(file: Path) -> str:
    return file.parts[1].removesuffix(".py")


def reachable(start: Path) -> set[Path]:
    found: set[Path] = set()
    todo = [start]
    while todo:
        for target in GRAPH[todo.pop()] - found:
            found.add(target)
            todo.append(target)
    return found


def test_the_files_have_an_order_in_which_every_import_points_back() -> None:
    order = list(TopologicalSorter(GRAPH).static_order())  # raises CycleError, naming the files of the circle
    assert set(order) == set(FILES)


@pytest.mark.parametrize(("room", "other"), NEVER, ids=lambda name: str(name))
def test_rooms_that_know_nothing_of_each_other(room: str, other: str) -> None:
    own = [file for file in FILES if room_of(file) == room]
    assert own
    for file in own:
        reached = sorted(str(target) for target in reachable(file) if room_of(target) == other)
        assert not reached, f"{file} reaches {reached}"


def test_only_two_commands_know_the_server() -> None:
    users = {
        file.name for file in FILES if room_of(file) == "cli" for other in GRAPH[file] if room_of(other) == "server"
    }
    assert users == {"batch.py", "serve.py"}


@pytest.mark.parametrize("room", ["grammar", "formats", "models", "tools", "gguf"])
def test_llama_cpp_and_numpy_stay_in_the_engine(room: str) -> None:
    for file in FILES:
        if room_of(file) == room:
            assert not {name.split(".")[0] for name in imported(file)} & {"llama_cpp", "numpy"}, file


def test_few_files_lie_flat_beside_the_rooms() -> None:
    flat = [file for file in FILES if len(file.parts) == 2]
    assert len(flat) <= 14, flat

"""Imports run one way: a module may import only from rooms to the left of its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "edgefc"
ORDER = [
    {"errors", "types", "resources"},
    {
        "bundle",
        "gguf",
        "hardware",
        "hints",
        "hub",
        "memory",
        "pull",
        "registry",
        "store",
        "tools",
        "transfer",
        "wanted",
    },
    {"grammar"},
    {"formats"},
    {"engine", "validation"},
    {"inspection", "lint", "options", "prompt_parts", "reply"},
    {"raw", "request"},
    {"wire"},
    {"recording", "warm"},
    {"loop", "model"},
    {"speed"},
    {"recommend"},
    {"example_tools", "llama_cpp", "transcripts"},
    {"server"},
    {"evaluation"},
    {"cli", "__main__"},
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def room_of(module: Path) -> str:
    return module.parts[0] if len(module.parts) > 1 else module.stem


def imported(module: Path) -> set[str]:
    """Absolute names of all that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{module}: relative imports hide the direction"
            found |= {node.module} if node.module != "edgefc" else {f"edgefc.{a.name}" for a in node.names}
    return found


@pytest.mark.parametrize("module", [m for m in MODULES if m.name != "__init__.py" or len(m.parts) > 1], ids=str)
def test_a_module_imports_only_from_earlier_rooms(module: Path) -> None:
    own = room_of(module)
    for name in imported(module):
        parts = name.split(".")
        if parts[0] != "edgefc" or len(parts) == 1 or parts[1] not in RANK:
            continue
        assert parts[1] == own or RANK[parts[1]] <= RANK[own], f"{module} imports {name}"


@pytest.mark.parametrize("room", ["grammar", "formats"])
def test_grammar_and_formats_know_nothing_of_llama_cpp(room: str) -> None:
    for module in MODULES:
        if room_of(module) == room:
            assert not {name.split(".")[0] for name in imported(module)} & {"llama_cpp", "numpy"}, module


def test_every_module_has_a_place_in_the_order() -> None:
    assert {room_of(module) for module in MODULES} - {"__init__"} <= RANK.keys()

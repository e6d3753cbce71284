"""`edgefc lint`, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgefc.inspection import prompt_counter
from edgefc.lint import lint_tools
from edgefc.tools.examples import EXAMPLE_TOOLS
from tests.cli.conftest import Edgefc

DESCRIBED = {"type": "string", "description": "What it is"}


def function(name: Any, description: str = "Does something", **properties: Any) -> dict[str, Any]:
    return {"name": name, "description": description, "parameters": {"type": "object", "properties": properties}}


def lint(edgefc: Edgefc, path: Path, tools: Any, *words: str) -> tuple[int, dict[str, Any]]:
    path.write_text(json.dumps(tools), encoding="utf-8")
    done = edgefc("lint", str(path), "--json", *words)
    return done.returncode, json.loads(done.stdout)


def test_sound_tools_are_sound(edgefc: Edgefc) -> None:
    done = edgefc("lint", "--strict")
    assert done.returncode == 0
    assert f"{len(EXAMPLE_TOOLS)} tools, 0 refused, 0 warnings, 0 keywords" in done.stdout


def test_each_tool_has_its_figures_and_findings(edgefc: Edgefc, tmp_path: Path) -> None:
    tools = [
        function("sound", a=DESCRIBED),
        function("list_it", b={"type": "list", "uniqueItems": True, "description": "Things"}),
        function("bare", "", c={"type": "string"}),
        function("broken", d={"type": "object", "description": "x", "properties": {"e": {"pattern": "(a)\\1"}}}),
    ]
    code, report = lint(edgefc, tmp_path / "t.json", tools)
    sound, listed, bare, broken = report["tools"]
    assert code == 1
    assert not report["ok"]
    assert sound["grammar_bytes"] > 100
    assert sound["compile_ms"] > 0
    assert sound["problems"] == sound["unenforced"] == sound["changes"] == []
    place = "tools[1].function.parameters.properties.b"
    assert [problem["path"] for problem in listed["unenforced"]] == [f"{place}.uniqueItems"]
    assert [problem["path"] for problem in listed["changes"]] == [f"{place}.type"]
    assert [problem["path"] for problem in bare["problems"]] == [
        "tools[2].function", "tools[2].function.parameters.properties.c",
    ]  # fmt: skip
    assert broken["grammar_bytes"] is None
    assert broken["problems"][0]["level"] == "error"
    assert broken["problems"][0]["path"].startswith("tools[3].function.parameters.properties.d")


def test_only_errors_fail_unless_it_is_strict(edgefc: Edgefc, tmp_path: Path) -> None:
    tools = [function("f", a={"type": "string"})]
    assert lint(edgefc, tmp_path / "t.json", tools)[0] == 0
    assert lint(edgefc, tmp_path / "t.json", tools, "--strict")[0] == 1


@pytest.mark.parametrize(
    ("names", "levels"), [(["get_it", "get_it"], ["error"]), (["get_it", "GetIt"], ["warning"]), (["get", "got"], [])]
)
def test_names_that_are_taken_for_one_another(names: list[str], levels: list[str]) -> None:
    reports = lint_tools([function(name, a=DESCRIBED) for name in names])
    assert [problem["level"] for problem in reports[1].problems] == levels


def test_what_is_no_tool_is_reported_and_the_others_too(edgefc: Edgefc, tmp_path: Path) -> None:
    code, report = lint(edgefc, tmp_path / "t.json", [5, function("b c"), function("f", a=DESCRIBED)])
    assert code == 1
    assert [bool(tool["problems"]) for tool in report["tools"]] == [True, True, False]


def test_each_function_of_a_file_gets_its_report(edgefc: Edgefc, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "def good(a: int) -> int:\n    'Good'\n    return a\n"
        "def untyped(a) -> int:\n    return a\n"
        "def odd(a: type) -> int:\n    return 1\n"
    )
    done = edgefc("lint", str(path), "--json")
    assert done.returncode == 1
    reports = json.loads(done.stdout)["tools"]
    assert [(report["name"], bool(report["grammar_bytes"])) for report in reports] == [
        ("good", True), ("untyped", False), ("odd", False)
    ]  # fmt: skip
    assert "untyped(a): missing type hint" in reports[1]["problems"][0]["message"]
    assert "odd(a): unsupported type type" in reports[2]["problems"][0]["message"]


def test_prompt_tokens_are_what_the_tool_adds(edgefc: Edgefc, tmp_path: Path) -> None:
    tools = [function("f", a=DESCRIBED), function("g", a=DESCRIBED, b=DESCRIBED)]
    _, report = lint(edgefc, tmp_path / "t.json", tools, "--model", "demo")
    tokens = [tool["prompt_tokens"] for tool in report["tools"]]
    count = prompt_counter("demo")
    wrapped: Any = [{"type": "function", "function": tool} for tool in tools]
    assert tokens == [count(wrapped) - count(wrapped[1:]), count(wrapped) - count(wrapped[:1])]
    assert 0 < tokens[0] < tokens[1]


@pytest.mark.parametrize(("words", "message"), [(["none.json"], "no such file: none.json"), (["-m", "nope"], "nope")])
def test_what_cannot_be_read_is_one_message(edgefc: Edgefc, words: list[str], message: str) -> None:
    done = edgefc("lint", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr

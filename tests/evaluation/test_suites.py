"""Cases are read from their files, or an error names the file and line."""

from __future__ import annotations

import collections
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from edgefc.errors import RequestError, SuiteError
from edgefc.evaluation import demo
from edgefc.evaluation.bfcl import CATEGORIES, WITHOUT_EXPECTED
from edgefc.evaluation.bfcl_docs import as_tool
from edgefc.evaluation.suites import load_cases, match_categories
from tests.conftest import SHARED
from tests.evaluation.checkout import entries, write_checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkout(tmp_path_factory.mktemp("gorilla"))


def test_bfcls_own_files_are_read_category_by_category(checkout: Path) -> None:
    cases = load_cases("bfcl", checkout)
    counted = collections.Counter(case.category for case in cases)
    expected = collections.Counter(entry["category"] for entry in entries())
    assert counted == {**expected, "irrelevance": 1}
    assert [c for c in CATEGORIES if c in counted] == list(dict.fromkeys(case.category for case in cases))
    by_id = {case.id: case for case in cases}
    for entry in entries():
        case = by_id[entry["id"]]
        assert (case.messages, case.functions, case.expected) == (
            entry["messages"], entry["functions"], entry["expected"],
        )  # fmt: skip
        assert all("." not in tool["function"]["name"] for tool in case.tools)


def test_javas_arguments_become_source_text_and_pythons_keep_json_schemas_types() -> None:
    doc: dict[str, Any] = {
        "name": "a.b",
        "description": "Does.",
        "parameters": {
            "type": "dict",
            "properties": {
                "size": {"type": "float", "description": "How much."},
                "tags": {"type": "Array", "items": {"type": "String"}, "description": "Which."},
                "other": {"type": "any", "description": "What."},
            },
            "required": [],
        },
    }
    java = as_tool(doc, "simple_java")["function"]
    assert java["name"] == "a_b"
    assert {schema["type"] for schema in java["parameters"]["properties"].values()} == {"string"}
    assert "elements are of type String" in java["parameters"]["properties"]["tags"]["description"]
    python = as_tool(doc, "simple_python")["function"]["parameters"]
    assert python["type"] == "object"
    assert [schema["type"] for schema in python["properties"].values()] == ["number", "array", "string"]
    assert python["properties"]["tags"]["items"] == {"type": "string"}


def test_tools_are_those_of_bfcls_own_handlers() -> None:
    folder = SHARED / "data" / "bfcl"
    if not folder.is_dir():
        pytest.skip("needs BFCL's cases with their tools, which are not part of the project")
    compared = 0
    for path in [path for path in folder.glob("*.jsonl*") if "func_docs" not in path.name]:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            for entry in map(json.loads, file):
                assert [as_tool(doc, entry["category"]) for doc in entry["raw_functions"]] == entry["tools"], entry[
                    "id"
                ]
                compared += 1
    assert compared > 1000
    assert {case.category for case in load_cases("bfcl", folder)} == set(CATEGORIES)


def test_the_packages_cases_cover_every_category_and_are_unique() -> None:
    cases = load_cases("demo")
    counted = collections.Counter(case.category for case in cases)
    assert counted.keys() == set(demo.CATEGORIES)
    assert counted.pop("paraphrases") >= 30  # written by hand
    assert min(counted.values()) >= 50
    assert len({case.id for case in cases}) == len(cases)
    assert len({case.digest for case in cases}) == len(cases)


def test_a_limit_counts_per_category_and_a_larger_one_includes_the_cases_of_a_smaller_one() -> None:
    few, more = ({case.id for case in load_cases("demo", limit=limit)} for limit in (2, 5))
    assert len(few) == 2 * len(demo.CATEGORIES)
    assert few < more
    assert len(more) == 5 * len(demo.CATEGORIES)
    assert few != {f"{category}_{number}" for category in demo.CATEGORIES for number in range(2)}


@pytest.mark.parametrize(
    ("names", "categories"),
    [
        (["simple"], ["simple_python"]),
        (["java", "javascript"], ["simple_java", "simple_javascript"]),
        (["parallel-multiple", " multiple"], ["multiple", "parallel_multiple"]),
        (["live_*irrelevance"], ["live_irrelevance"]),
        ([], list(CATEGORIES)),
    ],
)
def test_categories_match_names_and_patterns(names: list[str], categories: list[str]) -> None:
    assert match_categories("bfcl", names) == categories


def test_an_unknown_suite_category_or_folder_is_refused(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="unknown category 'paralel'") as caught:
        load_cases("bfcl", checkout, categories=["simple", "paralel"])
    assert "Did you mean parallel" in str(caught.value)
    with pytest.raises(RequestError, match="unknown suite 'bfc'"):
        load_cases("bfc", checkout)
    with pytest.raises(RequestError, match="no cases of live_irrelevance"):
        load_cases("bfcl", checkout, categories=["live_irrelevance"])
    with pytest.raises(RequestError, match="must be 1 or more"):
        load_cases("demo", limit=0)
    with pytest.raises(RequestError, match="Point --data at"):
        load_cases("bfcl")
    with pytest.raises(SuiteError, match="no BFCL cases in"):
        load_cases("bfcl", tmp_path)
    with pytest.raises(SuiteError, match="no such folder"):
        load_cases("bfcl", tmp_path / "none")


GOOD: dict[str, Any] = {
    "id": "simple_python_0",
    "category": "simple_python",
    "messages": [{"role": "user", "content": "Go"}],
    "tools": [{"type": "function", "function": {"name": "go", "parameters": {"type": "object", "properties": {}}}}],
    "raw_functions": [{"name": "go", "parameters": {"type": "dict", "properties": {}, "required": []}}],
    "ground_truth": [{"go": {}}],
}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": ', "invalid JSON"),
        ("[]", "must be an object"),
        (json.dumps({"id": "1"}), "category is missing"),
        (json.dumps({**GOOD, "category": "multiple"}), "category is 'multiple' in a file of simple_python"),
        (json.dumps({**GOOD, "messages": []}), "messages must be a list"),
        (
            json.dumps({**GOOD, "tools": [{"type": "function", "function": {"name": "a b"}}]}),
            "tools\\[0\\].function.name",
        ),
        (json.dumps({**GOOD, "raw_functions": []}), "raw_functions must list functions"),
        (json.dumps({**GOOD, "ground_truth": [{"go": {"to": "Bern"}}]}), "ground_truth must be"),
        (json.dumps({**GOOD, "ground_truth": None}), "ground_truth must be"),
    ],
)
def test_a_broken_case_is_named_with_file_and_line(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "simple_python.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(SuiteError, match=rf"simple_python\.jsonl line 3: .*{reason}"):
        load_cases("bfcl", tmp_path)


@pytest.mark.parametrize("name", ["BFCL_v4_multiple.json", "possible_answer/BFCL_v4_multiple.json"])
def test_a_broken_checkout_is_named_with_file_and_line(tmp_path: Path, name: str) -> None:
    data = write_checkout(tmp_path) / "berkeley-function-call-leaderboard" / "bfcl_eval" / "data"
    lines = (data / name).read_text(encoding="utf-8").splitlines()
    (data / name).write_text("\n".join([lines[0], lines[1][:-9], *lines[2:]]), encoding="utf-8")
    with pytest.raises(SuiteError, match=r"BFCL_v4_multiple\.json line 2: invalid JSON"):
        load_cases("bfcl", tmp_path)
    (data / name).write_text("\n".join(lines[:1]), encoding="utf-8")
    if name.startswith("possible"):
        with pytest.raises(SuiteError, match=r"line 2: possible_answer/.* has no ground_truth for multiple_"):
            load_cases("bfcl", tmp_path)
    (data / name).unlink()
    if name.startswith("possible"):
        with pytest.raises(SuiteError, match=r"no such file: .*possible_answer"):
            load_cases("bfcl", tmp_path)


def test_a_damaged_archive_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "multiple.jsonl.gz").write_bytes(gzip.compress(json.dumps(GOOD).encode())[:-12])
    with pytest.raises(SuiteError, match=r"multiple\.jsonl\.gz"):
        load_cases("bfcl", tmp_path)


def test_only_relevance_categories_have_no_expected_answer() -> None:
    assert set(WITHOUT_EXPECTED) < set(CATEGORIES)
    assert all("relevance" in category for category in WITHOUT_EXPECTED)

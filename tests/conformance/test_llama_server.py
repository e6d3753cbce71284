"""llama-server's own tests pass or do not apply, and the verdicts are right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import upstream
from tests.conformance.llama_server import Case, NotApplicable, judge

ROOT = Path(__file__).parents[2]
EVERYTHING = os.environ.get("EDGEFC_CONFORMANCE") == "1"


@pytest.fixture
def downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the machine's cache for the tests and their environment, so that they are downloaded once."""
    monkeypatch.delenv("EDGEFC_CACHE_DIR")
    try:
        upstream.source()
        upstream.python()
    except SystemExit as reason:
        pytest.skip(f"llama-server's tests could not be downloaded: {reason}")


@pytest.mark.usefixtures("downloaded")
def test_llama_servers_own_tests_pass_or_do_not_apply() -> None:
    """Without slow cases; EDGEFC_CONFORMANCE=1 runs all."""
    command = [sys.executable, "-m", "tests.conformance.llama_server", "--json", *([] if EVERYTHING else ["--fast"])]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    cases = json.loads(done.stdout)["cases"]
    assert not [case for case in cases if case["status"] == "failed"]
    assert done.returncode == 0
    assert not [case for case in cases if case["status"] == "passed" and case["note"]], "listed cases that pass"
    called = [case for case in cases if "required_tool" in case["name"]]
    assert len(called) > 10
    assert {case["status"] for case in called} == {"passed"}


TABLE = [NotApplicable(r"test_a\.py::test_words\[", "== 'Suddenly'", "expects another answer")]


@pytest.mark.parametrize(
    ("case", "status", "note"),
    [
        (
            Case("test_a.py::test_words[1]", "failed", "assert 'Once' == 'Suddenly'"),
            "not applicable",
            "expects another answer",
        ),
        (Case("test_a.py::test_words[1]", "failed", "assert status == 200"), "failed", "expected to fail at"),
        (Case("test_a.py::test_words[1]", "skipped", "pytest.skip()"), "failed", "skipped at"),
        (Case("test_a.py::test_words[1]", "passed"), "passed", "remove it from the list"),
        (Case("test_a.py::test_words_too", "failed", "assert 'Once' == 'Suddenly'"), "failed", "failed at"),
        (Case("test_a.py::test_words_too", "passed"), "passed", ""),
    ],
    ids=str,
)
def test_a_case_is_not_applicable_only_if_it_fails_where_the_list_says(case: Case, status: str, note: str) -> None:
    verdict = judge(case, TABLE)
    assert verdict.status == status
    assert note in verdict.note
    assert bool(note) == bool(verdict.note)


def test_commented_out_cases_are_enabled_and_comments_stay() -> None:
    before = """\
# Why it is commented out
#
# @pytest.mark.parametrize("name", [
#     ("one"),
#     # never ends
#     # ("two",),
#     # ("broken, True),
# ])
# def test_required(name):
#     assert name

@pytest.mark.parametrize("name", [
    ("three",),
    # ("four",),
    # a remark
])
def test_required_too(name):
    pass


@pytest.mark.parametrize("name", [
    # ("five",),
])
def test_other(name):
    pass
"""
    after = """\
# Why it is commented out
#
@pytest.mark.parametrize("name", [
    ("one"),
    # never ends
    ("two",),
    # ("broken, True),
])
def test_required(name):
    assert name

@pytest.mark.parametrize("name", [
    ("three",),
    ("four",),
    # a remark
])
def test_required_too(name):
    pass


@pytest.mark.parametrize("name", [
    # ("five",),
])
def test_other(name):
    pass
"""
    assert upstream.enable_cases(before) == after

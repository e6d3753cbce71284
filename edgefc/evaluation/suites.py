"""Suites of cases: BFCL's from a folder of the user, the demo model's held-back ones from the package.

A file has one JSON object per line, gzipped or not. A case is `{id, category, messages, tools, ground_truth}`, for
BFCL with `raw_functions`, its original function docs. BFCL's own files, `BFCL_v4_*.json` with `possible_answer/`, need
no conversion.
"""

from __future__ import annotations

import difflib
import fnmatch
import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefc import paths
from edgefc.errors import RequestError, SuiteError
from edgefc.evaluation import bfcl, demo
from edgefc.evaluation.bfcl_docs import as_tool
from edgefc.evaluation.cases import Case, Mistake, ModelAnswer
from edgefc.tools import ToolSet

_ALIASES = {"simple": "simple_python", "java": "simple_java", "javascript": "simple_javascript"}
_SUBFOLDERS = ("", "bfcl_eval/data", "berkeley-function-call-leaderboard/bfcl_eval/data", "data")
_BFCL_FILE = re.compile(r"BFCL_v\d+_(.+)\.json\Z")


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite: its categories, the rules for answers, and a function that reads its cases.

    without_call  the categories in which the right answer calls nothing
    due_tools     returns the names of the tools that the right answer to a case is about
    """

    categories: tuple[str, ...]
    without_call: tuple[str, ...]
    judge: Callable[[Case, ModelAnswer], Mistake | None]
    read: Callable[[Path | None], Iterator[Case]]
    due_tools: Callable[[Case], set[str]]


def load_cases(
    suite: str, data: Path | None = None, *, categories: Sequence[str] = (), limit: int | None = None
) -> list[Case]:
    """Load the cases of a suite, grouped by category.

    data        the folder that holds BFCL's cases
    categories  names or patterns such as `live_*`, with hyphens for underscores if you like; empty: all
    limit       maximum per category, chosen by the hash of the ids: the choice is always the same, and a larger limit
                includes the cases of a smaller one

    Raises RequestError, or SuiteError with file and line.
    """
    if suite not in SUITES:
        raise RequestError("suite", f"unknown suite {suite!r}", f"Suites are {' and '.join(SUITES)}.")
    if limit is not None and limit < 1:
        raise RequestError("limit", f"must be 1 or more, not {limit}")
    by_category: dict[str, list[Case]] = {category: [] for category in match_categories(suite, categories)}
    for case in SUITES[suite].read(data):
        if case.category in by_category:
            by_category[case.category].append(case)
    if categories and (absent := [category for category, cases in by_category.items() if not cases]):
        raise RequestError("category", f"no cases of {', '.join(absent)} in {data}")
    if limit is not None:
        by_category = {category: sorted(cases, key=_id_hash)[:limit] for category, cases in by_category.items()}
    return [case for cases in by_category.values() for case in cases]


def cases_for(suite: str, cases: Sequence[Case], tool_choice: str) -> list[Case]:
    """Return the cases with a right answer under a tool choice: `required` has none where nothing is to be called."""
    without_call = SUITES[suite].without_call
    return [case for case in cases if tool_choice != "required" or case.category not in without_call]


def due_tools(suite: str, case: Case) -> set[str]:
    """Return the names of the tools that the right answer calls or asks back about; empty where any answer would do."""
    return SUITES[suite].due_tools(case)


def match_categories(suite: str, names: Sequence[str]) -> list[str]:
    """Return the categories that match names or patterns, in the suite's order. Raises RequestError."""
    categories = SUITES[suite].categories
    if not names:
        return list(categories)
    chosen: set[str] = set()
    for name in names:
        pattern = name.strip().replace("-", "_")
        matches = fnmatch.filter(categories, pattern if suite == "demo" else _ALIASES.get(pattern, pattern))
        if not matches:
            near = difflib.get_close_matches(pattern, categories, n=2)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Categories are {', '.join(categories)}."
            raise RequestError("category", f"unknown category {name.strip()!r} of the suite {suite}", hint)
        chosen.update(matches)
    return [category for category in categories if category in chosen]


def _id_hash(case: Case) -> str:
    return hashlib.sha256(case.id.encode()).hexdigest()


# -- BFCL -----------------------------------------------------------------------------------------------------------
def read_bfcl(data: Path | None) -> Iterator[Case]:
    """Read all single-turn cases in a folder, category by category. Raises SuiteError."""
    if data is None:
        raise RequestError(
            "data",
            "BFCL's cases are not part of edgefc",
            "Point --data at a checkout of ShishirPatil/gorilla, or a folder of such cases.",
        )
    if not data.is_dir():
        raise SuiteError(f"no such folder: {data}")
    files = _bfcl_files(data)
    if not files:
        raise SuiteError(
            f"no BFCL cases in {data}",
            "Looked for BFCL_v4_*.json and for CATEGORY.jsonl, here and in bfcl_eval/data.",
        )
    for category in bfcl.CATEGORIES:
        if category in files:
            path = files[category]
            yield from _bfcl_cases(path, category) if _BFCL_FILE.match(path.name) else read_cases(path, category)


def _bfcl_files(data: Path) -> dict[str, Path]:
    """Return the file of each category, from the first folder that has any."""
    for subfolder in _SUBFOLDERS:
        files: dict[str, Path] = {}
        for path in sorted((data / subfolder).glob("*.json*")):
            original = _BFCL_FILE.match(path.name)
            name = original[1] if original else re.sub(r"\.jsonl(\.gz)?\Z", "", path.name)
            category = _ALIASES.get(name, name)
            if category in bfcl.CATEGORIES:
                files[category] = path
        if files:
            return files
    return {}


def _bfcl_cases(path: Path, category: str) -> Iterator[Case]:
    """Read the cases of one of BFCL's own files; the right answers are in `possible_answer` beside it."""
    expected: dict[str, Any] = {}
    if category not in bfcl.WITHOUT_EXPECTED:
        answers = path.parent / "possible_answer" / path.name
        expected = {str(entry["id"]): entry["ground_truth"] for _, entry in _objects(answers, "id", "ground_truth")}
    for location, entry in _objects(path, "id", "question", "function"):
        if category not in bfcl.WITHOUT_EXPECTED and entry["id"] not in expected:
            raise SuiteError(f"{location}: possible_answer/{path.name} has no ground_truth for {entry['id']}")
        question, docs = entry["question"], entry["function"]
        if not isinstance(question, list) or len(question) != 1:
            raise SuiteError(f"{location}: question must be a list with exactly one turn")
        try:
            tools = [as_tool(doc, category) for doc in docs]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SuiteError(f"{location}: function: {type(error).__name__}: {error}") from None
        case = {
            "id": entry["id"], "category": category, "messages": question[0], "tools": tools, "raw_functions": docs,
            "ground_truth": expected.get(entry["id"]),
        }  # fmt: skip
        yield _parse_case(location, case, category)


# -- the demo model's held-back cases -------------------------------------------------------------------------------
def read_demo(data: Path | None) -> Iterator[Case]:
    """Read the cases in the package, or those of a file of the same form."""
    return read_cases(data or paths.demo_suite(), None)


# -- files ----------------------------------------------------------------------------------------------------------
def read_cases(path: Path, category: str | None) -> Iterator[Case]:
    """Read the cases of a file, all of one category unless it is None. Raises SuiteError."""
    names = ("id", "category", "messages", "tools", "ground_truth")
    for location, entry in _objects(path, *names, *(("raw_functions",) if category else ())):
        yield _parse_case(location, entry, category)


def _parse_case(location: str, entry: Mapping[str, Any], category: str | None) -> Case:
    """Return a checked case. Raises SuiteError."""
    actual, messages, tools, docs = (entry.get(name) for name in ("category", "messages", "tools", "raw_functions"))
    if category is not None and actual != category:
        raise SuiteError(f"{location}: category is {actual!r} in a file of {category}")
    if category is None and actual not in demo.CATEGORIES:
        raise SuiteError(f"{location}: unknown category {actual!r}", f"Categories are {', '.join(demo.CATEGORIES)}.")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) and "role" in m for m in messages):
        raise SuiteError(f"{location}: messages must be a list of messages")
    if not isinstance(tools, list) or not isinstance(docs or [], list):
        raise SuiteError(f"{location}: tools and raw_functions must be lists")
    try:
        toolset = ToolSet.of(tools)
    except RequestError as error:
        raise SuiteError(f"{location}: {error}") from None
    case = Case(str(entry["id"]), str(actual), messages, toolset, entry["ground_truth"], docs or [])
    mistake = demo.check_expected(case) if category is None else bfcl.check_expected(case)
    if mistake:
        raise SuiteError(f"{location}: {mistake}")
    return case


def _objects(path: Path, *fields: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a file's lines as objects with these fields, each with file and line. Raises SuiteError."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    location = f"{path} line {number}"
                    yield location, _parse_object(location, line, fields)
    except FileNotFoundError:
        raise SuiteError(f"no such file: {path}") from None
    except (OSError, EOFError) as error:
        raise SuiteError(f"{path}: {error}") from None


def _parse_object(location: str, line: bytes, fields: Sequence[str]) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SuiteError(f"{location}: invalid JSON: {error}") from None
    if not isinstance(entry, dict):
        raise SuiteError(f"{location}: must be an object")
    if missing := [field for field in fields if field not in entry]:
        raise SuiteError(f"{location}: {missing[0]} is missing")
    return entry


SUITES = {
    "bfcl": Suite(bfcl.CATEGORIES, bfcl.IRRELEVANCE, bfcl.judge, read_bfcl, bfcl.due_tools),
    "demo": Suite(demo.CATEGORIES, demo.WITHOUT_CALL, demo.judge, read_demo, demo.due_tools),
}

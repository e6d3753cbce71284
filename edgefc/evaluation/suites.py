"""Suites of cases: BFCL's from a folder of the user's, the demo model's held-back ones from the package.

A file has one JSON object per line, gzipped or not. A case is `{id, category, messages, tools, ground_truth}`, and for
BFCL also `raw_functions`, its function docs untouched. BFCL's own files, `BFCL_v4_*.json` with `possible_answer/`, are
read as they are.
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
from edgefc.evaluation.cases import Answer, Case, Problem
from edgefc.tools import ToolSet

_ALIASES = {"simple": "simple_python", "java": "simple_java", "javascript": "simple_javascript"}
_INSIDE = ("", "bfcl_eval/data", "berkeley-function-call-leaderboard/bfcl_eval/data", "data")
_OWN = re.compile(r"BFCL_v\d+_(.+)\.json\Z")


@dataclass(frozen=True, slots=True)
class Suite:
    """Where cases come from, which categories there are, and what a right answer is."""

    categories: tuple[str, ...]
    judge: Callable[[Case, Answer], Problem | None]
    read: Callable[[Path | None], Iterator[Case]]


def load_cases(
    suite: str, data: Path | None = None, *, categories: Sequence[str] = (), limit: int | None = None
) -> list[Case]:
    """Cases of a suite, those of one category together.

    data        the folder that holds BFCL's cases
    categories  which of them; `live_*` and the like are patterns, hyphens are underscores. Empty: all there are
    limit       so many of each category at most, drawn by the hash of their ids: always the same ones, and a larger
                limit has those of a smaller one among them

    Raises RequestError, or SuiteError with file and line.
    """
    if suite not in SUITES:
        raise RequestError("suite", f"there is no suite {suite!r}", f"There are {' and '.join(SUITES)}.")
    if limit is not None and limit < 1:
        raise RequestError("limit", f"{limit} cases cannot be asked", "Say 1 or more.")
    wanted = wanted_categories(suite, categories)
    by_category: dict[str, list[Case]] = {category: [] for category in wanted}
    for case in SUITES[suite].read(data):
        if case.category in by_category:
            by_category[case.category].append(case)
    if categories and (absent := [category for category, cases in by_category.items() if not cases]):
        raise RequestError("category", f"{data}: there are no cases of {', '.join(absent)}")
    if limit is not None:
        by_category = {category: sorted(cases, key=_drawn)[:limit] for category, cases in by_category.items()}
    return [case for cases in by_category.values() for case in cases]


def wanted_categories(suite: str, asked: Sequence[str]) -> list[str]:
    """The suite's categories that are asked for, in its order. Raises RequestError for one it does not have."""
    known = SUITES[suite].categories
    if not asked:
        return list(known)
    chosen: set[str] = set()
    for name in asked:
        pattern = name.strip().replace("-", "_")
        found = fnmatch.filter(known, pattern if suite == "demo" else _ALIASES.get(pattern, pattern))
        if not found:
            near = difflib.get_close_matches(pattern, known, n=2)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(known)}."
            raise RequestError("category", f"{suite} has no category {name.strip()!r}", hint)
        chosen.update(found)
    return [category for category in known if category in chosen]


def _drawn(case: Case) -> str:
    return hashlib.sha256(case.id.encode()).hexdigest()


# -- BFCL -----------------------------------------------------------------------------------------------------------
def read_bfcl(data: Path | None) -> Iterator[Case]:
    """All single-turn cases in a folder, category by category. Raises SuiteError."""
    if data is None:
        raise RequestError(
            "data",
            "BFCL's cases are not part of edgefc",
            "Point --data at a checkout of ShishirPatil/gorilla, or a folder of such cases.",
        )
    if not data.is_dir():
        raise SuiteError(f"there is no folder {data}")
    files = _bfcl_files(data)
    if not files:
        raise SuiteError(
            f"{data} holds no cases of BFCL",
            "Looked for BFCL_v4_*.json and for CATEGORY.jsonl, here and in bfcl_eval/data.",
        )
    for category in bfcl.CATEGORIES:
        if category in files:
            path = files[category]
            yield from _own_cases(path, category) if _OWN.match(path.name) else read_cases(path, category)


def _bfcl_files(data: Path) -> dict[str, Path]:
    """The file of each category, of the first folder that has any."""
    for inside in _INSIDE:
        files: dict[str, Path] = {}
        for path in sorted((data / inside).glob("*.json*")):
            own = _OWN.match(path.name)
            name = own[1] if own else re.sub(r"\.jsonl(\.gz)?\Z", "", path.name)
            category = _ALIASES.get(name, name)
            if category in bfcl.CATEGORIES:
                files[category] = path
        if files:
            return files
    return {}


def _own_cases(path: Path, category: str) -> Iterator[Case]:
    """Cases of one of BFCL's own files; what is expected lies in `possible_answer` beside it."""
    expected: dict[str, Any] = {}
    if category not in bfcl.WITHOUT_EXPECTED:
        answers = path.parent / "possible_answer" / path.name
        expected = {_text(entry, "id"): entry["ground_truth"] for _, entry in _objects(answers, "id", "ground_truth")}
    for place, entry in _objects(path, "id", "question", "function"):
        if category not in bfcl.WITHOUT_EXPECTED and entry["id"] not in expected:
            raise SuiteError(f"{place}: possible_answer/{path.name} has no ground_truth for {entry['id']}")
        question, docs = entry["question"], entry["function"]
        if not isinstance(question, list) or len(question) != 1:
            raise SuiteError(f"{place}: question must be a list with one turn in it")
        try:
            tools = [as_tool(doc, category) for doc in docs]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SuiteError(f"{place}: function: {type(error).__name__}: {error}") from None
        found = {
            "id": entry["id"], "category": category, "messages": question[0], "tools": tools, "raw_functions": docs,
            "ground_truth": expected.get(entry["id"]),
        }  # fmt: skip
        yield _case(place, found, category)


# -- the demo model's held-back cases -------------------------------------------------------------------------------
def read_demo(data: Path | None) -> Iterator[Case]:
    """The cases in the package, or those of a file of the same form."""
    return read_cases(data or paths.demo_suite(), None)


# -- files ----------------------------------------------------------------------------------------------------------
def read_cases(path: Path, category: str | None) -> Iterator[Case]:
    """Cases of a file, all of one category where one is given. Raises SuiteError."""
    fields = ("id", "category", "messages", "tools", "ground_truth")
    for place, entry in _objects(path, *fields, *(("raw_functions",) if category else ())):
        yield _case(place, entry, category)


def _case(place: str, entry: Mapping[str, Any], category: str | None) -> Case:
    """A case that can be asked and judged. Raises SuiteError."""
    found, messages, tools, docs = (entry.get(name) for name in ("category", "messages", "tools", "raw_functions"))
    if category is not None and found != category:
        raise SuiteError(f"{place}: category is {found!r} in a file of {category}")
    if category is None and found not in demo.CATEGORIES:
        raise SuiteError(f"{place}: unknown category {found!r}", f"There are {', '.join(demo.CATEGORIES)}.")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) and "role" in m for m in messages):
        raise SuiteError(f"{place}: messages must be a list of messages")
    if not isinstance(tools, list) or not isinstance(docs or [], list):
        raise SuiteError(f"{place}: tools and raw_functions must be lists")
    try:
        checked = list(ToolSet.of(tools))
    except RequestError as error:
        raise SuiteError(f"{place}: {error}") from None
    case = Case(_text(entry, "id"), str(found), messages, checked, entry["ground_truth"], docs or [])
    wrong = demo.check_expected(case) if category is None else bfcl.check_expected(case)
    if wrong:
        raise SuiteError(f"{place}: {wrong}")
    return case


def _text(entry: Mapping[str, Any], name: str) -> str:
    return str(entry[name])


def _objects(path: Path, *fields: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A file's lines as objects that have these fields, each with its place. Raises SuiteError."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    place = f"{path} line {number}"
                    yield place, _object(place, line, fields)
    except FileNotFoundError:
        raise SuiteError(f"there is no file {path}") from None
    except (OSError, EOFError) as error:
        raise SuiteError(f"{path}: {error}") from None


def _object(place: str, line: bytes, fields: Sequence[str]) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SuiteError(f"{place}: not JSON: {error}") from None
    if not isinstance(entry, dict):
        raise SuiteError(f"{place}: must be an object")
    if missing := [field for field in fields if field not in entry]:
        raise SuiteError(f"{place}: {missing[0]} is missing")
    return entry


SUITES = {
    "bfcl": Suite(bfcl.CATEGORIES, bfcl.judge, read_bfcl),
    "demo": Suite(demo.CATEGORIES, demo.judge, read_demo),
}

"""A pytest plugin for the run of llama-server's tests. It writes a report as the JSON in EDGEFC_REPORTER tells it to.

mode      names: of all collected cases; bodies: of the first request of each case, which is not sent;
          outcomes: the result of each case
report    the file that gets a line of JSON for each case
servers   pairs of a pattern for the beginning of cases' names, and a port; the first match counts
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SETUP: dict[str, Any] = json.loads(os.environ["EDGEFC_REPORTER"])
# The tests import wget to download models, which the running servers do not need.
sys.modules["wget"] = ModuleType("wget")


def write(item: pytest.Item, **fields: Any) -> None:
    with Path(SETUP["report"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"name": name_of(item), **fields}) + "\n")


def name_of(item: pytest.Item) -> str:
    return item.nodeid.removeprefix("unit/")


def pytest_collection_finish(session: pytest.Session) -> None:
    if SETUP["mode"] == "names":
        for item in session.items:
            write(item)


@pytest.fixture(autouse=True)
def record_bodies(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if SETUP["mode"] == "bodies":
        from utils import ServerProcess

        def make_any_request(_: Any, method: str, path: str, data: dict[str, Any], **__: Any) -> None:
            write(request.node, body=data)
            pytest.skip(f"{method} {path}")

        monkeypatch.setattr(ServerProcess, "make_any_request", make_any_request)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if SETUP["mode"] == "outcomes":
        os.environ["PORT"] = next(str(port) for pattern, port in SETUP["servers"] if re.match(pattern, name_of(item)))


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    return ("failed", "-", "") if report.failed else None  # the verdict is made later


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if SETUP["mode"] == "outcomes" and (report.when == "call" or not report.passed):
        line = error = ""
        if call.excinfo is not None:
            own_lines = [
                entry for entry in call.excinfo.traceback if Path(entry.path).is_relative_to(item.config.rootpath)
            ]
            line, error = str(own_lines[-1].statement).strip() if own_lines else "", call.excinfo.exconly()
        write(item, outcome=report.outcome, line=line, error=error)
    return report

"""A plugin inside the pytest that runs llama-server's tests; writes down what EDGEFC_REPORTER, which is JSON, says.

wanted    names: of all cases that are collected; bodies: of the first request of each case, which is not sent;
          outcomes: how each case ended, and where
report    the file that gets a line of JSON for each
servers   pairs of a pattern that cases' names begin with, and a port; a case asks the first that fits
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
# The tests import it to download models, which a server that runs already has no use for.
sys.modules["wget"] = ModuleType("wget")


def write(item: pytest.Item, **more: Any) -> None:
    with Path(SETUP["report"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"name": name_of(item), **more}) + "\n")


def name_of(item: pytest.Item) -> str:
    return item.nodeid.removeprefix("unit/")


def pytest_collection_finish(session: pytest.Session) -> None:
    if SETUP["wanted"] == "names":
        for item in session.items:
            write(item)


@pytest.fixture(autouse=True)
def kept_back(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if SETUP["wanted"] == "bodies":
        from utils import ServerProcess

        def make_any_request(_: Any, method: str, path: str, data: dict[str, Any], **__: Any) -> None:
            write(request.node, body=data)
            pytest.skip(f"{method} {path}")

        monkeypatch.setattr(ServerProcess, "make_any_request", make_any_request)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if SETUP["wanted"] == "outcomes":
        os.environ["PORT"] = next(str(port) for pattern, port in SETUP["servers"] if re.match(pattern, name_of(item)))


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    return ("failed", "-", "") if report.failed else None  # whether that is a failure is not known here


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if SETUP["wanted"] == "outcomes" and (report.when == "call" or not report.passed):
        line = error = ""
        if call.excinfo is not None:
            own = [entry for entry in call.excinfo.traceback if Path(entry.path).is_relative_to(item.config.rootpath)]
            line, error = str(own[-1].statement).strip() if own else "", call.excinfo.exconly()
        write(item, outcome=report.outcome, line=line, error=error)
    return report

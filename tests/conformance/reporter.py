"""A plugin inside the pytest that runs llama-server's tests: sends each case to its server, writes down how it ended.

EDGEFC_CONFORMANCE has, as JSON, `servers` (pairs of a pattern that cases' names begin with, and a port; the first that
fits counts) and `report`, the file that gets a line of JSON for each case.
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

SETUP: dict[str, Any] = json.loads(os.environ["EDGEFC_CONFORMANCE"])
# The tests import it to download models, which a server that runs already has no use for.
sys.modules["wget"] = ModuleType("wget")


def name_of(item: pytest.Item) -> str:
    return item.nodeid.removeprefix("unit/")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    os.environ["PORT"] = next(str(port) for pattern, port in SETUP["servers"] if re.match(pattern, name_of(item)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or not report.passed:
        ended = {"name": name_of(item), "outcome": report.outcome, "line": "", "error": ""}
        if call.excinfo is not None:
            own = [entry for entry in call.excinfo.traceback if Path(entry.path).is_relative_to(item.config.rootpath)]
            ended["line"] = str(own[-1].statement).strip() if own else ""
            ended["error"] = call.excinfo.exconly()
        with Path(SETUP["report"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(ended) + "\n")
    return report

"""Cases with tools of other cases beside their own: is the right tool found among many?"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from edgefc.errors import RequestError
from edgefc.evaluation.cases import Case
from edgefc.evaluation.report import Rate
from edgefc.evaluation.suites import due_tools
from edgefc.limits import MAX_TOOLS
from edgefc.tools import ToolSet
from edgefc.tools.selection import MAX_SELECTED, select_tools
from edgefc.types import Tool


def with_distractors(
    suite: str, cases: Sequence[Case], others: Iterable[Case], count: int, seed: int = 0
) -> list[Case]:
    """Return the cases, each with `count` more tools, in an order drawn anew for each case.

    A case gets the same tools whatever cases it stands beside. None of them has the name of a tool of the case, or of
    one that a right answer calls.

    others  cases whose tools are drawn
    seed    another one draws other tools

    Raises RequestError if there are too few tools, or a case would have more than a request may have.
    """
    pool = {tool["function"]["name"]: tool for case in others for tool in case.tools}
    return [_with_distractors(case, due_tools(suite, case), pool, count, seed) for case in cases]


def _with_distractors(case: Case, due: set[str], pool: dict[str, Tool], count: int, seed: int) -> Case:
    own = {tool["function"]["name"] for tool in case.tools} | due
    names = sorted(pool.keys() - own)
    if not 0 <= count <= min(len(names), MAX_TOOLS - len(case.tools)):
        most = min(len(names), MAX_TOOLS - len(case.tools))
        raise RequestError("distractors", f"must be from 0 to {most} for the case {case.id}, not {count}")
    draw = random.Random(f"{seed} {case.id}")  # noqa: S311 - the same in every run
    tools = [*case.tools, *(pool[name] for name in draw.sample(names, count))]
    draw.shuffle(tools)
    return replace(case, tools=ToolSet.of(tools))


def recall(suite: str, cases: Sequence[Case]) -> Rate:
    """Return the share of cases whose right tools are all among those that are selected, without asking a model.

    Cases whose right answer calls nothing do not count.
    """
    found = [is_found(suite, case, _selected_names(case)) for case in cases if due_tools(suite, case)]
    return Rate(sum(found), len(found))


def is_found(suite: str, case: Case, names: Iterable[str]) -> bool:
    """Return True if all tools that the right answer calls are among these."""
    return due_tools(suite, case) <= set(names)


def _selected_names(case: Case) -> Iterable[str]:
    tools = ToolSet.of(case.tools)
    questions = [str(message.get("content") or "") for message in case.messages if message["role"] == "user"]
    return select_tools(tools, questions, {}, [1] * len(tools), MAX_SELECTED).tools

"""Writes the demo model's held-back cases into the package, for `edgefc eval demo --suite demo`.

    python -m demo.suite [--count 100]

`edgefc/evaluation/demo.py` documents the form of a case and the rules for a right answer.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from typing import Any

from demo.cases import cases, to_openai
from demo.writer import Message
from edgefc import paths
from edgefc.evaluation.demo import CATEGORIES, figures


def ground_truth(category: str, expected: Message) -> dict[str, Any]:
    if category == "clarify":
        return {"clarify": expected["required_functions"]}
    if category == "no_tool":
        return {"no_tool": True}
    if category == "grounded":
        return {"figures": figures(expected["content"])}
    return {"calls": expected["tool_calls"]}


def entries(count: int) -> Iterator[dict[str, Any]]:
    """Distinct cases as JSON objects, `count` of each category. An answer without a figure cannot be judged."""
    questions: set[str] = set()
    for category in CATEGORIES:
        number = 0
        for case in cases(category, 3 * count):
            truth = ground_truth(category, case.expected)
            fields = {"messages": to_openai(case.messages), "tools": case.tools, "ground_truth": truth}
            question = json.dumps([fields["messages"], fields["tools"]])
            if all(truth.values()) and question not in questions:
                questions.add(question)
                yield {"id": f"{category}_{number}", "category": category, **fields}
                number += 1
            if number == count:
                break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="cases of each category")
    count = parser.parse_args().count
    lines = [json.dumps(entry) for entry in entries(count)]
    paths.demo_suite().write_bytes(gzip.compress("\n".join(lines).encode(), 9, mtime=0))
    print(f"{paths.demo_suite()}: {len(lines)} cases")


if __name__ == "__main__":
    main()

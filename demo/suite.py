"""Writes the demo model's held-back cases, which `edgefc eval demo --suite demo` asks.

    python -m demo.suite [--count 100]

The form of a case, and what a right answer is: `edgefc/evaluation/demo.py`.
"""

from __future__ import annotations

import argparse
import gzip
import json
from typing import Any

from demo.cases import cases, openai
from edgefc import resources
from edgefc.evaluation.demo import CATEGORIES, figures


def ground_truth(category: str, wanted: dict[str, Any]) -> dict[str, Any]:
    if category == "clarify":
        return {"clarify": wanted["required_functions"]}
    if category == "no_tool":
        return {"no_tool": True}
    return {"figures": figures(wanted["content"])} if category == "grounded" else {"calls": wanted["tool_calls"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="cases of each category")
    count = parser.parse_args().count
    lines, asked = [], set()
    for category in CATEGORIES:
        number = 0
        for case in cases(category, 3 * count):  # some answers have no figures to tell
            expected = ground_truth(category, case.expected)
            fields = {"messages": openai(case.messages), "tools": case.tools, "ground_truth": expected}
            question = json.dumps([fields["messages"], fields["tools"]])
            if all(expected.values()) and question not in asked:
                asked.add(question)
                lines.append(json.dumps({"id": f"{category}_{number}", "category": category, **fields}))
                number += 1
            if number == count:
                break
    resources.demo_suite().write_bytes(gzip.compress("\n".join(lines).encode(), 9, mtime=0))
    print(f"{resources.demo_suite()}: {len(lines)} cases")


if __name__ == "__main__":
    main()

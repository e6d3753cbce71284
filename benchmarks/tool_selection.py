"""Selection of tools: recall of the right one, tokens and prefill time before and after. Recall asks no model.

    python -m benchmarks.tool_selection --data BFCL            recall among distractors, on BFCL's cases
    python -m benchmarks.tool_selection --lists FOLDER --model MODEL.gguf
                                                               the tools of four MCP servers, see tool_questions.py

FOLDER has github.json, notion.json, playwright.json and filesystem.json: the `tools` of each server's tools/list.
"""

from __future__ import annotations

import argparse
import collections
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import edgefc
from benchmarks.tool_questions import QUESTIONS
from edgefc.evaluation.distractors import recall, with_distractors
from edgefc.evaluation.report import ALL
from edgefc.evaluation.suites import due_tools, load_cases
from edgefc.tools import ToolSet
from edgefc.tools.remote import RemoteTool, ServerTool

N_CTX = 65_536


def print_recall(data: Path, distractors: int, seeds: int) -> None:
    """Print the share of cases whose right tools are all selected, by category and seed."""
    everything = load_cases("bfcl", data)
    cases = [case for case in everything if due_tools("bfcl", case)]
    rows: dict[str, list[str]] = collections.defaultdict(list)
    for seed in range(seeds):
        drawn = with_distractors("bfcl", cases, everything, distractors, seed=seed)
        for category in (*dict.fromkeys(case.category for case in cases), ALL):
            rate = recall("bfcl", [case for case in drawn if category in {ALL, case.category}])
            rows[category].append(f"{rate.share:6.1%} of {rate.cases}")
    for category, texts in rows.items():
        print(f"{category:24}", "  ".join(texts))


def print_lists(folder: Path, servers: Sequence[str], model_name: str, *, with_prefill: bool) -> None:
    """Print, for each server and for all together, tokens and seconds of prompts, and how often the tool is shown."""
    lists = {name: tools_of(name, folder / f"{name}.json") for name in servers}
    with edgefc.load(model_name, n_ctx=N_CTX, n_parallel=1, prefix_disk=0) as model:
        for name, tools in lists.items():
            _print_list(model, name, tools, {name: QUESTIONS[name]}, with_prefill=with_prefill)
        everything = [tool for tools in lists.values() for tool in tools]
        questions = {name: QUESTIONS[name] for name in lists}
        if len(lists) > 1:
            _print_list(model, ALL, everything, questions, with_prefill=with_prefill)


def tools_of(server: str, path: Path) -> list[RemoteTool]:
    """Read the tools of a server as `edgefc.mcp` would."""
    tools: list[RemoteTool] = []
    for tool in json.loads(path.read_text(encoding="utf-8")):
        name, description = tool["name"], tool.get("description", "")
        source = ServerTool(server, name, description, tool["inputSchema"], False, False, "")
        tools.append(RemoteTool(name, source, lambda: None))
    return tools


def _print_list(
    model: edgefc.Model,
    name: str,
    tools: Sequence[Any],
    questions: Mapping[str, Sequence[tuple[str, tuple[str, ...]]]],
    *,
    with_prefill: bool,
) -> None:
    toolset = ToolSet.of(tools)
    after: list[int] = []
    seconds: list[float] = []
    missed: list[str] = []
    for question, right in (pair for pairs in questions.values() for pair in pairs):
        messages: list[Any] = [{"role": "user", "content": question}]
        request = model.request(messages, toolset)
        names = toolset.names if request.selection is None else request.selection.tools
        after.append(len(request.prompt.ids) - _without_tools(model, messages))
        if not set(right) & set(names):
            missed.append(question)
        if with_prefill:
            seconds.append(model.chat(messages, tools=toolset, max_tokens=1).stats.prefill_s)
    first: list[Any] = [{"role": "user", "content": "Hello"}]
    whole = model.prompt(first, toolset, tool_budget=0)
    before = len(whole.ids) - _without_tools(model, first)
    line = f"{name:12} {len(tools):4} tools  {before:6,} tokens  selected: median {statistics.median(after):,.0f}"
    line += f", most {max(after):,}; right tool shown {len(after) - len(missed)} of {len(after)}"
    if seconds:
        prefill = model.chat(first, tools=toolset, max_tokens=1, tool_budget=0).stats.prefill_s
        line += f"; prefill {prefill:.1f} s, selected {statistics.median(seconds):.2f} s"
    print(line, flush=True)
    for question in missed:
        print(f"    not shown for: {question}")


def _without_tools(model: edgefc.Model, messages: list[Any]) -> int:
    return len(model.prompt(messages).ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of BFCL's cases")
    parser.add_argument("--distractors", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lists", type=Path, help="folder with the tools of servers")
    parser.add_argument("--servers", default=",".join(QUESTIONS), help="those of the lists to look at")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--prefill", action="store_true", help="measure the time, too")
    options = parser.parse_args()
    if options.data:
        print_recall(options.data, options.distractors, options.seeds)
    if options.lists:
        print_lists(options.lists, options.servers.split(","), options.model, with_prefill=options.prefill)


if __name__ == "__main__":
    main()

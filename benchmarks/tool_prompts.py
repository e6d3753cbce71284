"""Prefill of the tools of MCP servers: all of them, and those that a question needs; and after a restart.

    python -m benchmarks.tool_prompts --lists FOLDER --model MODEL.gguf [--servers github,notion] [--threads 1]
    python -m benchmarks.tool_prompts --lists FOLDER --save mcp.json     saves the tools of the servers of a file first

FOLDER has NAME.json for each server: the `tools` of its tools/list; tool_questions.py has the questions. Each figure is
that of a process of its own, with one token of an answer: the first question with an empty cache on disk; the same
question after a restart; another question after a restart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import edgefc
from benchmarks.tool_questions import QUESTIONS
from benchmarks.tool_selection import tools_of
from edgefc.tools import ToolSet

N_CTX = 40_960  # GitHub's tools have 30,000 tokens


def measure(
    path: Path, question: str, model: str, *, threads: int, budget: int | None, n_ctx: int, max_tokens: int = 1
) -> dict[str, Any]:
    """Ask a model one question with a server's tools, and return the figures.

    max_tokens  of the answer; where the grammar forces the first ones, the prompt is read for a later one
    """
    tools = ToolSet.of(tools_of(path.stem, path))
    started = time.perf_counter()
    with edgefc.load(model, n_ctx=n_ctx, n_parallel=1, n_threads=threads) as loaded:
        load_s = time.perf_counter() - started
        processor, started = time.process_time(), time.perf_counter()
        reply = loaded.chat(
            [{"role": "user", "content": question}], tools=tools, max_tokens=max_tokens, tool_budget=budget
        )
        stats = reply.stats
        return {
            "tools": len(tools) if reply.selection is None else len(reply.selection.tools),
            "prompt_tokens": stats.prompt_tokens,
            "cached_tokens": stats.cached_tokens,
            "cached_from": stats.cached_from,
            "steps": stats.model_steps,
            "seconds": time.perf_counter() - started,
            "processor_s": time.process_time() - processor,
            "load_s": load_s,
        }


def measure_apart(cache: str, **task: Any) -> dict[str, Any]:
    """Measure in a new process, whose cache on disk is the folder `cache`."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tool_prompts", "--task", json.dumps(task)],
        env={**os.environ, "EDGEFC_CACHE_DIR": cache}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def print_server(path: Path, options: argparse.Namespace) -> None:
    """Print the rows of one server, for all its tools and for the selected ones."""
    first, other = (question for question, _ in QUESTIONS[path.stem][:2])
    task = {"path": str(path), "model": options.model, "threads": options.threads, "n_ctx": options.n_ctx}
    for name, budget in (("selected", None), ("all", 0)):
        with tempfile.TemporaryDirectory() as cache:
            # The first load finds the model's dialect, or gives up on a busy machine: later ones had another prompt.
            load = "import sys, edgefc; edgefc.load(sys.argv[1], n_ctx=4096).close()"
            environment = {**os.environ, "EDGEFC_CACHE_DIR": cache}
            subprocess.run([sys.executable, "-c", load, options.model], env=environment, check=True)
            for when, question in (("first", first), ("restart, same question", first), ("restart, other", other)):
                row = measure_apart(cache, question=question, budget=budget, **task)
                source = f"{row['cached_tokens']:,} from {row['cached_from'] or 'nowhere'}"
                print(
                    f"{path.stem:11} {name:9} {when:23} {row['tools']:4} tools  {row['prompt_tokens']:6,} tokens"
                    f"  cached {source:20}  {row['steps']:4} steps  {row['seconds']:8.2f} s"
                    f"  processor {row['processor_s']:8.2f} s  load {row['load_s']:.2f} s",
                    flush=True,
                )


def save_lists(source: Path, folder: Path) -> None:
    """Save the tools of each server of a file, as its tools/list has them."""
    from edgefc.mcp import connect

    folder.mkdir(parents=True, exist_ok=True)
    with connect(source) as tools:
        for server in tools.servers:
            found = [tool.source for tool in tools if tool.config is server]
            listed = [{"name": one.name, "description": one.description, "inputSchema": one.schema} for one in found]
            (folder / f"{server.name}.json").write_text(json.dumps(listed, ensure_ascii=False), encoding="utf-8")
            print(f"{server.name}: {len(listed)} tools", flush=True)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=Path, help="folder with the tools of servers")
    parser.add_argument("--save", type=Path, metavar="MCP_FILE", help="save the tools of these servers there first")
    parser.add_argument("--servers", default=",".join(QUESTIONS), help="those of the lists to look at")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--n-ctx", type=int, default=N_CTX)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.task:
        task = json.loads(options.task)
        print(json.dumps(measure(Path(task.pop("path")), task.pop("question"), task.pop("model"), **task)))
        return
    if options.lists is None:
        parser.error("--lists names a folder")
    if options.save:
        save_lists(options.save, options.lists)
    for name in options.servers.split(","):
        print_server(options.lists / f"{name}.json", options)


if __name__ == "__main__":
    main()

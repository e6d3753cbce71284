"""Measures the packaged demo model on held-back data, through edgefc itself, with and without the grammar.

    python -m demo.eval [--count 100] [--model FILE] [--wrong] [--write]

Held back are tools (every eighth hand-written one, every seventh object of the made-up ones), values (every seventh
of each list, other made-up words) and sentences. `--write` puts the table into the model's card, `--wrong` shows what
went wrong.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgefc
from demo import generate
from demo.generate import Writer, show
from demo.paraphrases import PARAPHRASES
from edgefc.example_tools import EXAMPLE_TOOLS
from edgefc.grammar import CompiledGrammar, compile_output
from edgefc.types import ToolChoice

CARD = Path(__file__).parents[1] / "edgefc" / "models" / "demo" / "CARD.md"
TOGETHER = 8  # cases at a time
BASE = 3 * 10**9  # far from every training seed


@dataclass(frozen=True)
class Case:
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    expected: dict[str, Any]  # the assistant message that should come


def openai(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Generated messages in OpenAI's form."""
    result: list[dict[str, Any]] = []
    waiting: list[str] = []
    for number, message in enumerate(messages):
        if message.get("tool_calls"):
            waiting = [f"c{number}_{i}" for i in range(len(message["tool_calls"]))]
            calls = [{"id": i, "type": "function", "function": {"name": c["name"], "arguments": json.dumps(c["arguments"])}}
                     for i, c in zip(waiting, message["tool_calls"], strict=True)]  # fmt: skip
            result.append({"role": "assistant", "content": None, "tool_calls": calls})
        elif message["role"] == "tool":
            result.append({**message, "tool_call_id": waiting.pop(0)})
        else:
            result.append(
                {key: value for key, value in message.items() if key in {"role", "content", "required_functions"}}
            )
    return result


def cases(kind: str, count: int) -> Iterator[Case]:
    """Held-back cases of one kind; each asks for one assistant message."""
    seed, found = BASE + sum(map(ord, kind)) * 10**6, 0
    while found < count:
        seed += 1
        writer = Writer(seed, held_back=True)
        if kind == "single, example tools":
            tools = [show(writer.rng, concept, exact=True) for concept in generate.EXAMPLES]
            turns = writer.turn("single", tools)
        else:
            tools = writer.toolbox()
            turns = writer.turn(kind if kind in generate.KINDS else "single", tools)
            if kind == "multi-turn":
                if not (
                    turns[-1]["role"] == "assistant"
                    and "content" in turns[-1]
                    and not turns[-1].get("required_functions")
                ):
                    continue
                turns += writer.turn("single", tools)
        place = _place(kind, turns)
        if place is None or not _of_kind(kind, turns[place]):
            continue
        found += 1
        yield Case(turns[:place], [t.schema for t in tools], turns[place])


def _place(kind: str, turns: list[dict[str, Any]]) -> int | None:
    """Where in the turns the message stands that is asked for."""
    last_user = max(i for i, m in enumerate(turns) if m["role"] == "user")
    if kind == "grounded answer":
        places = [i for i, m in enumerate(turns) if i and turns[i - 1]["role"] == "tool" and m["role"] == "assistant"]
        return places[0] if places else None
    place = last_user + 1 if kind == "multi-turn" else 1
    wanted = turns[place]
    fits = {
        "clarify": bool(wanted.get("required_functions")),
        "no_tool": bool(wanted.get("no_tool")),
        "parallel": len(wanted.get("tool_calls", [])) > 1,
    }.get(kind, bool(wanted.get("tool_calls")))
    return place if fits else None


def _of_kind(kind: str, wanted: dict[str, Any]) -> bool:
    """The two sorts of unseen tools are counted apart: the hand-written are the harder."""
    if "hand-written" not in kind and "made-up" not in kind:
        return True
    name = wanted["tool_calls"][0]["name"]
    concept = next((c for c in generate.CONCEPTS if name in c.names), None)
    return concept in generate.HELD_BACK if "hand-written" in kind else concept is None


KINDS = (
    "single, example tools",
    "single, unseen hand-written tools",
    "single, unseen made-up tools",
    "parallel",
    "clarify",
    "no_tool",
    "grounded answer",
    "multi-turn",
)


def ask(model: edgefc.Model, case: Case, *, grammar: bool) -> dict[str, Any]:
    """The model's message, as the generator would write it."""
    messages = openai(case.messages)
    if grammar:
        reply = model.chat(messages, tools=case.tools, temperature=0, max_tokens=300)
        return _as_generated(reply.message, reply.outcome)
    names = tuple(t["function"]["name"] for t in case.tools)
    assert isinstance(compile_output(model.family.syntax, case.tools, ToolChoice("auto", names)), CompiledGrammar)
    ids = model.engine.tokenizer.encode(model.render(messages, case.tools))
    result = model.engine.submit(ids, max_tokens=300, stop=model.family.stop).result()
    parser = model.family.parser(case.tools)
    parser.feed(result.text)
    parsed = parser.finish(result.finish_reason)
    return _as_generated(parsed.message, parsed.outcome)


def _as_generated(message: Any, outcome: str) -> dict[str, Any]:
    calls = []
    for call in message.get("tool_calls") or []:
        try:
            calls.append({"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])})
        except ValueError:
            return {"broken": True}
    if calls:
        return {"tool_calls": calls}
    return {
        "content": message.get("content"),
        "outcome": outcome,
        "required_functions": message.get("required_functions"),
    }


def judge(kind: str, expected: dict[str, Any], got: dict[str, Any]) -> bool:
    """Whether the message is right: exact calls; the right tool to ask back for; every figure of the results told."""
    if expected.get("tool_calls"):
        return bool(got.get("tool_calls") == expected["tool_calls"])
    if kind == "clarify":
        return got.get("outcome") == "clarify" and got.get("required_functions") == expected["required_functions"]
    if kind == "no_tool":
        return got.get("outcome") == "no_tool"
    told = got.get("content") or ""
    return got.get("outcome") == "answer" and all(
        n in told for n in re.findall(r"\d[\d.,:-]*\d|\d", expected["content"])
    )


@dataclass(frozen=True)
class Row:
    kind: str
    right: int  # with the grammar
    free: int  # without it
    count: int


def row(model: edgefc.Model, kind: str, chosen: list[Case], *, wrong: bool) -> Row:
    right = {True: 0, False: 0}
    for grammar in right:
        with ThreadPoolExecutor(TOGETHER) as pool:
            answers = list(pool.map(lambda case: ask(model, case, grammar=grammar), chosen))  # noqa: B023
        for case, got in zip(chosen, answers, strict=True):
            verdict = judge(kind, case.expected, got)
            right[grammar] += verdict
            if wrong and grammar and not verdict:
                print("  wrong:", case.messages[-1]["content"], [t["function"]["name"] for t in case.tools])
                print("    wanted", generate.assistant_text(case.expected))
                print("    got   ", json.dumps(got, ensure_ascii=False))
    made = Row(kind, right[True], right[False], len(chosen))
    print(f"{kind}: {made.right} / {made.free} of {made.count}", flush=True)
    return made


def measure(model: edgefc.Model, count: int, *, wrong: bool) -> list[Row]:
    """A row for every kind, and one for the paraphrases."""
    rows = [row(model, kind, list(cases(kind, count)), wrong=wrong) for kind in KINDS]
    tools = [t.schema for t in EXAMPLE_TOOLS]
    chosen = [Case([{"role": "user", "content": text}], tools, {"tool_calls": calls}) for text, calls in PARAPHRASES]
    return [*rows, row(model, "paraphrases of the example tools", chosen, wrong=wrong)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="cases of each kind")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--threads", type=int, help="for the model; one where other programs run")
    parser.add_argument("--wrong", action="store_true", help="show the wrong ones")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with edgefc.load(options.model, n_ctx=2048, n_parallel=TOGETHER, n_threads=options.threads) as model:
        rows = measure(model, options.count, wrong=options.wrong)
    table = "| held-back cases | right with grammar | without |\n|---|--:|--:|\n"
    table += "".join(f"| {r.kind} ({r.count}) | {r.right / r.count:.0%} | {r.free / r.count:.0%} |\n" for r in rows)
    print("\n" + table)
    if options.write:
        text = CARD.read_text(encoding="utf-8")
        begin, end = "<!-- accuracy -->\n", "<!-- end -->"
        CARD.write_text(text[: text.index(begin) + len(begin)] + table + text[text.index(end) :], encoding="utf-8")


if __name__ == "__main__":
    main()

"""A small checkout of BFCL, in its own layout, made of the cases in `verdicts.jsonl.gz`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

VERDICTS = Path(__file__).with_name("verdicts.jsonl.gz")


def entries() -> list[dict[str, Any]]:
    """Cases with answers, each with the reference's verdict."""
    return [json.loads(line) for line in gzip.decompress(VERDICTS.read_bytes()).splitlines()]


def write_checkout(folder: Path) -> Path:
    """Write it, and give the folder a user would point at."""
    data = folder / "berkeley-function-call-leaderboard" / "bfcl_eval" / "data"
    (data / "possible_answer").mkdir(parents=True)
    questions: dict[str, list[str]] = {}
    answers: dict[str, list[str]] = {}
    for entry in entries():
        question = {"id": entry["id"], "question": [entry["messages"]], "function": entry["functions"]}
        questions.setdefault(entry["category"], []).append(json.dumps(question))
        answer = {"id": entry["id"], "ground_truth": entry["expected"]}
        answers.setdefault(entry["category"], []).append(json.dumps(answer))
    # Where no tool fits, BFCL lists no answers: here one case's question goes with another's tools.
    tools = json.loads(questions["simple_python"][1])["function"]
    foreign = {**json.loads(questions["simple_python"][0]), "id": "irrelevance_0", "function": tools}
    questions["irrelevance"] = [json.dumps(foreign)]
    for category, lines in questions.items():
        (data / f"BFCL_v4_{category}.json").write_text("\n".join(lines), encoding="utf-8")
    for category, lines in answers.items():
        (data / "possible_answer" / f"BFCL_v4_{category}.json").write_text("\n".join(lines), encoding="utf-8")
    return folder

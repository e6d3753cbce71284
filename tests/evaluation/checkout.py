"""A small checkout of BFCL in the original layout, with the cases of `verdicts.jsonl.gz`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

VERDICTS = Path(__file__).with_name("verdicts.jsonl.gz")


def entries() -> list[dict[str, Any]]:
    """Read the cases, with answers and the reference checker's verdict on each."""
    return [json.loads(line) for line in gzip.decompress(VERDICTS.read_bytes()).splitlines()]


def write_checkout(folder: Path) -> Path:
    """Write the checkout and return the folder that a user would pass as --data."""
    data = folder / "berkeley-function-call-leaderboard" / "bfcl_eval" / "data"
    (data / "possible_answer").mkdir(parents=True)
    questions: dict[str, list[str]] = {}
    answers: dict[str, list[str]] = {}
    for entry in entries():
        question = {"id": entry["id"], "question": [entry["messages"]], "function": entry["functions"]}
        questions.setdefault(entry["category"], []).append(json.dumps(question))
        answer = {"id": entry["id"], "ground_truth": entry["expected"]}
        answers.setdefault(entry["category"], []).append(json.dumps(answer))
    # BFCL lists no answers where no tool fits: combine one case's question with another's tools.
    tools = json.loads(questions["simple_python"][1])["function"]
    foreign = {**json.loads(questions["simple_python"][0]), "id": "irrelevance_0", "function": tools}
    questions["irrelevance"] = [json.dumps(foreign)]
    for category, lines in questions.items():
        (data / f"BFCL_v4_{category}.json").write_text("\n".join(lines), encoding="utf-8")
    for category, lines in answers.items():
        (data / "possible_answer" / f"BFCL_v4_{category}.json").write_text("\n".join(lines), encoding="utf-8")
    return folder

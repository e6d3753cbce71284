"""Transcripts of real conversations: the program's and a server's, on the demo model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.server.server_process import ServerProcess

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "City name"},
                "days": {"type": "integer", "description": "Days to look ahead"},
            },
            "required": ["location"],
        },
    },
}


def edgefc(*words: str | Path, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgefc", *map(str, words)],
        input=stdin, capture_output=True, text=True, timeout=180, cwd=cwd, check=False,
    )  # fmt: skip


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def record(
    messages: list[dict[str, Any]], answer: dict[str, Any], outcome: str = "answer", *, tools: Any = (WEATHER,)
) -> dict[str, Any]:
    """A line of a transcript."""
    return {
        "version": 1,
        "time": "2026-01-01T00:00:00+00:00",
        "model": {"name": "demo", "family": "demo"},
        "options": {},
        "tools": None if tools is None else list(tools),
        "messages": messages,
        "reply": {"message": answer, "outcome": outcome, "finish_reason": "stop", "missing": []},
    }


def user(text: str = "What is the weather in Paris?") -> dict[str, Any]:
    return {"role": "user", "content": text}


def says(text: str, **others: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **others}


def calls(*calls: tuple[str, str | dict[str, Any]], **others: Any) -> dict[str, Any]:
    made = [
        {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(calls)
    ]
    return {"role": "assistant", "content": None, "tool_calls": made, **others}


def result(text: str, number: int = 0) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": text}


@pytest.fixture(scope="session")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `edgefc chat`, `run` and `call` recorded."""
    folder = tmp_path_factory.mktemp("talks")
    said = "What is the weather in Paris and in Oslo?\nWhat's 3+4?\n/reset\nWhat's the weather like?\n/exit\n"
    for words, stdin in (
        (("chat", "--transcripts", "talks.jsonl"), said),
        (("run", "What's 17*23?", "--transcripts", "talks.jsonl", "--temperature", "0.8"), ""),
        (("call", "time in Rome", "--transcripts", "talks.jsonl", "--no-parallel"), ""),
    ):
        done = edgefc(*words, cwd=folder, stdin=stdin)
        assert done.returncode == 0, done.stderr
    return folder / "talks.jsonl"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `edgefc serve` recorded: whole and streamed answers, several choices, a conversation that goes on."""
    path = tmp_path_factory.mktemp("served") / "served.jsonl"
    with ServerProcess(("--transcripts", str(path))) as server:
        client = server.client()
        asked: Any = {"model": "demo", "tools": [WEATHER], "logit_bias": {"5": -1}}
        messages: list[Any] = [user("What is the weather in Paris and in Oslo?")]
        answer = client.chat.completions.create(messages=messages, **asked).choices[0].message
        assert answer.tool_calls
        messages.append(answer.model_dump(exclude_none=True))
        messages += [{"role": "tool", "tool_call_id": c.id, "content": '{"temperature": 7}'} for c in answer.tool_calls]
        for _ in client.chat.completions.create(messages=messages, stream=True, **asked):
            pass
        client.chat.completions.create(messages=[user()], n=2, seed=7, temperature=1.0, **asked)
        client.responses.create(model="demo", input="What's 3+4?", temperature=1.5)
        client.completions.create(model="demo", prompt="a raw prompt", max_tokens=3)
        server.request("POST", "/v1/chat/completions", {"messages": []})
    told = "".join(server.lines)
    assert f"all prompts and answers are written to {path}" in told
    assert "Paris" not in told
    return path

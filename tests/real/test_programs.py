"""The server with eight clients at once, and the command line, with real models."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.real.tool_cases import ask
from tests.server.server_process import CHAT, ServerProcess

CLIENTS = 8


@pytest.fixture(scope="module")
def server(real_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(("--n-ctx", "1024"), models=(str(real_path),)) as server:
        yield server


def marker(number: int) -> str:
    return f"marker-{number:02d}-{number * 7919 % 1000:03d}"


def form_of(number: int) -> dict[str, Any]:
    """A schema that allows this client's marker alone."""
    properties = {"code": {"enum": [marker(number)]}, "priority": {"type": "integer", "minimum": 1, "maximum": 5}}
    return {"type": "object", "properties": properties, "required": ["code"], "additionalProperties": False}


TOOLS = [
    {"type": "function", "function": {"name": f"archive_{number}", "parameters": form_of(number)}}
    for number in range(0, CLIENTS, 2)
]


def request_of(number: int) -> dict[str, Any]:
    """A request whose answer can only contain this client's own marker: calls, streamed or not, JSON and plain text."""
    body: dict[str, Any] = {"messages": ask(f"Archive {marker(number)}."), "temperature": 0, "max_tokens": 60}
    if number % 2 == 0:
        choice = {"type": "function", "function": {"name": f"archive_{number}"}}
        calls = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": False}
        return {**body, **calls, "stream": number % 4 == 0}
    if number % 4 == 1:
        form = {"name": "archive", "schema": form_of(number)}
        return {**body, "response_format": {"type": "json_schema", "json_schema": form}}
    return {**body, "max_tokens": 8}


def send(server: ServerProcess, body: dict[str, Any]) -> tuple[str, str, str]:
    """Return an answer's finish reason, text, and the name and arguments of its calls."""
    response = server.post(CHAT, body)
    assert response.status == 200, response.body
    if not body.get("stream"):
        choice = response.json["choices"][0]
        functions = [call["function"] for call in choice["message"].get("tool_calls") or ()]
        calls = "".join(function["name"] + function["arguments"] for function in functions)
        return choice["finish_reason"], choice["message"]["content"] or "", calls
    lines = [line.removeprefix("data: ") for line in response.body.decode().splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    choices = [choice for line in lines[:-1] for choice in json.loads(line)["choices"]]
    functions = [call["function"] for choice in choices for call in choice["delta"].get("tool_calls") or ()]
    calls = "".join(function.get("name", "") + function.get("arguments", "") for function in functions)
    content = "".join(choice["delta"].get("content") or "" for choice in choices)
    return choices[-1]["finish_reason"], content, calls


def test_eight_clients_at_once_get_their_own_answers(server: ServerProcess) -> None:
    start = threading.Barrier(CLIENTS)

    def client(number: int) -> list[tuple[str, str, str]]:
        start.wait()
        return [send(server, request_of(number)) for _ in range(2)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(client, range(CLIENTS)))
    for number, (answer, again) in enumerate(answers):
        assert answer == again, "greedy answers repeat, whoever else is served"
        finish_reason, content, calls = answer
        others = [marker(other) for other in range(CLIENTS) if other != number]
        assert not [text for text in others if text in content + calls]
        if number % 2 == 0:
            assert finish_reason == "tool_calls"
            assert calls.startswith(f"archive_{number}")
            assert json.loads(calls.removeprefix(f"archive_{number}"))["code"] == marker(number)
        elif number % 4 == 1:
            assert (finish_reason, json.loads(content)["code"]) == ("stop", marker(number))
        else:
            assert finish_reason in {"stop", "length"}
            assert not calls
    assert server.metric("edgefc_running") == 0


def edgefc(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "edgefc", *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_show_describes_the_file(real_path: Path) -> None:
    facts = json.loads(edgefc("show", str(real_path), "--json"))
    assert facts["path"] == str(real_path)
    assert facts["bytes"] == real_path.stat().st_size
    assert facts["architecture"] in {"llama", "qwen2", "gemma3"}
    assert facts["vocabulary"] > 40_000


TOOL_FILE = """
import edgefc

@edgefc.tool
def get_time(city: str) -> str:
    \"\"\"Get the current time in a city\"\"\"
    return f"It is 7 o'clock in {city}."
"""


@pytest.fixture(scope="module")
def own_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tools") / "own_tools.py"
    path.write_text(TOOL_FILE)
    return path


def test_call_prints_a_valid_call(real_path: Path, own_tools: Path) -> None:
    words = ("--model", str(real_path), "--tools", str(own_tools), "--tool-choice", "get_time", "--no-parallel")
    calls = json.loads(edgefc("call", "What time is it in Lima?", *words, "--n-ctx", "1024"))
    assert [(call["name"], list(call["arguments"])) for call in calls] == [("get_time", ["city"])]


CALENDAR = """
import datetime as dt

import edgefc

@edgefc.tool
def list_events(day: dt.date) -> str:
    \"\"\"List the events of a day\"\"\"
    return "none"
"""


def test_a_tool_that_takes_a_date_gets_todays(real_path: Path, tmp_path: Path) -> None:
    (tmp_path / "calendar_tools.py").write_text(CALENDAR)
    words = ("--tools", str(tmp_path / "calendar_tools.py"), "--tool-choice", "list_events", "--no-parallel")
    days = {dt.datetime.now().astimezone().date().isoformat()}
    calls = json.loads(
        edgefc("call", "What is on my calendar today?", "--model", str(real_path), *words, "--n-ctx", "1024")
    )
    days.add(dt.datetime.now().astimezone().date().isoformat())
    assert [call["name"] for call in calls] == ["list_events"]
    assert calls[0]["arguments"]["day"] in days


def test_run_answers(real_path: Path, own_tools: Path) -> None:
    words = ("--model", str(real_path), "--tools", str(own_tools), "--yes", "--n-ctx", "1024", "--max-tokens", "30")
    result = json.loads(edgefc("run", "What time is it in Lima?", *words, "--json"))
    assert result["outcome"] in {"answer", "length"}
    assert result["messages"][-1] == result["message"]
    assert result["rounds"] <= 8

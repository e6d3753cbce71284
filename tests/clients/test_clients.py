"""Clients from other projects against `edgefc serve`: text, streams, a loop with two parallel calls, structured output.

EDGEFC_CLIENTS=all installs and tests all of them, EDGEFC_CLIENTS=openai-1.1,llm some; each in an environment of its own,
in the user's cache or in EDGEFC_CLIENTS_DIR. The tests judge the protocol, not the demo model's answers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.clients.clients import CLIENTS, HERE, command, selected
from tests.clients.tap import Tap
from tests.server.server_process import ServerProcess

PATHS = {
    "chat": "/v1/chat/completions", "functions": "/v1/chat/completions", "responses": "/v1/responses",
    "ollama": "/api/chat",
}  # fmt: skip
LOOKUPS = {"/api/tags", "/api/show"}  # which Ollama's clients make before they chat
CITY = {
    "type": "object",
    "properties": {name: {"type": "string", "maxLength": 30} for name in ("name", "country")},
    "required": ["name", "country"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def chat_server(demo_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess() as server:
        yield server


def functions_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names and schemas of the functions in a request."""
    offered = body.get("functions") or [tool.get("function", tool) for tool in body.get("tools") or []]
    return {function["name"]: function["parameters"] for function in offered}


def calls_and_results(body: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the ids of calls and of results in a request's conversation.

    Where an API has none they are names, and numbers in Ollama's, whose results have neither.
    """
    calls: list[str] = []
    results: list[str] = []
    entries = body.get("messages") or body["input"]
    for entry in () if isinstance(entries, str) else entries:
        if entry.get("type") == "function_call_output":
            results.append(entry["call_id"])
        elif entry.get("type") == "function_call":
            calls.append(entry["call_id"])
        elif entry["role"] in {"tool", "function"}:
            results.append(entry.get("tool_call_id") or entry.get("name") or str(len(results)))
        elif entry.get("function_call"):
            calls.append(entry["function_call"]["name"])
        else:
            for call in entry.get("tool_calls") or []:
                calls.append(call.get("id") or str(len(calls)))
    return calls, results


@pytest.mark.parametrize(
    ("name", "endpoint"), [(name, endpoint) for name, client in CLIENTS.items() for endpoint in client.endpoints]
)
def test_a_client_works(name: str, endpoint: str, chat_server: ServerProcess, tmp_path: Path) -> None:
    if name not in selected():
        pytest.skip(f"not selected: EDGEFC_CLIENTS={name} tests it, EDGEFC_CLIENTS=all tests all")
    words = command(CLIENTS[name])
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "LLM_USER_PATH": str(tmp_path)}
    with Tap((chat_server.host, chat_server.port)) as tap:
        done = subprocess.run(
            [*words, tap.url, endpoint], cwd=tmp_path, env={**os.environ, **home}, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        requests = tap.requests()
    assert done.returncode == 0, done.stderr
    requests = [(path, body) for path, body in requests if path not in LOOKUPS]
    assert {path for path, _ in requests} == {PATHS[endpoint]}
    bodies = [body for _, body in requests]
    report = json.loads(done.stdout)

    assert report["plain"]
    assert "".join(report["streamed"]) == report["plain"]
    assert sum(map(bool, report["streamed"])) > 1
    assert all(count > 0 for count in report["tokens"])

    offered = next(functions for functions in map(functions_of, bodies) if "get_weather" in functions)
    assert len(report["calls"]) == (1 if endpoint == "functions" else 2)
    for called, arguments in report["calls"]:
        jsonschema.validate(arguments, offered[called])
    assert report["streamed_calls"] in (report["calls"], None)

    calls, results = max(map(calls_and_results, bodies), key=lambda both: len(both[1]))
    assert calls == results
    assert len(results) == len(set(results)) == len(report["calls"])
    assert report["answer"]

    assert report["structured"]
    for city in report["structured"]:
        jsonschema.validate(city, CITY)


def test_the_document_names_the_tested_versions() -> None:
    root = Path(__file__).parents[2]
    pinned = {
        "@".join(pair) for pair in json.loads((HERE / "node" / "package.json").read_text())["dependencies"].items()
    }
    for file in (root / "requirements" / "test.txt", *HERE.glob("requirements/*.txt")):
        pinned |= set(re.findall(r"^[\w.-]+==[\w.]+", file.read_text(), re.MULTILINE))
    document = (root / "docs" / "server.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w@./-]+(?:==|@)\d[\w.]*)`", document))
    assert len(named) >= len(CLIENTS)
    assert named <= pinned

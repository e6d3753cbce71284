"""Other people's clients against `edgefc serve`: plain, streamed, a loop with two calls at once, structured output.

EDGEFC_CLIENTS=all installs and tries all, EDGEFC_CLIENTS=openai-1.1,llm some; each in an environment of its own, kept in
the user's cache or in EDGEFC_CLIENTS_DIR. What the demo model says is not judged: the protocol is.
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

from tests.clients.clients import CLIENTS, HERE, NODE, command, wanted
from tests.clients.tap import Tap
from tests.server.conftest import Serving

PATHS = {"chat": "/v1/chat/completions", "functions": "/v1/chat/completions", "responses": "/v1/responses"}
CITY = {
    "type": "object",
    "properties": {name: {"type": "string", "maxLength": 30} for name in ("name", "country")},
    "required": ["name", "country"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def serving(demo_path: Path) -> Iterator[Serving]:
    with Serving() as serving:
        yield serving


def functions_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Names and schemas of the functions that a request offers."""
    offered = body.get("functions") or [tool.get("function", tool) for tool in body.get("tools") or []]
    return {function["name"]: function["parameters"] for function in offered}


def calls_and_results(body: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Ids of the calls in a request's conversation, and of the results; names, where there are no ids."""
    calls: list[str] = []
    results: list[str] = []
    said = body.get("messages") or body["input"]
    for entry in () if isinstance(said, str) else said:
        if entry.get("type") == "function_call_output":
            results.append(entry["call_id"])
        elif entry.get("type") == "function_call":
            calls.append(entry["call_id"])
        elif entry["role"] in {"tool", "function"}:
            results.append(entry.get("tool_call_id") or entry["name"])
        elif entry.get("function_call"):
            calls.append(entry["function_call"]["name"])
        else:
            calls += [call["id"] for call in entry.get("tool_calls") or []]
    return calls, results


@pytest.mark.parametrize(
    ("name", "endpoint"), [(name, endpoint) for name, client in CLIENTS.items() for endpoint in client.endpoints]
)
def test_a_client_gets_along(name: str, endpoint: str, serving: Serving, tmp_path: Path) -> None:
    if name not in wanted():
        pytest.skip(f"not asked for: EDGEFC_CLIENTS={name} tries it, EDGEFC_CLIENTS=all tries all")
    words = command(CLIENTS[name])
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "LLM_USER_PATH": str(tmp_path)}
    with Tap((serving.host, serving.port)) as tap:
        done = subprocess.run(
            [*words, tap.url, endpoint], cwd=tmp_path, env={**os.environ, **home}, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        requests = tap.requests()
    assert done.returncode == 0, done.stderr
    assert {path for path, _ in requests} == {PATHS[endpoint]}
    bodies = [body for _, body in requests]
    told = json.loads(done.stdout)

    assert told["plain"]
    assert "".join(told["streamed"]) == told["plain"]
    assert sum(map(bool, told["streamed"])) > 1
    assert all(count > 0 for count in told["tokens"])

    offered = next(functions for functions in map(functions_of, bodies) if "get_weather" in functions)
    assert len(told["calls"]) == (1 if endpoint == "functions" else 2)
    for called, arguments in told["calls"]:
        jsonschema.validate(arguments, offered[called])
    assert told["streamed_calls"] in (told["calls"], None)

    calls, results = max(map(calls_and_results, bodies), key=lambda both: len(both[1]))
    assert calls == results
    assert len(results) == len(set(results)) == len(told["calls"])
    assert told["answer"]

    assert told["structured"]
    for city in told["structured"]:
        jsonschema.validate(city, CITY)


def test_the_document_names_the_versions_that_are_tried() -> None:
    root = Path(__file__).parents[2]
    pinned = {"@".join(pair) for pair in json.loads((HERE / "node" / NODE[0]).read_text())["dependencies"].items()}
    for file in (root / "requirements" / "test.txt", *HERE.glob("requirements/*.txt")):
        pinned |= set(re.findall(r"^[\w.-]+==[\w.]+", file.read_text(), re.MULTILINE))
    document = (root / "docs" / "server.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w@./-]+(?:==|@)\d[\w.]*)`", document))
    assert len(named) >= len(CLIENTS)
    assert named <= pinned

"""`edgefc openapi` and `--openapi`, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Terminal, edgefc  # noqa: F401 - a fixture
from tests.openapi.conftest import Api, reply

Edgefc = Callable[..., "subprocess.CompletedProcess[str]"]
QUESTION = ("run", "What is the weather in Paris?", "--max-tokens", "60", "--local")
WEATHER: dict[str, Any] = {
    "operationId": "get_weather",
    "summary": "Get the current weather for a city",
    "parameters": [{"name": "location", "in": "query", "required": True, "schema": {"type": "string"}}],
}


@pytest.fixture
def written(api: Api, tmp_path: Path) -> str:
    """A document with a reading and a writing operation, and one that cannot be a tool."""
    paths = {"/weather": {"get": WEATHER, "delete": {}}, "/odd": {"get": {"parameters": [{"$ref": "x.json"}]}}}
    api.answers["/weather"] = reply({"temperature": 18, "note": "\x1b]0;title\x07\u202e"})
    path = tmp_path / "weather.json"
    path.write_text(json.dumps(api.document(paths)), encoding="utf-8")
    return str(path)


def results_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [one["content"] for one in json.loads(done.stdout)["messages"] if one["role"] == "tool"]


def test_run_calls_an_operation(edgefc: Edgefc, written: str, api: Api) -> None:  # noqa: F811
    words = (*QUESTION, "--tool-choice", "get_weather", "--openapi", written, "--json")
    done = edgefc(*words, "--yes", "--allow-host", api.host)
    assert json.loads(results_of(done)[0])["temperature"] == 18, done.stderr
    assert api.received[0].target == "/weather?location=Paris"
    assert "Pets: get_odd is left out: the reference 'x.json' leaves the document" in done.stderr
    assert "1 operation that may change something is left out; --allow-writes offers them" in done.stderr
    unnamed = edgefc(*words, "--yes")
    assert "inside the network" in results_of(unnamed)[0]
    assert len(api.received) == 1


def test_many_omissions_are_counted(edgefc: Edgefc, api: Api, tmp_path: Path) -> None:  # noqa: F811
    paths = {f"/p{number}": {"get": {"parameters": [{"$ref": "x.json"}]}} for number in range(20)}
    path = tmp_path / "doc.json"
    path.write_text(json.dumps(api.document({"/weather": {"get": WEATHER}, **paths})), encoding="utf-8")
    done = edgefc("lint", "--openapi", str(path))
    assert done.stderr.count("is left out") == 5
    assert "15 more lines like these" in done.stderr
    assert edgefc("openapi", str(path)).stdout.count("is left out") == 20


def test_nothing_runs_unapproved(edgefc: Edgefc, written: str, api: Api) -> None:  # noqa: F811
    done = edgefc(*QUESTION, "--tool-choice", "get_weather", "--openapi", written, "--json", "--allow-host", api.host)
    assert "did not allow" in results_of(done)[0]
    assert "no terminal to ask for approval" in done.stderr
    assert not api.received


def test_documents_and_own_tools_together(edgefc: Edgefc, written: str, tmp_path: Path) -> None:  # noqa: F811
    own = tmp_path / "own.py"
    own.write_text(
        'def get_weather(city: str) -> str:\n    """Get the weather."""\n    return city\n', encoding="utf-8"
    )
    done = edgefc("lint", str(own), "--openapi", written, "--openapi", written, "--allow-writes", "--json")
    names = [tool["name"] for tool in json.loads(done.stdout)["tools"]]
    assert names == [
        "get_weather",
        "Pets__get_weather",
        "delete_weather",
        "Pets__get_weather_2",
        "Pets__delete_weather",
    ]


def test_the_list_shows_operations_and_keys(edgefc: Edgefc, api: Api, tmp_path: Path) -> None:  # noqa: F811
    components = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
    hostile = {"operationId": "a\x1b[2J", "summary": "\x1b]0;x\x07", "tags": ["\u202e"]}
    paths = {"/weather": {"get": WEATHER}, "/h": {"get": hostile}, "/\x1b[2J": {"get": {}}}
    document = api.document(paths, components=components, security=[{"token": []}], info={"title": "T\x1b[2J"})
    path = tmp_path / "doc.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    done = edgefc("openapi", str(path), "--model", "demo")
    assert done.returncode == 0, done.stderr
    variable = f"EDGEFC_KEY_127_0_0_1_{api.port}__TOKEN"
    assert f"get_weather needs a key: export {variable}=…" in done.stdout
    assert f"GET {api.url}/weather" in done.stdout
    assert "read-only" in done.stdout
    assert not set(done.stdout + done.stderr) & {"\x1b", "\u202e", "\x07"}
    data = json.loads(edgefc("openapi", str(path), "--json").stdout)
    assert data["tools"][0]["missing_keys"] == [variable]
    called = edgefc("call", "What is the weather in Paris?", "--openapi", str(path), "--local")
    assert f"2 tools need a key: export {variable}=…" in called.stderr


@pytest.mark.skipif(os.name != "posix", reason="a terminal of Unix")
def test_a_decision_is_remembered_until_the_operation_changes(
    edgefc: Edgefc, written: str, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setenv("EDGEFC_CONFIG_DIR", str(tmp_path / "config"))
    words = (*QUESTION, "--tool-choice", "get_weather", "--openapi", written, "--allow-host", api.host)
    with Terminal(*words, env=os.environ) as terminal:
        terminal.wait_for(f"GET at {api.host}, read-only. Run it? [o]nce, [a]lways,")
        terminal.type("a")
        assert terminal.process.wait(timeout=300) == 0
    assert len(api.received) >= 1
    listed = json.loads((tmp_path / "config" / "approvals.json").read_text(encoding="utf-8"))
    assert [entry["decision"] for entry in listed["tools"].values()] == ["always"]
    again = edgefc(*words, "--json")
    assert "temperature" in results_of(again)[0]
    assert "1 decision forgotten" in edgefc("openapi", written, "--forget").stderr
    assert "did not allow" in results_of(edgefc(*words, "--json"))[0]
    with Terminal(*words, env=os.environ) as terminal:
        terminal.wait_for("[a]lways,")
        terminal.type("a")
        assert terminal.process.wait(timeout=300) == 0
    path = Path(written)
    path.write_text(path.read_text(encoding="utf-8").replace("current weather", "weather of now"), encoding="utf-8")
    assert "did not allow" in results_of(edgefc(*words, "--json"))[0]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("none.json",), "no such file: none.json"),
        (("{file}#nothing",), "no operation has the tag 'nothing'"),
        (("ftp://example.com/x",), "must be a file or an http or https URL"),
        (("{file}", "--allow-host", "http://x"), "must be a host or host:port"),
    ],
)
def test_mistakes_are_explained(words: tuple[str, ...], reason: str, edgefc: Edgefc, written: str) -> None:  # noqa: F811
    done = edgefc("openapi", *(word.replace("{file}", written) for word in words))
    assert done.returncode == 2
    assert reason in done.stderr

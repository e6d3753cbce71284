"""Servers from other projects: their tools, calls, results and errors, and models that call them.

EDGEFC_MCP_SERVERS=all installs and tests all of them, EDGEFC_MCP_SERVERS=time,git some; in the user's cache or in
EDGEFC_CLIENTS_DIR. With a model of EDGEFC_REAL_MODELS, Qwen2.5-Coder 1.5B calls three of them.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import edgefc
from edgefc.mcp import McpTools, connect
from edgefc.tools import run_tool
from tests.mcp.reference.servers import HERE, NOTE, REFERENCES, configuration, fill, selected
from tests.real.conftest import find_model


@dataclass(frozen=True)
class Place:
    """A folder with a note in a Git repository, and a web server with a page."""

    folder: Path
    url: str

    def fill_in(self, value: Any) -> Any:
        """Replace {folder} and {url} in texts at any depth."""
        if isinstance(value, str):
            return value.replace("{folder}", str(self.folder)).replace("{url}", self.url)
        if isinstance(value, dict):
            return {key: self.fill_in(item) for key, item in value.items()}
        return [self.fill_in(item) for item in value] if isinstance(value, list) else value


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, pages = tmp_path_factory.mktemp("files").resolve(), tmp_path_factory.mktemp("pages")
    fill(folder)
    (pages / "page").write_text(f"<html><p>{NOTE}</p></html>", encoding="utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(pages)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield Place(folder, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=REFERENCES)
def name(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if name not in selected():
        pytest.skip(f"not selected: EDGEFC_MCP_SERVERS={name} tests it, EDGEFC_MCP_SERVERS=all tests all")
    return name


def opened(name: str, place: Place, **keys: Any) -> McpTools:
    return connect({"mcpServers": {name: configuration(name, place.folder, **keys)}})


def test_a_server_is_listed_and_called(name: str, place: Place, demo_path: Path) -> None:
    reference = REFERENCES[name]
    results: list[tuple[str, dict[str, Any], str]] = []
    with opened(name, place) as tools:
        by_name = {tool.name: tool for tool in tools}
        assert not tools.omitted
        assert {tool: by_name[tool].source.badge for tool in reference.tools} == reference.tools
        for call in reference.calls:
            text = run_tool(by_name[call.tool], place.fill_in(call.arguments))
            if call.result:
                assert call.result in text
                assert '{"error"' not in text
            else:
                assert json.loads(text).keys() == {"error"}
        with edgefc.load(demo_path, n_threads=1) as model:
            # The folder's name and the port would change with each run, and a small model's call with them. What is named
            # in their place does not exist.
            model.run(
                Place(Path("files"), "http://127.0.0.1:9").fill_in(reference.question),
                tools=[*tools],
                tool_choice={"type": "function", "function": {"name": reference.right}},
                temperature=0,
                max_rounds=2,
                on_result=lambda *call: results.append(call),
            )
        ((called, arguments, result),) = results
        assert called == reference.right
        jsonschema.validate(arguments, by_name[called].source.schema)
        assert result if "{" in reference.question else reference.answer in result


@pytest.mark.parametrize("name", ["time", "git", "filesystem"], indirect=True)
def test_qwen_calls_the_right_tool(name: str, place: Place) -> None:
    reference = REFERENCES[name]
    results: list[str] = []
    path = find_model("qwen2.5-coder-1.5b")
    with (
        opened(name, place, allow=[reference.right, *reference.others]) as tools,
        edgefc.load(path, n_ctx=4096, n_threads=1, n_parallel=1, prefix_disk=0) as model,
    ):
        model.run(
            place.fill_in(reference.question),
            tools=[*tools],
            temperature=0,
            max_rounds=2,
            max_tokens=100,
            on_result=lambda _name, _arguments, result: results.append(result),
        )
    assert reference.answer in results[0]
    assert '{"error"' not in results[0]


def test_the_document_names_the_tested_versions() -> None:
    document = (HERE.parents[2] / "docs" / "mcp.md").read_text(encoding="utf-8")
    pinned = {
        "@".join(pair) for pair in json.loads((HERE / "node" / "package.json").read_text())["dependencies"].items()
    }
    for file in HERE.glob("requirements/*.txt"):
        pinned |= set(re.findall(r"^[\w.-]+==[\w.]+", file.read_text(), re.MULTILINE))
    named = set(re.findall(r"`([\w@./-]+(?:==|@)\d[\w.]*)`", document))
    assert len(named) == len(REFERENCES)
    assert named <= pinned

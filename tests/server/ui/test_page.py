"""The page at `/` over HTTP: its files, its headers, its origin and its key, also in front of a worker."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder

from edgefc.server.ui.files import FOLDER, page_files
from tests.mcp.conftest import RAW_SERVER
from tests.server.examples import TOOLS
from tests.server.server_process import CHAT, HttpResponse, ServerProcess

ROOT = Path(__file__).parents[3]
SMALL: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2, "x_edgefc_trace": True}
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
KEY = "sk-page"
# Of the files in npm's packages: htm 3.1.1 dist/htm.module.js; preact 11.2.0 dist/preact.mjs and hooks/dist/hooks.mjs.
VENDORED = {
    "htm.js": "ab33dd3f38059b9be4d5f5350128eefb2356639c4e0bbe9d9e8b3ba75847e9e4",
    "preact.js": "bdcbd9abdf2c77c5c45326eab42191e949222d479d0d5f69467387a77040cb55",
    "hooks.js": "e862ab2973aa6455eaa0f77c5d832d2157d6be59a17c8ba546550a575b58c6b4",
}


@pytest.fixture(scope="module", params=[(), ("--worker",)], ids=["one process", "worker"])
def locked(request: pytest.FixtureRequest, demo_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(("--api-key", KEY, *request.param)) as server:
        yield server


def own(server: ServerProcess, scheme: str = "http") -> dict[str, str]:
    """The header of a request that the server's own page sends."""
    return {"Origin": f"{scheme}://{server.host}:{server.port}"}


def test_a_browser_gets_the_page_and_a_program_a_line_of_text(server: ServerProcess) -> None:
    page = server.request("GET", "/", headers=HTML)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.body == (FOLDER / "index.html").read_bytes()
    assert server.request("GET", "/").body.startswith(b"edgefc ")
    assert server.request("HEAD", "/", headers=HTML).body == b""
    again = server.request("GET", "/", headers={**HTML, "If-None-Match": page.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert server.request("GET", "/ui/app.js").status == 200
    assert server.request("POST", "/", {}, HTML).status == 405
    for _ in range(100):
        if any("POST / 405" in line for line in server.lines):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the log has no line of the last request")
    assert not [line for line in server.lines if "/ui/app.js" in line], "the log has the page, not each of its files"
    assert server.request("GET", "/ui/../settings.py").status == 404
    assert server.request("GET", "/ui/vendor/htm.LICENSE").status == 404


def test_the_policy_lets_nothing_in(server: ServerProcess) -> None:
    for path in page_files():
        headers = server.request("GET", path, headers=HTML).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; ")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_the_files_name_no_other_host_and_no_html_sink() -> None:
    """Each is read by the browser as it is: there is no build step, and no request elsewhere."""
    for path in sorted(FOLDER.rglob("*.*")):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".LICENSE":
            continue
        assert not re.search(
            r"https?://(?!www\.w3\.org/2000/svg|\$\{|\.\.\.)", text.replace("http://www.w3.org", "")
        ), path
        if path.parent.name != "vendor":
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", text), path
            assert len(text.splitlines()) <= 420, path
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", html)


def test_vendored_modules_are_those_of_npm() -> None:
    found = {path.name: path.read_bytes() for path in (FOLDER / "vendor").glob("*.js")}
    found["hooks.js"] = found["hooks.js"].replace(
        b'from"./preact.js"', b'from"preact"'
    )  # no import map without a build
    assert {name: hashlib.sha256(content).hexdigest() for name, content in found.items()} == VENDORED
    assert {path.name for path in (FOLDER / "vendor").glob("*.LICENSE")} == {"htm.LICENSE", "preact.LICENSE"}


def test_the_wheel_contains_the_page(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(wheel).namelist()
    for path in FOLDER.rglob("*.*"):
        assert f"edgefc/server/ui/page/{path.relative_to(FOLDER).as_posix()}" in names


def test_only_the_page_itself_needs_no_key(locked: ServerProcess) -> None:
    for path in page_files():
        assert locked.request("GET", path, headers=HTML).status == 200
    assert locked.request("GET", "/").status == 401
    assert locked.request("GET", "/v1/models", headers=own(locked)).status == 401
    assert locked.post(CHAT, SMALL, **own(locked)).status == 401
    assert locked.post(CHAT, SMALL, **own(locked), Authorization=f"Bearer {KEY}").status == 200


@pytest.mark.parametrize("options", [(), ("--worker",)], ids=["one process", "worker"])
def test_the_page_may_ask_for_traces_and_no_other_page_for_anything(options: tuple[str, ...]) -> None:
    with ServerProcess(options) as server:
        for scheme in ("http", "https"):  # https: behind a proxy
            answer = server.post(CHAT, SMALL, **own(server, scheme))
            assert answer.status == 200
            assert answer.json["choices"][0]["x_edgefc_trace"]["tokens"]
            assert "access-control-allow-origin" not in {name.lower() for name in answer.headers}
        here = f"{server.host}:{server.port}"
        for origin in (f"http://{server.host}", f"http://{here}.evil.example", f"http://evil.example:{server.port}",
                       f"ftp://{here}", f"http://localhost:{server.port}", "null", here, f"http://{here}/"):  # fmt: skip
            assert server.post(CHAT, SMALL, Origin=origin).error["code"] == "origin_not_allowed"
        rebound = {"Host": f"evil.example:{server.port}", "Origin": f"http://evil.example:{server.port}"}
        assert server.post(CHAT, SMALL, **rebound).error["code"] == "host_not_allowed"


@pytest.mark.parametrize("options", [("--no-ui",), ("--no-ui", "--worker")], ids=["one process", "worker"])
def test_it_can_be_switched_off(options: tuple[str, ...], tmp_path: Path) -> None:
    with ServerProcess(options) as server:
        assert "in a browser" not in "".join(server.lines)
        assert server.request("GET", "/", headers=HTML).body.startswith(b"edgefc ")
        assert server.request("GET", "/ui/app.js").status == 404
        assert server.post(CHAT, SMALL, **own(server)).status == 403
    config = tmp_path / "edgefc.toml"
    config.write_text("ui = false\n", encoding="utf-8")
    with ServerProcess(("--config", str(config))) as server:
        assert server.request("GET", "/ui/app.js").status == 404


def test_the_prompt_s_tokens_come_with_a_trace_and_the_grammar_on_request(server: ServerProcess) -> None:
    question = {"messages": [{"role": "user", "content": "¿Dónde está Ōsaka? <|im_end|>"}], "tools": TOOLS}
    assert server.post("/apply-template", question).json.keys() == {"prompt"}
    answer = server.post("/apply-template", {**question, "x_edgefc_trace": True}).json
    pieces = [
        token["piece"].encode() if isinstance(token["piece"], str) else bytes(token["piece"])
        for token in answer["tokens"]
    ]
    assert b"".join(pieces).decode() == answer["prompt"]
    # The text of the user is no control token.
    assert [piece for piece, token in zip(pieces, answer["tokens"], strict=True) if token["control"]].count(
        b"<|im_end|>"
    ) == 2
    length = server.post("/v1/chat/completions/input_tokens", question).json["input_tokens"]
    assert len(answer["tokens"]) == length

    lint = "/v1/tools/lint"
    assert "grammar" not in server.post(lint, {"tools": TOOLS}).json
    assert "get_weather" in server.post(lint, {"tools": TOOLS, "grammar": True}).json["grammar"]
    assert server.post(lint, {"tools": [], "grammar": True}).json["grammar"] == ""
    assert server.post(lint, {"tools": [{}], "grammar": True}).json["grammar"] is None


def test_tools_are_read_and_examples_run(server: ServerProcess) -> None:
    def read(source: str) -> HttpResponse:
        return server.post("/v1/tools/read", {"source": source})

    assert [tool["function"]["name"] for tool in read("def f(x: int): ...").json["tools"]] == ["f"]
    wrong = read("def f(x: City): ...")
    assert (wrong.status, wrong.error["param"]) == (400, "source")
    assert "Literal" in wrong.error["message"]
    yaml = "openapi: 3.0.1\npaths:\n  /a:\n    post: {operationId: add}\n  /b:\n    get: {parameters: [{$ref: 'http://x.example/'}]}\n"
    answer = read(yaml).json
    assert [tool["function"]["name"] for tool in answer["tools"]] == ["add"]
    assert answer["omitted"][0]["reason"]
    for source in ("", "{", "openapi: [", "swagger: '2.0'", "{}", "a: &a [*a]"):
        assert read(source).status == 400, source

    def run(name: str, arguments: Any) -> HttpResponse:
        return server.post("/v1/tools/run", {"name": name, "arguments": arguments})

    assert json.loads(run("calculate", {"expression": "6*7"}).json["content"])["result"] == 42
    assert "error" in json.loads(run("calculate", {"expression": "__import__('os')"}).json["content"])
    assert "error" in json.loads(run("get_weather", {}).json["content"])
    unknown = run("remove", {})
    assert (unknown.status, unknown.error["param"]) == (400, "name")
    assert "get_weather" in unknown.error["message"]


@pytest.mark.parametrize("options", [(), ("--worker",)], ids=["one process", "worker"])
def test_tools_of_mcp_servers(options: tuple[str, ...], demo_path: Path, tmp_path: Path) -> None:
    config = tmp_path / "mcp.json"
    command = {"command": sys.executable, "args": ["-I", "-S", str(RAW_SERVER), "normal"]}
    config.write_text(json.dumps({"mcpServers": {"raw": command}}), encoding="utf-8")
    with ServerProcess(("--mcp", str(config), *options)) as server:
        answer = server.request("GET", "/v1/tools/mcp").json
        (echo,) = [each for each in answer["tools"] if each["name"] == "echo"]
        assert (echo["server"], echo["tool"]["type"], answer["omitted"]) == ("raw", "function", [])
        body = {"server": "raw", "name": "echo", "arguments": {"text": "hello"}}
        assert server.post("/v1/tools/run", body).json["content"] == "hello"
        for wrong in ({"server": "other"}, {"name": "other"}):
            assert server.post("/v1/tools/run", {**body, **wrong}).error["param"] == "name"
        assert server.request("GET", "/v1/tools/mcp", headers={"Origin": "http://evil.example"}).status == 403


def test_a_server_without_mcp_servers(server: ServerProcess) -> None:
    refused = server.request("GET", "/v1/tools/mcp")
    assert (refused.status, refused.error["code"]) == (404, "no_mcp_servers")
    assert server.post("/v1/tools/run", {"server": "raw", "name": "echo", "arguments": {}}).status == 404

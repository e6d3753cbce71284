"""The `mcpServers` file: what other programs write is read, and mistakes are located."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from edgefc.errors import RequestError
from edgefc.mcp.config import add_server, read_config, remove_server


def config(**server: Any) -> dict[str, Any]:
    return {"mcpServers": {"files": server}}


def test_a_file_of_another_program_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIKI_KEY", "secret")
    servers = {
        "files": {"command": "npx", "args": ["-y", "server-filesystem", "."], "env": {"A": "1"}, "cwd": "work"},
        "wiki": {"type": "http", "url": "https://example.org/mcp", "headers": {"Authorization": "${env:WIKI_KEY}"}},
        "off": {"command": "npx", "disabled": True},
    }
    path = tmp_path / "claude_desktop_config.json"
    path.write_text(json.dumps({"globalShortcut": "", "mcpServers": servers}), encoding="utf-8")
    files, wiki = read_config(path)
    assert (files.command, files.args, files.env) == ("npx", ("-y", "server-filesystem", "."), {"A": "1"})
    assert files.cwd == str(tmp_path / "work")
    assert wiki.headers == {"Authorization": "secret"}


@pytest.mark.parametrize(
    ("source", "path", "text"),
    [
        (config(comand="npx"), "mcpServers.files.comand", "Did you mean 'command'?"),
        (config(command="npx", Timeout=3), "mcpServers.files.Timeout", "Did you mean 'timeout'?"),
        (config(command="npx", zzz=3), "mcpServers.files.zzz", "Known: command"),
        (config(command=["npx"]), "mcpServers.files.command", "must be text, not a list"),
        (config(command="npx", args=[1]), "mcpServers.files.args", "must be a list of texts"),
        (config(command="npx", env={"A": 1}), "mcpServers.files.env", "must be an object of texts"),
        (config(command="npx", timeout=True), "mcpServers.files.timeout", "must be a number"),
        (config(command="npx", timeout=0), "mcpServers.files.timeout", "between 0 and"),
        (config(command="npx", approve="allways"), "mcpServers.files.approve", "Did you mean 'always'?"),
        (config(command="npx", headers={}), "mcpServers.files.headers", "no meaning beside command"),
        (config(command="npx", url="https://a.org"), "mcpServers.files", "either command or url"),
        (config(), "mcpServers.files", "either command or url"),
        (config(url="ftp://a.org"), "mcpServers.files.url", "must be an http or https URL"),
        (config(url="https://a.org", type="sse"), "mcpServers.files.type", "unsupported type 'sse'"),
        (config(url="https://a.org", type="stdio"), "mcpServers.files.type", "must be http here"),
        (config(command="${env:EDGEFC_NO_SUCH}"), "mcpServers.files.command", "the environment has no"),
        ({"mcpServers": {"files": "npx"}}, "mcpServers.files", "must be an object, not text"),
        ({"mcpServers": []}, "mcpServers", "must be an object in"),
        ({"mcpservers": {}}, "mcp", "Rename 'mcpservers' to 'mcpServers'."),
    ],
)
def test_a_mistake_is_located(source: dict[str, Any], path: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps(source), encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        read_config(file)
    assert caught.value.param == path
    assert text in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"), [("{", "line 1, column 2"), ("[]", "must hold an object"), ("\xff", "cannot be read")]
)
def test_a_file_that_is_no_json_object_is_refused(content: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(RequestError, match=text):
        read_config(file)


def test_servers_are_added_and_removed_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "mcp.json"
    add_server(path, "files", {"command": "npx", "env": {"KEY": "${env:NOT_SET_HERE}"}})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(RequestError, match="--force"):
        add_server(path, "files", {"command": "npx"})
    with pytest.raises(RequestError, match="unknown key"):
        add_server(path, "other", {"comand": "npx"})
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({"theme": "dark", **data}), encoding="utf-8")
    add_server(path, "wiki", {"url": "https://example.org/mcp"})
    remove_server(path, "files")
    left = json.loads(path.read_text(encoding="utf-8"))
    assert left == {"theme": "dark", "mcpServers": {"wiki": {"url": "https://example.org/mcp"}}}
    with pytest.raises(RequestError, match="Did you mean 'wiki'"):
        remove_server(path, "wikis")

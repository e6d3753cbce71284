"""A stdio server for the tests, with tools of every kind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from mcp.server import MCPServer
from mcp_types import ImageContent, TextContent, ToolAnnotations

server = MCPServer("notes")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def read_note(title: str) -> str:
    """Read a note by its title."""
    return f"{title}: buy milk"


@server.tool()
def delete_note(title: str) -> dict[str, Any]:
    """Delete a note."""
    return {"deleted": title}


@server.tool(structured_output=False)
def draw() -> list[TextContent | ImageContent]:
    """Draw a picture."""
    return [TextContent(text="a cat"), ImageContent(data="aGk=", mime_type="image/png")]


@server.tool(structured_output=False)
def long_note(length: int) -> str:
    """Return a long text."""
    return "a" * length + "end"


@server.tool()
def fail(reason: str) -> str:
    """Fail."""
    raise ValueError(reason)


@server.tool()
def environment() -> list[str]:
    """List the names of the environment's variables."""
    return sorted(os.environ)


@server.tool()
def process_id() -> list[int]:
    """Return the ids of this process and of one that it starts."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return [os.getpid(), child.pid]


@server.tool()
def hang() -> str:
    """Never return."""
    time.sleep(600)
    return ""


@server.tool()
def leave() -> str:
    """End the process in the middle of the call."""
    sys.stderr.write("out of cheese\n")
    sys.stderr.flush()
    os._exit(7)


if __name__ == "__main__":
    server.run()

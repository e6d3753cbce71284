"""An MCP server over stdio, of the standard library alone: notes that are kept until it ends."""

import json
import sys
from typing import Any

NOTES = {"shopping": "milk and bread"}
TITLE = {"type": "string", "description": "The note's title"}
TOOLS = [
    {
        "name": "read_note",
        "description": "Read a note",
        "inputSchema": {"type": "object", "properties": {"title": TITLE}, "required": ["title"]},
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "delete_note",
        "description": "Delete a note",
        "inputSchema": {"type": "object", "properties": {"title": TITLE}, "required": ["title"]},
        "annotations": {"destructiveHint": True},
    },
]


def call(name: str, arguments: dict[str, Any]) -> str:
    """Run a tool."""
    title = arguments["title"]
    if name == "delete_note":
        return "deleted" if NOTES.pop(title, None) else "no such note"
    return NOTES.get(title, "no such note")


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """Return the result of a request; None for a method that this server does not have."""
    if method == "initialize":
        info = {"name": "notes", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": call(params["name"], params.get("arguments", {}))}]}
    return None


for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue  # a notification
    result = answer(request["method"], request.get("params", {}))
    error = {"error": {"code": -32601, "message": "no such method"}}
    response = {"jsonrpc": "2.0", "id": request["id"], **(error if result is None else {"result": result})}
    sys.stdout.write(json.dumps(response) + "\n")
    sys.stdout.flush()

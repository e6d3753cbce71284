"""Tools of MCP servers, with the official SDK: `pip install 'edgefc[mcp]'`.

    with edgefc.mcp.connect("mcp.json") as tools:
        model.run("What is in my notes?", tools=[*tools, my_function])

config      the file that Cursor, Claude Desktop and LM Studio share, and edgefc's keys in it
background  the event loop of all connections, in a thread of its own
guard       a small process that ends a server's processes when edgefc is gone
stdio       messages to and from a server's process;  http  the same over streamable HTTP
connection  one server: started when it is needed, and again after it ended
listing     a server's tools: allowed ones, their fingerprints
result      the result of a call as text for a model
tools       the tools of all servers as a sequence for `Model.run`
serving     edgefc as a server: tools by which a larger agent hands work to a small model
"""

from edgefc.errors import require_extra

require_extra("mcp", "filelock", "mcp")

from edgefc.mcp.config import ServerConfig, read_config  # noqa: E402 - after the check
from edgefc.mcp.tools import McpTool, McpTools, connect  # noqa: E402
from edgefc.tools.approval import Approvals, Decision  # noqa: E402

__all__ = ["Approvals", "Decision", "McpTool", "McpTools", "ServerConfig", "connect", "read_config"]

"""Tools: Python functions and OpenAI tool objects, checked once as a ToolSet, and run."""

from edgefc.tools.choice import parse_tool_choice
from edgefc.tools.definition import CODE_INTERPRETER
from edgefc.tools.load import load_tools, read_json_tools, read_python_tools
from edgefc.tools.python import PythonTool, ToolLike, tool
from edgefc.tools.run import run_tool
from edgefc.tools.toolset import Omitted, ToolSet

__all__ = [
    "CODE_INTERPRETER",
    "Omitted",
    "PythonTool",
    "ToolLike",
    "ToolSet",
    "load_tools",
    "parse_tool_choice",
    "read_json_tools",
    "read_python_tools",
    "run_tool",
    "tool",
]

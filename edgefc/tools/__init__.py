"""Tools: Python functions and OpenAI tool objects, checked, and run."""

from edgefc.tools.python import (
    CODE_INTERPRETER,
    PythonTool,
    ToolLike,
    as_tools,
    check_tools,
    load_tools,
    parse_tool_choice,
    read_json_tools,
    run_tool,
    tool,
)

__all__ = [
    "CODE_INTERPRETER",
    "PythonTool",
    "ToolLike",
    "as_tools",
    "check_tools",
    "load_tools",
    "parse_tool_choice",
    "read_json_tools",
    "run_tool",
    "tool",
]

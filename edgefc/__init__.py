"""edgefc makes small local models call tools reliably.

    import edgefc

    model = edgefc.load("demo")
    reply = model.chat([{"role": "user", "content": "What is the weather in Paris?"}], tools=tools)

Importing edgefc is cheap: llama.cpp and the rest are imported when a model is loaded.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

from edgefc._version import __version__

# A library is silent by default; attach a handler to logging.getLogger("edgefc") to see its log.
logging.getLogger("edgefc").addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from edgefc.chat.async_stream import AsyncChatStream
    from edgefc.chat.completion import Completion, TextStream
    from edgefc.chat.loop import RunResult
    from edgefc.chat.options import ChatOptions
    from edgefc.chat.reply import ChatStream, Reply
    from edgefc.chat.warm import WarmResult
    from edgefc.errors import EdgefcError
    from edgefc.gguf.adapter import Lora
    from edgefc.model import Model, load
    from edgefc.tools import PythonTool, ToolSet, tool
    from edgefc.types import Call, Delta, Message, Outcome, Tool, ToolCall

_HOMES = {
    "AsyncChatStream": "chat.async_stream",
    "Call": "types",
    "ChatOptions": "chat.options",
    "ChatStream": "chat.reply",
    "Completion": "chat.completion",
    "Delta": "types",
    "EdgefcError": "errors",
    "Lora": "gguf.adapter",
    "Message": "types",
    "Model": "model",
    "Outcome": "types",
    "PythonTool": "tools",
    "Reply": "chat.reply",
    "RunResult": "chat.loop",
    "TextStream": "chat.completion",
    "Tool": "types",
    "ToolCall": "types",
    "ToolSet": "tools",
    "WarmResult": "chat.warm",
    "load": "model",
    "tool": "tools",
}

__all__ = [
    "AsyncChatStream",
    "Call",
    "ChatOptions",
    "ChatStream",
    "Completion",
    "Delta",
    "EdgefcError",
    "Lora",
    "Message",
    "Model",
    "Outcome",
    "PythonTool",
    "Reply",
    "RunResult",
    "TextStream",
    "Tool",
    "ToolCall",
    "ToolSet",
    "WarmResult",
    "__version__",
    "load",
    "tool",
]


def __getattr__(name: str) -> object:
    """Import public names on first use (PEP 562)."""
    if name in {"mcp", "openapi"}:
        return importlib.import_module(f"edgefc.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'edgefc' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edgefc.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

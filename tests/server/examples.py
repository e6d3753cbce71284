"""Messages and tools that the server's tests share."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from edgefc.tools import ToolSet
from edgefc.tools.examples import EXAMPLE_TOOLS

TOOLS: Any = list(ToolSet.of(EXAMPLE_TOOLS))
SCHEMAS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
RUNNERS: Any = {tool.name: tool for tool in EXAMPLE_TOOLS}
WEATHER: Any = [{"role": "user", "content": "What is the weather in Paris and in Oslo?"}]
HELLO: Any = [{"role": "user", "content": "Hello!"}]
# A model with random weights does not end its answer: the request runs until it is cancelled.
ENDLESS: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Go on"}], "temperature": 0, "stream": True, "logit_bias": {},
    "max_tokens": 4000, "x_edgefc_loop_guard": False,
}  # fmt: skip


class City(BaseModel):
    """A schema without free text, so that every answer ends."""

    name: Literal["Paris", "Oslo"]
    country: Literal["France", "Norway"]

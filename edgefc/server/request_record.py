"""A record of one request, for its response's headers and its line in the log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgefc.chat.reply import Usage
from edgefc.tools import ToolSet

SCOPE_KEY = "edgefc.record"  # in the ASGI scope
WARNING_HEADER = "X-Edgefc-Warning"
MAX_HEADER = 2000  # characters


@dataclass(slots=True)
class RequestRecord:
    """The model, the tokens, and the warnings of a request.

    warnings  what of the request has no effect: fields, and tools that were left out
    started, loaded  seconds of the clock when the request began, and when its model was in memory
    """

    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    warnings: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    loaded: float = 0.0

    def warn(self, texts: Iterable[str]) -> None:
        """Add warnings, each once."""
        self.warnings += [text for text in dict.fromkeys(texts) if text not in self.warnings]

    def warn_of_tools(self, tools: ToolSet | None) -> None:
        """Add warnings about tools that were left out."""
        if tools is not None:
            self.warn(f"tools[{tool.position}] {tool.name} is left out: {tool.reason}" for tool in tools.omitted)

    def count(self, usage: Usage) -> None:
        """Add the tokens of an answer; all answers of a request share its prompt."""
        self.prompt_tokens = max(self.prompt_tokens, usage["prompt_tokens"])
        self.completion_tokens += usage["completion_tokens"]

    def headers(self) -> Mapping[str, str]:
        """Return the headers of the response: the warnings in one line of ASCII."""
        if not self.warnings:
            return {}
        text = "; ".join(self.warnings).encode("ascii", "backslashreplace").decode()
        line = "".join(character if character.isprintable() else " " for character in text)
        return {WARNING_HEADER: line if len(line) <= MAX_HEADER else f"{line[:MAX_HEADER]}..."}

"""The message that a parser reads, with the deltas that describe its growth."""

from __future__ import annotations

from collections.abc import Callable

from edgefc.types import Delta, FunctionCallDelta, Message, ToolCall


class MessageBuilder:
    """Collects text, thoughts and calls; `take_deltas` returns what was added since it was last called."""

    def __init__(self, make_id: Callable[[], str]) -> None:
        self.calls: list[ToolCall] = []
        self._make_id = make_id
        self._content: list[str] = []
        self._thoughts: list[str] = []
        self._deltas: list[Delta] = []

    def take_deltas(self) -> list[Delta]:
        deltas, self._deltas = self._deltas, []
        return deltas

    def message(self, calls: list[ToolCall]) -> Message:
        """Return the message so far, with these calls."""
        content = "".join(self._content)
        message: Message = {"role": "assistant", "content": content if content or not calls else None}
        if self._thoughts:
            message["reasoning_content"] = "".join(self._thoughts)
        if calls:
            message["tool_calls"] = calls
        return message

    def open_call(self, name: str) -> None:
        """Begin another call, without arguments so far."""
        call: ToolCall = {"id": self._make_id(), "type": "function", "function": {"name": name, "arguments": ""}}
        self.calls.append(call)
        function: FunctionCallDelta = {"name": name, "arguments": ""}
        index = len(self.calls) - 1
        self._deltas.append(
            {"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": function}]}
        )

    def add_arguments(self, piece: str) -> None:
        """Append to the last call's arguments, which are JSON text."""
        if piece:
            self.calls[-1]["function"]["arguments"] += piece
            self._deltas.append({"tool_calls": [{"index": len(self.calls) - 1, "function": {"arguments": piece}}]})

    def add_text(self, text: str) -> None:
        if text:
            self._content.append(text)
            self._deltas.append({"content": text})

    def add_thoughts(self, text: str) -> None:
        if text:
            self._thoughts.append(text)
            self._deltas.append({"reasoning_content": text})

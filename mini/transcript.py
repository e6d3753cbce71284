"""The messages and tools of a conversation while it is written."""

from __future__ import annotations

import datetime as dt
import json
import tomllib
from collections.abc import Sequence
from typing import Any

from mini.functions import DATA, Function
from mini.requests import Request, RequestWriter
from mini.schemas import Tool
from mini.toolbox import BANKS, others, show
from mini.values import Values

LINES: dict[str, Any] = tomllib.loads((DATA / "lines.toml").read_text(encoding="utf-8"))
Message = dict[str, Any]


class Transcript:
    """A conversation while it is written; `tools` and `messages` are its parts."""

    def __init__(self, v: Values, tools: Sequence[Tool] = (), system: Sequence[Message] = ()) -> None:
        """Begin with nothing, or with a system message and with tools that `offer` then chooses from."""
        self.v, self.rng = v, v.rng
        self.bank = BANKS[v.held_back]
        self.requests = RequestWriter(v)
        self.tools: list[Tool] = list(tools)
        self.are_given = bool(tools)
        self.messages: list[Message] = list(system)
        self._calls = 0

    def add_system(self) -> None:
        """A system prompt of a user; now and then it tells the date."""
        if self.rng.random() < 0.3:
            self.v.today = dt.date(2024, 1, 1) + dt.timedelta(days=self.rng.randrange(1200))
            text = self.rng.choice(LINES["date_prompts"]).format(
                date=self.v.today.isoformat(), weekday=f"{self.v.today:%A}"
            )
        else:
            text = self.rng.choice(LINES["system_prompts"])
        self.messages.append({"role": "system", "content": text})

    # -- messages
    def user(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})

    def say(self, text: str) -> bool:
        self.messages.append({"role": "assistant", "content": text})
        return True

    def call(self, requests: list[Request]) -> bool:
        """The assistant's calls."""
        calls = []
        for request in requests:
            self._calls += 1
            calls.append({"id": f"call_{self._calls}", "type": "function", "function": request.call})
        self.messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        return True

    def result_of(self, request: Request) -> dict[str, Any]:
        """A result of the request's call."""
        function = request.tool.function
        echoes = {
            key: request.drawn[param].value if param in request.drawn else otherwise
            for key, (param, otherwise) in function.echoes.items()
            if param in request.drawn or otherwise
        }
        return echoes | {key: source(self.v) for key, source in function.result.items()}

    def results(self, results: list[dict[str, Any]]) -> None:
        """The results of the last calls."""
        for call, result in zip(self.messages[-1]["tool_calls"], results, strict=True):
            content = json.dumps(result, ensure_ascii=False)
            self.messages.append({
                "role": "tool", "tool_call_id": call["id"], "name": call["function"]["name"], "content": content
            })  # fmt: skip

    def offer(self, functions: list[Function], count: int, *, near: float) -> list[Tool]:
        """Put tools of these functions into the conversation, with `count` others; returns theirs.

        Where the tools are given already, it returns as many of them as there are functions, and at least one.
        """
        if self.are_given:
            return self.rng.sample(self.tools, max(1, min(len(functions), len(self.tools))))
        together = [*functions, *others(self.v, functions, count, near=near)]
        order = self.rng.sample(range(len(together)), len(together))
        placed = dict(zip(order, show(self.v, [together[i] for i in order]), strict=True))
        self.tools = [placed[i] for i in order]
        return [placed[i] for i in range(len(functions))]

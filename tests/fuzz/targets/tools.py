"""Tools, schemas and grammars: linted, compiled, and generated with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import BaseTarget, BrokenPromiseError, Case
from tests.fuzz.targets.schemas import gbnf, schema, tools

QUESTION: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
CHOICES = ("auto", "required", "required", "none", {"type": "function", "function": {"name": "call"}})
FORMATS = ("json_schema", "json_object")
SMALL = 20 << 20  # bytes of a model whose computing does not count


class Tools(BaseTarget):
    """Cases are arguments of Model.chat: tools and options."""

    def __init__(self, model: Path) -> None:
        super().__init__(model)
        if model.stat().st_size > SMALL:
            self.seconds = 30.0  # a prompt of 1,000 tokens takes many of them

    def make(self, rng: Random, seeds: Sequence[Case]) -> Case:
        mutator = Mutator(rng)
        if seeds and mutator.chance(0.3):
            case = mutator.change_json(rng.choice(seeds), seeds)
            return case if isinstance(case, dict) else rng.choice(seeds)
        match rng.randrange(6):
            case 0:
                return {"options": {"grammar": gbnf(mutator)}}
            case 1:
                made = schema(mutator)
                return {"options": {"response_format": rng.choice((
                    {"type": "json_schema", "json_schema": {"name": "a", "schema": made}}, {"type": "json_object", "schema": made},
                    {"type": rng.choice(FORMATS), "json_schema": made},
                ))}}  # fmt: skip
            case _:
                return {"tools": tools(mutator), "options": {"tool_choice": rng.choice(CHOICES)}}

    def start(self, folder: Path) -> None:
        import edgefc
        from edgefc.lint import lint_tools

        self._lint = lint_tools
        self._model = edgefc.load(self.model, n_ctx=1024, n_parallel=1, n_threads=1, prefix_disk=0)

    def run(self, case: Case) -> str:
        options, offered = case.get("options"), case.get("tools")
        if isinstance(offered, list) and len(offered) < 40:
            json.dumps([report.problems for report in self._lint(offered)])
        if not isinstance(options, dict):
            return "no options"
        known = {name: options[name] for name in ("tool_choice", "grammar", "response_format") if name in options}
        reply = self._model.chat(QUESTION, tools=offered, max_tokens=24, temperature=0, **known)
        for call in reply.calls:
            if not isinstance(call.arguments, dict):
                raise BrokenPromiseError(f"arguments are {call.arguments!r}")
        return reply.outcome

    def close(self) -> None:
        self._model.close()


TARGET = Tools

"""`edgefc call` and `edgefc run`: one question, one answer."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from edgefc.chat.reply import Reply
from edgefc.cli.options import asker, choice_of, given, load_model, out, print_json, show_result, tools_of
from edgefc.types import Delta, Message


def call(
    prompt: str,
    model: str,
    tools: Path | None,
    *,
    tool_choice: str,
    system: str | None,
    stream: bool,
    as_json: bool,
    load: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Print calls as `[{"name", "arguments"}]`, anything else as `{"outcome", "content", "missing"}`."""
    offered, _ = tools_of(tools)
    choice = choice_of(tool_choice)
    messages: list[Message] = [{"role": "user", "content": prompt}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    with (
        load_model(model, load) as loaded,
        loaded.chat(messages, tools=offered, tool_choice=choice, stream=True, **given(options)) as answer,
    ):
        for delta in answer:
            if stream:
                sys.stdout.write(json.dumps(delta, ensure_ascii=False) + "\n")
                sys.stdout.flush()
        reply = answer.reply
    if stream:
        return
    if as_json:
        print_json(_whole(reply))
    elif reply.outcome == "call":
        calls = [item["function"] for item in reply.tool_calls]
        print_json([{"name": f["name"], "arguments": json.loads(f["arguments"])} for f in calls])
    else:
        print_json({"outcome": reply.outcome, "content": reply.content, "missing": list(reply.missing)})


def run(
    prompt: str,
    model: str,
    tools: Path | None,
    *,
    system: str | None,
    yes: bool,
    as_json: bool,
    load: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Answer a question by running tools; shows each call and its result, then the answer."""
    offered, own = tools_of(tools)
    silent = as_json

    def show(delta: Delta) -> None:
        if text := delta.get("content"):
            out.print(text, end="", markup=False)

    with load_model(model, load) as loaded:
        result = loaded.run(
            prompt,
            tools=offered,
            system=system,
            on_call=(lambda *_: True) if silent and (yes or not own) else asker(ask=own and not yes),
            on_result=None if silent else show_result,
            on_delta=None if silent else show,
            **given(options),
        )
    if as_json:
        print_json({**_whole(result.reply), "messages": result.messages, "rounds": result.rounds})
    else:
        out.print()


def _whole(reply: Reply) -> dict[str, Any]:
    stats = dataclasses.asdict(reply.stats)
    stats["constraint_us_per_sampled_token"] = reply.stats.constraint_us_per_sampled_token
    return {
        "message": reply.message,
        "outcome": reply.outcome,
        "finish_reason": reply.finish_reason,
        "missing": list(reply.missing),
        "usage": reply.usage,
        "stats": stats,
    }

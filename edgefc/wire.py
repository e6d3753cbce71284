"""Answers as OpenAI's chat completions put them on the wire: `chat.completion`, and the chunks of a stream.

What clients rely on, all of them together: an integer `index` in each call's delta; its `id`, `type` and `name` once,
in the first; one call in a chunk; `content` null beside calls; `usage` in a chunk of its own, without choices.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from edgefc.engine import Tokenizer, TokenLogprob
from edgefc.reply import Reply, Usage
from edgefc.types import Delta

Head = dict[str, Any]


def head(model: str) -> Head:
    """What every chunk of one answer has: its id, when it was created, and the model's name."""
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}


def completion(
    about: Head, replies: Sequence[Reply], *, legacy: bool = False, logprobs: Sequence[Any] = ()
) -> dict[str, Any]:
    """A whole answer, with a choice for each reply and its `logprobs`; `legacy`: a call is a `function_call`."""
    choices = []
    for index, reply in enumerate(replies):
        message: dict[str, Any] = dict(reply.message)
        if legacy and reply.tool_calls:
            message["function_call"] = message.pop("tool_calls")[0]["function"]
        reason = finish_reason(reply, legacy=legacy)
        told = logprobs[index] if logprobs else None
        choices.append({"index": index, "message": message, "logprobs": told, "finish_reason": reason})
    return {**about, "object": "chat.completion", "choices": choices, "usage": total(replies)}


def chunk(
    about: Head,
    delta: Delta | Mapping[str, Any],
    reason: str | None = None,
    *,
    index: int = 0,
    legacy: bool = False,
    logprobs: Any = None,
) -> dict[str, Any]:
    """One step of a stream."""
    calls = delta.get("tool_calls")
    told: Mapping[str, Any] = {"function_call": calls[0]["function"]} if legacy and calls else delta
    choice = {"index": index, "delta": told, "logprobs": logprobs, "finish_reason": reason}
    return {**about, "object": "chat.completion.chunk", "choices": [choice]}


def logprobs_of(tokenizer: Tokenizer, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """How likely tokens were."""

    def entry(token: int, logprob: float) -> dict[str, Any]:
        data = tokenizer.vocabulary.piece(token)
        return {"token": data.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(data)}

    content = [{**entry(t.token, t.logprob), "top_logprobs": [entry(*other) for other in t.top]} for t in tokens]
    return {"content": content, "refusal": None}


def usage_chunk(about: Head, replies: Sequence[Reply]) -> dict[str, Any]:
    """The last of a stream, where `stream_options` asks for it."""
    return {**about, "object": "chat.completion.chunk", "choices": [], "usage": total(replies)}


def finish_reason(reply: Reply, *, legacy: bool = False) -> str:
    return "function_call" if legacy and reply.tool_calls else reply.finish_reason


def total(replies: Sequence[Reply]) -> Usage:
    """What answers to the same prompt cost together: the prompt counts once."""
    prompt = replies[0].usage["prompt_tokens"]
    completed = sum(reply.usage["completion_tokens"] for reply in replies)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completed,
        "total_tokens": prompt + completed,
        "prompt_tokens_details": replies[0].usage["prompt_tokens_details"],
    }


def choice_of(function_call: str | Mapping[str, Any] | None) -> str | Mapping[str, Any]:
    """`tool_choice` for the older `function_call`."""
    if isinstance(function_call, Mapping):
        return {"type": "function", "function": function_call}
    return function_call or "auto"

"""Answers as OpenAI's chat completions put them on the wire: `chat.completion`, and the chunks of a stream.

What clients rely on, all of them together: an integer `index` in each call's delta; its `id`, `type` and `name` once,
in the first; one call in a chunk; `content` null beside calls; `usage` in a chunk of its own, without choices, and
beside it `timings` in llama-server's spelling.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from edgefc._version import __version__
from edgefc.chat.completion import Completion
from edgefc.chat.reply import Reply, Usage
from edgefc.engine import GenerationStats, Tokenizer, TokenLogprob
from edgefc.types import Delta

Head = dict[str, Any]
FINGERPRINT = f"edgefc-{__version__}"  # the same seed gives the same answer as long as this is the same


def head(model: str) -> Head:
    """What every chunk of one answer has: its id, when it was created, the model's name, and what computes it."""
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model,
        "system_fingerprint": FINGERPRINT,
    }  # fmt: skip


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
    return {**about, "object": "chat.completion", "choices": choices, **spent(replies, len(replies))}


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
    return {**about, "object": "chat.completion.chunk", "choices": [], **spent(replies, len(replies))}


def finish_reason(reply: Reply, *, legacy: bool = False) -> str:
    return "function_call" if legacy and reply.tool_calls else reply.finish_reason


def spent(answers: Sequence[Reply | Completion], each: int) -> dict[str, Any]:
    """What answers cost together, `each` of them to the same prompt: the fields `usage` and `timings`."""
    return {
        "usage": total([answer.usage for answer in answers], each),
        "timings": timings([answer.stats for answer in answers], each),
    }


def timings(answers: Sequence[GenerationStats], each: int) -> dict[str, float]:
    """How long answers took that were computed side by side, `each` of them to the same prompt, which counts once.

    `n` are tokens: of the prompts those that were computed and those that were kept from before, and of the answers.
    """
    prompts = answers[::each]
    prompt_n = sum(stats.prompt_tokens - stats.cached_tokens for stats in prompts)
    predicted_n = sum(stats.completion_tokens for stats in answers)
    prompt_s, predicted_s = max(s.prefill_s for s in prompts), max(s.decode_s for s in answers)
    return {
        "cache_n": sum(stats.cached_tokens for stats in prompts),
        "prompt_n": prompt_n, "prompt_ms": 1000 * prompt_s, "prompt_per_second": _rate(prompt_n, prompt_s),
        "predicted_n": predicted_n, "predicted_ms": 1000 * predicted_s,
        "predicted_per_second": _rate(predicted_n, predicted_s),
    }  # fmt: skip


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0


def total(usages: Sequence[Usage], each: int) -> Usage:
    """What answers cost together, `each` of them to the same prompt, which counts once."""
    prompts = usages[::each]
    prompt = sum(usage["prompt_tokens"] for usage in prompts)
    completed = sum(usage["completion_tokens"] for usage in usages)
    details = [usage["completion_tokens_details"] for usage in usages]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completed,
        "total_tokens": prompt + completed,
        "prompt_tokens_details": {
            "cached_tokens": sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in prompts)
        },
        "completion_tokens_details": {
            "reasoning_tokens": sum(one["reasoning_tokens"] for one in details),
            "forced_tokens": sum(one["forced_tokens"] for one in details),
        },
    }


def choice_of(function_call: str | Mapping[str, Any] | None) -> str | Mapping[str, Any]:
    """`tool_choice` for the older `function_call`."""
    if isinstance(function_call, Mapping):
        return {"type": "function", "function": function_call}
    return function_call or "auto"

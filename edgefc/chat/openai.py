"""Answers in the wire form of OpenAI's chat completions: `chat.completion`, and the chunks of a stream.

Together, clients rely on: an integer `index` in each call's delta; its `id`, `type` and `name` once,
in the first; one call in a chunk; `content` null beside calls; `usage` in a chunk of its own, without choices, and
beside it `timings` in llama-server's spelling.
"""

from __future__ import annotations

import dataclasses
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from edgefc._version import __version__
from edgefc.chat.completion import Completion
from edgefc.chat.confidence import CallConfidence, Confidence
from edgefc.chat.reply import Reply, Usage
from edgefc.chat.trace import Trace, TracedToken
from edgefc.engine import GenerationStats, Tokenizer, TokenLogprob
from edgefc.errors import format_path
from edgefc.types import Delta

Head = dict[str, Any]
_DIGITS = 6  # of a probability in a trace
_NO_CHANCE = -9999.0  # OpenAI's logprob of a token that is not among the likely ones
FINGERPRINT = f"edgefc-{__version__}"  # equal seeds give equal answers while this is equal


def head(model: str) -> Head:
    """Build the fields that all chunks of one answer share: id, creation time, model name and fingerprint."""
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model,
        "system_fingerprint": FINGERPRINT,
    }  # fmt: skip


def completion(
    about: Head, replies: Sequence[Reply], *, legacy: bool = False, logprobs: Sequence[Any] = ()
) -> dict[str, Any]:
    """Build a whole answer, with a choice for each reply and its `logprobs`; `legacy`: a call is a `function_call`."""
    choices = []
    for index, reply in enumerate(replies):
        message: dict[str, Any] = dict(reply.message)
        if legacy and reply.tool_calls:
            message["function_call"] = message.pop("tool_calls")[0]["function"]
        reason = finish_reason(reply, legacy=legacy)
        own_logprobs = logprobs[index] if logprobs else None
        choice = {"index": index, "message": message, "logprobs": own_logprobs, "finish_reason": reason}
        trace = {} if reply.trace is None else {"x_edgefc_trace": trace_of(reply.trace)}
        choices.append({**choice, **extension(reply), **trace})
    return {**about, "object": "chat.completion", "choices": choices, **usage_and_timings(replies, len(replies))}


def chunk(
    about: Head,
    delta: Delta | Mapping[str, Any],
    reason: str | None = None,
    *,
    index: int = 0,
    legacy: bool = False,
    logprobs: Any = None,
    reply: Reply | None = None,
    trace: Sequence[TracedToken] = (),
) -> dict[str, Any]:
    """Build one chunk of a stream, with the trace of its tokens; the last one of a choice gets its `reply`."""
    calls = delta.get("tool_calls")
    sent: Mapping[str, Any] = {"function_call": calls[0]["function"]} if legacy and calls else delta
    choice = {"index": index, "delta": sent, "logprobs": logprobs, "finish_reason": reason}
    if reply is not None:
        choice |= extension(reply)
    facts = {} if reply is None or reply.trace is None else trace_facts(reply.trace)
    if trace or facts:
        choice["x_edgefc_trace"] = {"tokens": [traced_token(token) for token in trace], **facts}
    return {**about, "object": "chat.completion.chunk", "choices": [choice]}


def logprobs_of(tokenizer: Tokenizer, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Build the `logprobs` field of tokens."""

    def entry(token: int, logprob: float) -> dict[str, Any]:
        data = tokenizer.vocabulary.piece(token)
        return {"token": data.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(data)}

    content = [{**entry(t.token, t.logprob), "top_logprobs": [entry(*other) for other in t.top]} for t in tokens]
    return {"content": content, "refusal": None}


def extension(reply: Reply) -> dict[str, Any]:
    """Build the field `x_edgefc` of a choice; nothing for an answer that could not call and ended by itself."""
    if reply.confidence is None and reply.end_reason == "stop" and reply.selection is None:
        return {}
    missing = {"missing": list(reply.missing)} if reply.missing else {}
    facts = {"outcome": reply.outcome, "end_reason": reply.end_reason, **missing}
    return {"x_edgefc": {**facts, **confidence_of(reply), **selection_of(reply)}}


def selection_of(reply: Reply) -> dict[str, Any]:
    """Build the field `tool_selection`: the tools that the model was shown; empty if it was shown all."""
    if (found := reply.selection) is None:
        return {}
    tools = [{"name": name, "reason": reason} for name, reason in found.tools.items()]
    return {"tool_selection": {"tools": tools, "total": found.total, "tokens": found.tokens, "budget": found.budget}}


def confidence_of(reply: Reply) -> dict[str, Any]:
    """Build the field `confidence`; empty for an answer that could not call.

    Names of tools have the form of `top_logprobs`. All logprobs are natural logarithms.
    """
    return {} if reply.confidence is None else {"confidence": _confidence(reply.confidence)}


def _confidence(found: Confidence) -> dict[str, Any]:
    decision = {"call": _chance(found.call), "answer": _chance(found.answer)}
    return {**decision, "calls": [_call_confidence(call) for call in found.calls]}


def trace_of(trace: Trace) -> dict[str, Any]:
    """Build the field `x_edgefc_trace` of a whole answer."""
    return {"tokens": [traced_token(token) for token in trace.tokens], **trace_facts(trace)}


def trace_facts(trace: Trace) -> dict[str, Any]:
    """Build what `x_edgefc_trace` has besides the tokens, which a stream has sent before."""
    return {
        "end": None if trace.end is None else traced_token(trace.end),
        "earlier_attempts": [[traced_token(token) for token in attempt] for attempt in trace.earlier],
        "prompt": [
            {"name": band.name, "begin": band.begin, "end": band.end, "tokens": band.end - band.begin,
             "sources": dict(band.sources)}
            for band in trace.bands
        ],
        "grammar": None if trace.grammar is None else dataclasses.asdict(trace.grammar),
        "decision": None if trace.decision is None else _confidence(trace.decision),
        "unenforced": [{"path": format_path(found.path), "reason": found.reason} for found in trace.unenforced],
        "missing_tokens": trace.n_missing,
    }  # fmt: skip


def traced_token(token: TracedToken) -> dict[str, Any]:
    """Build one token of `x_edgefc_trace`."""
    others = [
        {"id": other.id, "text": other.text, "probability": round(other.probability, _DIGITS),
         "allowed": other.is_allowed}
        for other in token.others
    ]  # fmt: skip
    return {
        "id": token.id, "text": token.text, "origin": token.origin, "drafted": token.is_draft,
        "probability": None if token.probability is None else round(token.probability, _DIGITS), "others": others,
        "step": token.step, "ms": round(token.ms, 3), "attempt": token.attempt,
    }  # fmt: skip


def _call_confidence(call: CallConfidence) -> dict[str, Any]:
    tools = sorted(call.tools.items(), key=lambda item: -item[1])
    return {
        "name": call.name,
        "probability": call.probability,
        "call": _chance(call.call),
        "tools": [{"token": name, "logprob": _logprob(p), "bytes": list(name.encode())} for name, p in tools],
        "arguments": {
            name: {
                "probability": least.probability, "logprob": _logprob(least.probability),
                "allowed_probability": least.allowed, "allowed_logprob": _logprob(least.allowed),
            }
            for name, least in call.arguments.items()
        },
    }  # fmt: skip


def _chance(probability: float | None) -> dict[str, float] | None:
    return None if probability is None else {"probability": probability, "logprob": _logprob(probability)}


def _logprob(probability: float) -> float:
    return math.log(probability) if probability > 0 else _NO_CHANCE


def usage_chunk(about: Head, replies: Sequence[Reply]) -> dict[str, Any]:
    """Build the last chunk of a stream, which `stream_options` can ask for."""
    return {**about, "object": "chat.completion.chunk", "choices": [], **usage_and_timings(replies, len(replies))}


def finish_reason(reply: Reply, *, legacy: bool = False) -> str:
    return "function_call" if legacy and reply.tool_calls else reply.finish_reason


def usage_and_timings(answers: Sequence[Reply | Completion], each: int) -> dict[str, Any]:
    """Build the fields `usage` and `timings` for answers, of which `each` share a prompt."""
    return {
        "usage": total([answer.usage for answer in answers], each),
        "timings": timings([answer.stats for answer in answers], each),
    }


def timings(answers: Sequence[GenerationStats], each: int) -> dict[str, float]:
    """Build the timings of answers computed side by side; a prompt that `each` of them share counts once.

    The `n` are tokens: `cache_n` and `prompt_n` of the prompts, cached and computed, `predicted_n` of the answers.
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
    """Add up the usage of answers; a prompt that `each` of them share counts once."""
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
    """Translate the older `function_call` to `tool_choice`."""
    if isinstance(function_call, Mapping):
        return {"type": "function", "function": function_call}
    return function_call or "auto"

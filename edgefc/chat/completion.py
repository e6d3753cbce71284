"""Completions of raw prompts, without chat template and tools, for callers who render prompts themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgefc.chat.options import (
    ChatOptions,
    adapter_scales,
    given_options,
    grammar_option,
    max_tokens,
    response_format,
    sampling_options,
    stop_strings,
)
from edgefc.chat.reply import Usage, usage_of
from edgefc.engine import GenerationResult, RequestOptions
from edgefc.errors import RequestError
from edgefc.grammar import CompiledGrammar

if TYPE_CHECKING:
    from edgefc.engine import Generation, GenerationStats
    from edgefc.engine.backend import Backend
    from edgefc.engine.guide import EndReason
    from edgefc.formats import Family

CHAT_ONLY = (
    "tool_choice", "parallel_tool_calls", "allow_repeated_calls", "min_confidence", "call_bias", "thinking",
    "on_unsupported", "trace", "family",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Completion:
    """The continuation of a prompt.

    finish_reason  "length" when it was cut off
    end_reason     stop, or what cut it off: max_tokens, context or loop
    """

    text: str
    token_ids: list[int]
    finish_reason: Literal["stop", "length"]
    usage: Usage
    stats: GenerationStats
    end_reason: EndReason = "stop"


class TextStream:
    """Iterates over a completion's text while it is generated; afterwards `.completion` is the whole."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._generation
        finally:
            self.cancel()

    @property
    def completion(self) -> Completion:
        """The complete result; waits for it."""
        result: GenerationResult = self._generation.result()
        return Completion(
            result.text,
            result.token_ids,
            result.finish_reason,
            usage_of(result.stats),
            result.stats,
            result.end_reason,
        )

    def cancel(self) -> None:
        """Stop generating, from any thread; does nothing when the completion is complete."""
        self._generation.cancel()


def complete(engine: Backend, family: Family, prompt: str | Sequence[int], options: ChatOptions) -> TextStream:
    """Continue a prompt, given as text or token ids.

    Raises RequestError, ContextOverflowError, SchemaError, GrammarError, or TypeError for an unknown option.
    """
    options = given_options(options)
    for name in CHAT_ONLY:
        if options.get(name) is not None:
            raise RequestError(
                name, "not supported for raw prompts, which have no tools and no template", "Use chat()."
            )
    if isinstance(prompt, str):
        ids = engine.tokenizer.encode(prompt, bos="vocabulary", n_ctx=engine.n_ctx)
    else:
        ids = list(prompt)
    if not ids:
        raise RequestError("prompt", "must not be empty")
    request: RequestOptions = {
        "max_tokens": max_tokens(options),
        "loop_guard": options.get("loop_guard") is not False,
        "sampling": sampling_options(options, family),
        "grammar": _grammar(options),
        "stop": stop_strings(options),
        "logprobs": options.get("logprobs"),
        "adapters": adapter_scales(options),
    }
    return TextStream(engine.submit(ids, **request))


def _grammar(options: ChatOptions) -> CompiledGrammar | None:
    if (own := grammar_option(options)) is not None:
        return own
    form = response_format(options)
    return None if form is None else form.grammar

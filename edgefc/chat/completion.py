"""Completions of raw prompts: no chat template, no tools; for those who render prompts themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgefc.chat.options import ChatOptions, answer_grammar, check_names, sampling, stop_strings
from edgefc.chat.reply import Usage, usage_of
from edgefc.engine import GenerationResult, RequestOptions
from edgefc.errors import RequestError

if TYPE_CHECKING:
    from edgefc.engine import Generation, GenerationStats
    from edgefc.engine.backend import Backend
    from edgefc.formats import Family

OF_TOOLS = ("tool_choice", "parallel_tool_calls", "thinking")


@dataclass(frozen=True, slots=True)
class Completion:
    """What followed a prompt; `finish_reason` is "length" when it was cut off."""

    text: str
    token_ids: list[int]
    finish_reason: Literal["stop", "length"]
    usage: Usage
    stats: GenerationStats


class TextStream:
    """Iterates over a completion's text while it is generated; `.completion` is there once it ended."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._generation
        finally:
            self.cancel()

    @property
    def completion(self) -> Completion:
        """The whole; waits for it."""
        result: GenerationResult = self._generation.result()
        return Completion(result.text, result.token_ids, result.finish_reason, usage_of(result.stats), result.stats)

    def cancel(self) -> None:
        """Stop generating; any thread may call it, and it does nothing when the completion is there."""
        self._generation.cancel()


def complete(engine: Backend, family: Family, prompt: str | Sequence[int], options: ChatOptions) -> TextStream:
    """Generate what follows a prompt, text or token ids.

    Raises RequestError, ContextOverflowError, SchemaError, GrammarError, or TypeError for an option there is not.
    """
    check_names(options)
    for name in OF_TOOLS:
        if options.get(name) is not None:
            raise RequestError(name, "a raw prompt has no tools and no template", "Use chat() for them.")
    ids = engine.tokenizer.encode(prompt, bos="vocabulary") if isinstance(prompt, str) else list(prompt)
    if not ids:
        raise RequestError("prompt", "it is empty")
    request: RequestOptions = {
        "max_tokens": options.get("max_tokens"),
        "sampling": sampling(options, family),
        "grammar": answer_grammar(options, ()),
        "stop": stop_strings(options),
        "logprobs": options.get("logprobs"),
    }
    return TextStream(engine.submit(ids, **request))

"""A conversation as the model reads it: rendered by its chat template, then tokenized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgefc.engine import Tokenizer
from edgefc.formats import Family
from edgefc.types import Message, Messages, ToolChoice, Tools


@dataclass(frozen=True, slots=True)
class ModelPrompt:
    """A prompt.

    text  exactly what the chat template writes, without a begin-of-sequence token
    ids   its token ids, with the begin-of-sequence token where the family has one
    """

    text: str
    ids: list[int]


def render_prompt(
    family: Family,
    tokenizer: Tokenizer,
    messages: Messages,
    tools: Tools | None,
    *,
    choice: ToolChoice | None = None,
    thinking: bool | None = None,
    tells_results: bool = False,
    n_ctx: int | None = None,
) -> ModelPrompt:
    """Render and tokenize a conversation; `tools` to `tells_results` are those of `Family.render`.

    With `n_ctx`, the context's size, it raises ContextOverflowError for a text that is too long whatever its tokens.

    Raises RequestError for a malformed conversation and FormatError when the template refuses it.
    """
    rendered = family.render(
        messages,
        tools,
        choice=choice,
        thinking=thinking,
        tells_results=tells_results,
        special_tokens=tokenizer.special_tokens,
    )
    return ModelPrompt(rendered.text, tokenizer.encode(rendered, bos=family.bos, n_ctx=n_ctx))


def conversation(prompt: str | Sequence[Message], system: str | None = None) -> list[Message]:
    """Build messages from a question, or from messages, with a system message before them."""
    messages: list[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return messages

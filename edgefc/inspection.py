"""Facts about a model that need no weights: its chat format, tokenizer, memory, and prompt lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgefc import formats, gguf
from edgefc.chat import dialect_file
from edgefc.errors import FormatError
from edgefc.gguf import ArrayLength, memory
from edgefc.gguf.adapter import LoraOption, loras_of, read_adapters
from edgefc.gguf.vocabulary import control_tokens
from edgefc.models import registry
from edgefc.models.registry import ResolvedModel
from edgefc.types import Message, Tools

if TYPE_CHECKING:
    from edgefc.engine.tokenizer import Tokenizer


def family_of(model: str | ResolvedModel, family: str | None = None) -> tuple[formats.Family, formats.Detection]:
    """Find a model's chat format and the reason for it; `family` overrides the file.

    Raises ModelNotFoundError, ModelFileError or FormatError.
    """
    found = registry.resolve(model)
    return _family_of(found, gguf.read_metadata(found.path), family)


def _family_of(
    found: ResolvedModel, metadata: Mapping[str, object], family: str | None
) -> tuple[formats.Family, formats.Detection]:
    if family is None and found.card is not None and found.card.family:
        chat_format, detection = formats.family_of(metadata, found.path.name, found.card.family)
        return chat_format, formats.Detection(
            detection.family, "models.toml says so", detection.template, detection.note
        )
    chat_format, detection = formats.family_of(metadata, found.path, family)
    has_dialects = family is None and "dialect" in chat_format.prompt
    if has_dialects and (known := dialect_file.stored(found.path)) is not None:
        return dialect_file.family_in_dialect(metadata, found.path.name, known)
    return chat_format, detection


def tokenizer_of(model: str | ResolvedModel) -> Tokenizer:
    """Open a model's tokenizer. Raises ModelNotFoundError, ModelFileError or ModelLoadError."""
    from edgefc.engine import llama
    from edgefc.engine.tokenizer import Tokenizer

    found = registry.resolve(model)
    vocabulary = llama.Model(found.path, n_gpu_layers=0, vocab_only=True)
    return Tokenizer(vocabulary.vocabulary, found.path.with_name("tokenizer.json"))


@dataclass(frozen=True, slots=True)
class _FileTokenizer:
    """A tokenizer as the model's file tells it, without llama.cpp."""

    source: str
    n_vocab: int
    special_tokens: frozenset[str]
    notes: Sequence[str] = ()


def _file_tokenizer(found: ResolvedModel, header: gguf.Header) -> _FileTokenizer:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    n_vocab = tokens.length if isinstance(tokens, ArrayLength) else len(tokens) if isinstance(tokens, list) else 0
    has_json = found.path.with_name("tokenizer.json").is_file()
    return _FileTokenizer("tokenizer.json" if has_json else "llama.cpp", n_vocab, control_tokens(found.path))


def describe(
    model: str | ResolvedModel,
    family: str | None = None,
    *,
    check_tokenizer: bool = True,
    lora: LoraOption = None,
) -> dict[str, Any]:
    """Collect the facts of `edgefc show`, as JSON; `memory` is in bytes, for the default context.

    check_tokenizer  load the tokenizer, and compare a tokenizer.json with the model; False is faster, and enough for
                     all other facts
    lora             LoRA adapters, as for `edgefc.load`

    A chat template that cannot be rendered is a note among them. Raises what `tokenizer_of` raises, and FormatError for
    an unknown `family`.
    """
    found = registry.resolve(model)
    header = gguf.read_model(found.path)
    tokenizer = tokenizer_of(found) if check_tokenizer else _file_tokenizer(found, header)
    stop: tuple[str, ...] = ()
    try:
        chat_format, detection = _family_of(found, header.metadata, family)
        notes, stop = detection.warnings(chat_format, tokenizer), chat_format.stop
    except FormatError as error:
        if family is not None:
            raise
        detection = formats.Detection("none", "its chat template cannot be used", formats.MODEL_TEMPLATE)
        notes = [*filter(None, (error.reason, error.hint)), *tokenizer.notes]
    n_ctx = memory.default_context(header, 1)
    chosen = loras_of(found.card.lora if lora is None and found.card else lora)
    adapters = read_adapters(chosen, header)
    extra = sum(adapter.memory for adapter in adapters)
    facts: dict[str, Any] = {
        "model": found.card.title if found.card else header.metadata.get("general.name", found.path.stem),
        "path": str(found.path),
        "bytes": found.path.stat().st_size,
        "architecture": header.metadata.get("general.architecture", "?"),
        "layers": header.number("block_count") or 0,
        "context": header.number("context_length") or 0,
        "adapters": [adapter.describe() for adapter in adapters],
        "memory": memory.predict(header, n_ctx=n_ctx, n_seq_max=1, adapters=extra).total,
        "licence": (found.card.licence if found.card else "") or header.metadata.get("general.license", "unknown"),
        "family": detection.family,
        "because": detection.reason,
        "chat_template": detection.template,
        "stop_tokens": list(stop),
        "tokenizer": tokenizer.source,
        "vocabulary": tokenizer.n_vocab,
        "notes": notes,
    }
    return facts


def prompt_counter(model: str | ResolvedModel, family: str | None = None) -> Callable[[Tools], int]:
    """Return a function that counts the prompt tokens of tools, with a model's tokenizer and chat format.

    Raises ModelNotFoundError, ModelFileError, ModelLoadError or FormatError.
    """
    from edgefc.chat.prompt import render_prompt

    found = registry.resolve(model)
    chat_format, _ = family_of(found, family)
    tokenizer = tokenizer_of(found)
    question: list[Message] = [{"role": "user", "content": "Hello"}]

    def count(tools: Tools) -> int:
        return len(render_prompt(chat_format, tokenizer, question, tools).ids)

    return count

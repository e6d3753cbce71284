"""Reads `tokenizer.json`, a stranger's program for splitting text, as far as edgefc means it: text → token ids.

What cuts or fills up texts (truncation, padding) is switched off. What changes or drops text beyond a known few steps,
and regular expressions that may take for ever, are refused: the model's own vocabulary is used instead.
Format: the serialization of the library `tokenizers`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefc import files
from edgefc.engine.regex_check import is_bounded

if TYPE_CHECKING:
    import tokenizers

MAX_FILE = 128 << 20  # bytes; the largest known has 35 MB
MAX_STEPS = 16  # steps of a sequence of normalizers or pre-tokenizers
_UNICODE_FORMS = {"NFC", "NFD", "NFKC", "NFKD"}
_SPACES = {" ", "▁"}  # SentencePiece writes spaces as the second
_KEEPING = {"Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"}  # behaviours that drop no text
# The decoder is used to compare single tokens with the model's, never for answers.
_DECODERS = {"ByteLevel", "ByteFallback", "Fuse", "Metaspace", "Replace", "Strip"}


class UnsupportedTokenizerError(ValueError):
    """The file is sound, but holds a step that edgefc does not take; the reason in words."""


def read_reference(path: Path) -> tokenizers.Tokenizer:
    """Read a tokenizer. Raises UnsupportedTokenizerError; ValueError or OSError for a file that is none."""
    import tokenizers

    data = files.read_small(path, MAX_FILE)
    try:
        fields = json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("model"), dict):
        raise ValueError("it has no model")  # noqa: TRY004 - of the file, not of an argument
    for part, check in _CHECKS.items():
        if fields.get(part) is not None:
            check(fields[part])
    del fields
    try:
        reference = tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # tokenizers raises nothing narrower
        raise ValueError(str(error)) from error
    reference.no_truncation()
    reference.no_padding()
    return reference


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key appears twice")
    return fields


def _check_model(model: Any) -> None:
    kind = model.get("type", "BPE")
    if not isinstance(kind, str) or kind not in {"BPE", "Unigram"}:
        raise UnsupportedTokenizerError(f"a model of the type {str(kind)[:80]!r}")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise UnsupportedTokenizerError(f"the option {key}")


def _check_normalizer(step: Any) -> None:
    match step:
        case {"type": "Sequence", "normalizers": list(steps)} if len(steps) <= MAX_STEPS:
            for inner in steps:
                _check_normalizer(inner)
        case {"type": str(kind)} if kind in _UNICODE_FORMS:
            pass
        case {"type": "Prepend", "prepend": str(text)} if text in _SPACES:
            pass
        case {"type": "Replace", "pattern": {"String": str(text), **rest}, "content": str(content)} if (
            not rest and {text, content} <= _SPACES
        ):
            pass
        case _:
            raise UnsupportedTokenizerError(f"the normalizer {_kind(step)}")


def _check_pre_tokenizer(step: Any) -> None:
    match step:
        case {"type": "Sequence", "pretokenizers": list(steps)} if len(steps) <= MAX_STEPS:
            for inner in steps:
                _check_pre_tokenizer(inner)
        case {"type": "ByteLevel" | "Digits" | "UnicodeScripts"}:
            pass
        case {"type": "Metaspace", "replacement": "▁"}:
            pass
        case {"type": "Punctuation", "behavior": str(behaviour)} if behaviour in _KEEPING:
            pass
        case {"type": "Split", "pattern": dict(pattern), "behavior": str(behaviour)} if behaviour in _KEEPING:
            _check_pattern(pattern)
        case _:
            raise UnsupportedTokenizerError(f"the pre-tokenizer {_kind(step)}")


def _check_pattern(pattern: Mapping[str, Any]) -> None:
    match pattern:
        case {"String": str(text), **rest} if not rest and 0 < len(text) <= 64:
            pass
        case {"Regex": str(text), **rest} if not rest and is_bounded(text):
            pass
        case _:
            raise UnsupportedTokenizerError(f"the pattern {str(pattern)[:80]}")


def _check_decoder(step: Any) -> None:
    match step:
        case {"type": "Sequence", "decoders": list(steps)} if len(steps) <= MAX_STEPS:
            for inner in steps:
                _check_decoder(inner)
        case {"type": "Replace", "pattern": {"String": str(text), **rest}} if not rest and text in _SPACES:
            pass
        case {"type": str(kind)} if kind in _DECODERS - {"Replace"}:
            pass
        case _:
            raise UnsupportedTokenizerError(f"the decoder {_kind(step)}")


def _check_post_processor(step: Any) -> None:
    """Refuse a pattern in a step that edgefc skips: it would be compiled all the same."""
    if _REGEX_KEY.search(json.dumps(step)):
        raise UnsupportedTokenizerError("a pattern in the post-processor")


def _kind(step: Any) -> str:
    return repr(step.get("type"))[:80] if isinstance(step, dict) else "of an unknown form"


_REGEX_KEY = re.compile(r'"Regex"')
_CHECKS: Mapping[str, Callable[[Any], None]] = {
    "model": _check_model,
    "normalizer": _check_normalizer,
    "pre_tokenizer": _check_pre_tokenizer,
    "decoder": _check_decoder,
    "post_processor": _check_post_processor,
}

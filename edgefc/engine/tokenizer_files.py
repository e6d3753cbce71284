"""A vocabulary from `tokenizer.json` alone, for machines that compute nothing themselves: no llama.cpp, no weights.

The ids are those of the model's repository; a GGUF of it has the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from llguidance import LLTokenizer, TokenizerWrapper

from edgefc import files
from edgefc.engine.handles import Handle
from edgefc.engine.tokenizer_json import MAX_FILE, UnsupportedTokenizerError, read_reference
from edgefc.errors import ModelFileError

TOKENIZER = "tokenizer.json"
MAX_CONFIG = 16 << 20  # bytes
MAX_TOKENS = 1 << 21
# Texts that llama.cpp takes for the end of an answer, whatever a file says (llama-vocab.cpp, special_eog_ids).
EOG_TEXTS = frozenset({
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "<|end_of_text|>", "<end_of_utterance>",
    "<｜end▁of▁sentence｜>", "[e~[",
})  # fmt: skip
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class FileVocabulary:
    """The vocabulary of a `tokenizer.json`. A `Vocabulary`; see there."""

    def __init__(
        self,
        path: Path,
        *,
        size: int | None = None,
        bos: str | int | None = None,
        eos: Sequence[str | int] = (),
        add_bos: bool = False,
    ) -> None:
        """Read the file. Ids or texts of `bos` and `eos` are those of the model's other files; `size` is its own.

        Raises ModelFileError.
        """
        try:
            self._reference = read_reference(path)
            fields = json.loads(files.read_small(path, MAX_FILE))
        except UnsupportedTokenizerError as error:
            raise ModelFileError(f"{path} has {error}, which edgefc does not use") from None
        except (OSError, ValueError) as error:
            raise ModelFileError(f"invalid tokenizer {path}: {error}", "Fetch it again.") from None
        self.handle, self.add_bos = Handle(None, lambda _: None), add_bos
        added = {int(token["id"]): token for token in fields.get("added_tokens", ())}
        ids = self._reference.get_vocab(with_added_tokens=True)
        largest = max((*ids.values(), *added), default=-1)
        self.size = max(largest + 1, size or 0)
        if not 0 <= largest < MAX_TOKENS or self.size > MAX_TOKENS:
            raise ModelFileError(f"{path} has {self.size:,} tokens; at most {MAX_TOKENS:,} are supported")
        to_bytes = _byte_level if '"ByteLevel"' in json.dumps(fields.get("decoder")) else _sentencepiece
        self.pieces: list[bytes] = [b""] * self.size
        for text, token in ids.items():
            self.pieces[token] = text.encode() if token in added else to_bytes(text)
        self._ids = ids
        self.bos = self._id(bos)
        ends = [token for token in map(self._id, eos) if token >= 0]
        known = {token for text, token in ids.items() if text in EOG_TEXTS and token in added}
        self.eos = ends[0] if ends else min(known, default=-1)
        self.eog = frozenset({*ends, *known})
        unused = {token for token, piece in enumerate(self.pieces) if not piece}
        self.control = frozenset({token for token, facts in added.items() if facts.get("special")} | unused) | self.eog
        self.special = frozenset(added) | self.eog

    def _id(self, token: str | int | None) -> int:
        """Return the id of a token given by id or text; -1 for none."""
        found = self._ids.get(token, -1) if isinstance(token, str) else token
        return found if isinstance(found, int) and 0 <= found < self.size else -1

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token. Raises IndexError."""
        if not 0 <= token < self.size:
            raise IndexError(f"token {token} is not in the vocabulary of {self.size}")
        return self.pieces[token]

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        """Encode a text. Without `parse_special`, control tokens in it are plain text."""
        self._reference.encode_special_tokens = not parse_special
        return list(self._reference.encode(text, add_special_tokens=False).ids)

    def guidance(self, markers: Collection[int] = ()) -> LLTokenizer:
        """Convert the vocabulary for llguidance. No grammar of text allows control tokens, or these markers."""
        return LLTokenizer(
            TokenizerWrapper(_GuidanceTokens(self, self.control.union(markers))),
            eos_token=sorted(self.eog) or [max(self.eos, 0)],
            slices=LLTokenizer.json_slices(),
        )


class _GuidanceTokens:
    """The attributes that llguidance reads. It marks a special token with 0xff."""

    def __init__(self, vocabulary: FileVocabulary, special: frozenset[int]) -> None:
        self._vocabulary = vocabulary
        self.tokens = [b"\xff" + piece if token in special else piece for token, piece in enumerate(vocabulary.pieces)]
        self.eos_token_id = max(vocabulary.eos, 0)
        self.bos_token_id = vocabulary.bos if vocabulary.bos >= 0 else None
        self.special_token_ids = sorted(special)

    def __call__(self, data: bytes | str) -> list[int]:
        text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
        return self._vocabulary.tokenize(text, parse_special=False)


def open_folder(folder: Path) -> tuple[FileVocabulary, dict[str, object]]:
    """Read the vocabulary of a model's folder, and what a GGUF would say of its name and its chat template.

    Raises ModelFileError.
    """
    if not (folder / TOKENIZER).is_file():
        reason = f"{folder} has no {TOKENIZER}"
        raise ModelFileError(reason, "Copy it there from the model's repository, with tokenizer_config.json.")
    tokens, config = _config(folder, "tokenizer_config.json"), _config(folder, "config.json")
    generation = _config(folder, "generation_config.json")
    text_config = config.get("text_config")
    size = config.get("vocab_size") or (text_config.get("vocab_size") if isinstance(text_config, dict) else None)
    ends = [_token(tokens.get("eos_token")), *_listed(generation.get("eos_token_id", config.get("eos_token_id")))]
    vocabulary = FileVocabulary(
        folder / TOKENIZER,
        size=size if isinstance(size, int) and 0 < size <= MAX_TOKENS else None,
        bos=_token(tokens.get("bos_token")),
        eos=[token for token in ends if token is not None],
        add_bos=tokens.get("add_bos_token") is True,
    )
    metadata: dict[str, object] = {"general.name": str(config.get("_name_or_path") or folder.resolve().name)}
    if template := _template(folder, tokens):
        metadata["tokenizer.chat_template"] = template
    return vocabulary, metadata


def open_beside(path: Path, metadata: Mapping[str, object], size: int | None) -> FileVocabulary:
    """Read the vocabulary beside a GGUF, with the GGUF's own first and last tokens. Raises ModelFileError."""
    key = "tokenizer.ggml.{}".format
    numbers = {
        name: value
        for name in ("bos_token_id", "eos_token_id", "eot_token_id")
        if isinstance(value := metadata.get(key(name)), int)
    }
    return FileVocabulary(
        path.with_name(TOKENIZER),
        size=size,
        bos=numbers.get("bos_token_id"),
        eos=[numbers[name] for name in ("eos_token_id", "eot_token_id") if name in numbers],
        add_bos=_adds_bos(metadata.get(key("add_bos_token")), metadata.get(key("model")), metadata.get(key("pre"))),
    )


def _adds_bos(value: object, model: object, pre: object) -> bool:
    """Return whether raw prompts begin with the first token: as a GGUF says, else as llama.cpp assumes."""
    return value if isinstance(value, bool) else model == "llama" or pre in {"llama3", "llama-v3", "llama-bpe"}


def _config(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        return {}
    try:
        fields = json.loads(files.read_small(path, MAX_CONFIG))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"invalid {path}: {error}", "Fetch it again.") from None
    return fields if isinstance(fields, dict) else {}


def _token(value: Any) -> str | None:
    """Return the text of a token of `tokenizer_config.json`, which is a text or an object."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _template(folder: Path, tokens: Mapping[str, Any]) -> str:
    """Return the chat template: a file of its own, or a part of `tokenizer_config.json`."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return files.read_small(path, MAX_CONFIG).decode("utf-8", "replace")
    found = tokens.get("chat_template")
    if isinstance(found, list):
        named = {item.get("name"): item.get("template") for item in found if isinstance(item, dict)}
        found = named.get("tool_use") or named.get("default")
    return found if isinstance(found, str) else ""


def _byte_level(text: str) -> bytes:
    """Return the bytes of a token in GPT-2's letters for bytes."""
    return bytes(_LETTERS[char] for char in text) if all(char in _LETTERS for char in text) else text.encode()


def _sentencepiece(text: str) -> bytes:
    """Return the bytes of a token of SentencePiece, which writes spaces as ▁ and bytes as <0x41>."""
    found = _BYTE.fullmatch(text)
    return bytes([int(found[1], 16)]) if found else text.replace("▁", " ").encode()


def _letters() -> dict[str, int]:
    """Return GPT-2's letters: printable bytes stand for themselves, the others follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_LETTERS = _letters()

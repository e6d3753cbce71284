"""Text ↔ token ids.

The HF tokenizer (`tokenizer.json` beside the model) is the reference, once a check has shown that its ids stand for
the same text as the model's. Where it splits text differently from llama.cpp, it is right, and a note says so. Without
the file, llama.cpp's own tokenizer is used.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgefc.engine.text_runs import cut_blanks, cut_runs
from edgefc.engine.tokenizer_json import UnsupportedTokenizerError, read_reference
from edgefc.engine.vocabulary import Vocabulary
from edgefc.errors import ContextOverflowError, ModelFileError
from edgefc.formats import Prompt

if TYPE_CHECKING:
    import tokenizers

_SEPARATOR = "\x01"
LONG_TEXT = 8192  # characters
MAX_SPELLINGS = 4_000  # texts whose tokens are cached
PROBES = (
    "Hello world",
    " leading and  double  spaces ",
    'JSON {"name": "get_weather", "arguments": {"n": -12.50}}',
    "naïve café, Ünïcödé, 日本語 текст العربية",
    "emoji 🙂👩‍👩‍👧‍👦 🇫🇷",
    "tabs\tand\nnew\r\nlines\n\n\n",
    "1234567890 3.14159 0x1F",
    "don't I'll we've YOU'RE",
    "def f(x):\n    return x**2  # comment",
    "<not_a_token> </s> [INST]",
    "…—“quotes”’",
)
LONG_PROBE = "".join(f"{number} words of Text, " for number in range(2000))
_MARKER = re.compile(r"<.*>", re.DOTALL)
MAX_PIECE = 4096  # characters of a token that are compared


class Tokenizer:
    """Tokenizer of a model.

    special_tokens   texts that become one token in a prompt
    control          control tokens, which a grammar of text cannot match: text → id
    eog              tokens that end an answer
    notes            remarks for the user about the ids

    Once the model is closed, its methods raise EngineClosedError.
    """

    def __init__(self, vocabulary: Vocabulary, tokenizer_json: Path | None = None) -> None:
        """Raises ModelFileError for a tokenizer.json of another model."""
        self.vocabulary = vocabulary
        self.n_vocab = vocabulary.size
        special = {token: vocabulary.piece(token).decode("utf-8", "replace") for token in sorted(vocabulary.special)}
        self._special = {text: token for token, text in special.items() if text}
        self.special_tokens = frozenset(self._special)
        self.control = {text: token for text, token in self._special.items() if token in vocabulary.control}
        self.eog = vocabulary.eog
        self.notes: list[str] = []
        self._reference: tokenizers.Tokenizer | None = None
        if tokenizer_json is not None and tokenizer_json.is_file():
            self._load_reference(tokenizer_json)
        self._separator_size = self._count_separator()
        self._longest = max(map(len, vocabulary.pieces), default=1) or 1
        self._spellings: dict[bytes, list[int]] = {}

    def add_markers(self) -> frozenset[int]:
        """Let texts such as `<tool_call>` that are one token in a prompt be control tokens for grammars.

        Returns those that the vocabulary does not have as control tokens.

        So llguidance reads a `tokenizer.json` (toktrie_hf_tokenizers): what is in angle brackets there is no text.
        """
        others = {text: token for text, token in self._special.items() if token not in self.vocabulary.control}
        markers = {text: token for text, token in others.items() if _MARKER.fullmatch(text)}
        self.control |= markers
        return frozenset(markers.values())

    @property
    def source(self) -> str:
        """Origin of the ids: `tokenizer.json` or `llama.cpp`."""
        return "llama.cpp" if self._reference is None else "tokenizer.json"

    def encode(
        self,
        prompt: Prompt | str,
        *,
        bos: Literal["never", "always", "vocabulary"] = "never",
        n_ctx: int | None = None,
    ) -> list[int]:
        """Encode a prompt as token ids; special tokens are recognised, except across the prompt's cuts.

        bos    whether a begin-of-sequence token comes first; a prompt that has one already gets no second
        n_ctx  the context's size: a prompt that is too long for it whatever its tokens are is not encoded

        Raises ContextOverflowError.
        """
        pieces = prompt.pieces if isinstance(prompt, Prompt) else [prompt]
        if n_ctx is not None:
            least = sum(-(-len(piece) // self._longest) for piece in pieces)
            if least >= n_ctx:
                raise ContextOverflowError(least, n_ctx)
        ids: list[int] = []
        with self.vocabulary.handle:
            for number, piece in enumerate(pieces):
                for position, part in enumerate(self._cut(piece)):
                    ids += self._encode(part, within=number > 0 or position > 0)
        add_bos = bos == "always" or (bos == "vocabulary" and self.vocabulary.add_bos)
        if add_bos and self.vocabulary.bos >= 0 and ids[:1] != [self.vocabulary.bos]:
            ids.insert(0, self.vocabulary.bos)
        return ids

    @property
    def eos_text(self) -> str:
        """Text of the end-of-sequence token; empty if there is none."""
        eos = self.vocabulary.eos
        return self.vocabulary.piece(eos).decode("utf-8", "replace") if eos >= 0 else ""

    def special_id(self, text: str) -> int | None:
        """Id of the special token with this text."""
        return self._special.get(text)

    def piece(self, token: int, *, show_control: bool = False) -> bytes:
        """Bytes that a generated token adds to the text; a control token adds none unless `show_control`."""
        self.vocabulary.handle.check()
        piece = self.vocabulary.piece(token)
        return b"" if token in self.vocabulary.control and not show_control else piece

    def decode(self, tokens: list[int]) -> str:
        with self.vocabulary.handle:
            return b"".join(map(self.vocabulary.piece, tokens)).decode("utf-8", "replace")

    def _encode(self, text: str, *, within: bool) -> list[int]:
        """Encode a piece of text; `within`: other text stands before it."""
        if not within or not self._separator_size:
            return self._encode_text(text)
        # SentencePiece adds a space to the beginning of a text. It does not after a character that is in no vocabulary
        # and therefore merges with nothing.
        return self._encode_text(_SEPARATOR + text)[self._separator_size :]

    def spell(self, data: bytes) -> list[int]:
        """Tokens that spell this text, without special ones; empty if it is not valid UTF-8. Cached."""
        self.vocabulary.handle.check()
        if (tokens := self._spellings.get(data)) is None:
            try:
                tokens = self.vocabulary.tokenize(data.decode(), parse_special=False)
            except UnicodeDecodeError:
                tokens = []
            if len(self._spellings) < MAX_SPELLINGS:
                self._spellings[data] = tokens
        return list(tokens)

    def encode_text(self, text: str) -> list[int]:
        """Encode text with the model file's own tokenizer, without special tokens."""
        return [token for part in cut_runs(text) for token in self.vocabulary.tokenize(part, parse_special=False)]

    def _cut(self, text: str) -> Iterator[str]:
        return cut_runs(text) if self._reference is None else cut_blanks(text)

    def _encode_text(self, text: str) -> list[int]:
        if self._reference is None:
            return self.vocabulary.tokenize(text, parse_special=True)
        # `encode` keeps the interpreter locked; a batch takes longer to start.
        if len(text) > LONG_TEXT:
            return list(self._reference.encode_batch_fast([text], add_special_tokens=False)[0].ids)
        return list(self._reference.encode(text, add_special_tokens=False).ids)

    def _count_separator(self) -> int:
        """Count the tokens that `_SEPARATOR` adds to the beginning of a text; 0 if no separator is needed."""
        text = b"".join(map(self.vocabulary.piece, self._encode_text("a")))
        if text == b"a":
            return 0
        separator = self._encode_text(_SEPARATOR)
        return len(separator) if self._encode_text(_SEPARATOR + "a")[: len(separator)] == separator else 0

    def _load_reference(self, path: Path) -> None:
        try:
            reference = read_reference(path)
        except UnsupportedTokenizerError as error:
            self._ignore(path, f"it has {error}, which edgefc does not use")
            return
        except (OSError, ValueError) as error:
            raise ModelFileError(
                f"invalid tokenizer {path}: {error}", "Remove it to use the model file's own."
            ) from error
        for text, token in self._special.items():
            other = reference.token_to_id(text)
            if other is not None and other != token:
                raise _mismatch(path, f"{text!r} is {other} there and {token} in the model")
        self._compare_added_tokens(reference, path)
        self._compare_pieces(reference, path)
        differing: list[str] = []
        for probe in (*PROBES, LONG_PROBE):
            own = self.vocabulary.tokenize(probe, parse_special=True)
            other_ids = list(reference.encode(probe, add_special_tokens=False).ids)
            if own == other_ids:
                continue
            if max(other_ids, default=0) >= self.n_vocab or (self._spells(own, probe) > self._spells(other_ids, probe)):
                self._ignore(path, f"it does not spell {probe[:40]!r}")
                return
            differing.append(probe)
        if differing:
            self.notes.append(
                f"{path.name} splits text differently from llama.cpp ({len(differing)} of {len(PROBES) + 1} probes, "
                f"such as {differing[0][:60]!r}); edgefc uses {path.name}, with which the model was trained"
            )
        self._reference = reference

    def _ignore(self, path: Path, reason: str) -> None:
        self.notes.append(f"{path.name} is not used: {reason}; llama.cpp's tokenizer of the model file is")

    def _spells(self, tokens: list[int], text: str) -> bool:
        """Return True if the tokens stand for this text, but for a space before it and Unicode's normal forms."""
        spelled = self.decode(tokens)
        return unicodedata.normalize("NFKC", spelled).strip(" ") == unicodedata.normalize("NFKC", text).strip(" ")

    def _compare_added_tokens(self, reference: tokenizers.Tokenizer, path: Path) -> None:
        """Check all texts that the file makes one token each; content must not turn into those either."""
        for token, added in reference.get_added_tokens_decoder().items():
            if token >= self.n_vocab:
                raise _mismatch(path, f"the token {token} is not in the model, which has {self.n_vocab}")
            model_text = self.vocabulary.piece(token).decode("utf-8", "replace")
            if model_text != added.content and token in self.vocabulary.special:
                raise _mismatch(path, f"token {token} is {added.content[:80]!r} there and {model_text!r} in the model")
            if added.special:
                self.special_tokens |= {added.content}

    def _compare_pieces(self, reference: tokenizers.Tokenizer, path: Path) -> None:
        """Check a sample of ids: each must stand for the same text in both. Raises ModelFileError."""
        step = max(1, self.n_vocab // 2048)
        for token in range(0, self.n_vocab, step):
            other = reference.id_to_token(token)
            if other is None or token in self.vocabulary.special or len(other) > MAX_PIECE:
                continue
            text = reference.decode([token], skip_special_tokens=False).strip(" ")
            model_text = self.vocabulary.piece(token).decode("utf-8", "replace").strip(" ")
            if text != model_text and "\ufffd" not in text + model_text and text:
                raise _mismatch(path, f"token {token} is {text!r} there and {model_text!r} in the model")


def _mismatch(path: Path, difference: str) -> ModelFileError:
    return ModelFileError(
        f"{path} does not belong to this model: {difference}",
        "Replace it with the tokenizer.json of the model's own repository, or remove it.",
    )

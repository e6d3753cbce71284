"""Text ↔ token ids.

The HF tokenizer (`tokenizer.json` beside the model) is the reference; it is used once it is proven to agree with
llama.cpp's vocabulary. Without one, llama.cpp's own tokenizer serves.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgefc.engine.llama import Vocabulary
from edgefc.errors import ModelFileError
from edgefc.formats import Prompt

if TYPE_CHECKING:
    import tokenizers

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


class Tokenizer:
    """A model's tokenizer; see the module."""

    def __init__(self, vocabulary: Vocabulary, tokenizer_json: Path | None = None) -> None:
        self.vocabulary = vocabulary
        self.n_vocab = vocabulary.size
        special = {token: vocabulary.piece(token).decode("utf-8", "replace") for token in self._special_ids()}
        self._special = {text: token for token, text in special.items() if text}
        self.special_tokens = frozenset(self._special)
        self.eog = frozenset(token for token in range(self.n_vocab) if vocabulary.is_eog(token))
        self._hf: tokenizers.Tokenizer | None = None
        if tokenizer_json is not None and tokenizer_json.is_file():
            self._load_reference(tokenizer_json)

    @property
    def source(self) -> str:
        """Which tokenizer makes the ids: `tokenizer.json` or `llama.cpp`."""
        return "llama.cpp" if self._hf is None else "tokenizer.json"

    def encode(self, prompt: Prompt | str, *, add_bos: bool = False) -> list[int]:
        """Token ids of a prompt; special tokens are recognised, except where the prompt is cut."""
        pieces = prompt.pieces if isinstance(prompt, Prompt) else [prompt]
        ids = [token for piece in pieces for token in self._encode(piece)]
        return [self.vocabulary.bos, *ids] if add_bos and self.vocabulary.bos >= 0 else ids

    def special_id(self, text: str) -> int | None:
        """The id of a special token by its text."""
        return self._special.get(text)

    def piece(self, token: int) -> bytes:
        """The bytes a generated token adds to the text; a control token adds none."""
        return b"" if self.vocabulary.is_control(token) else self.vocabulary.piece(token)

    def decode(self, tokens: list[int]) -> str:
        return b"".join(map(self.vocabulary.piece, tokens)).decode("utf-8", "replace")

    def _encode(self, text: str) -> list[int]:
        if self._hf is None:
            return self.vocabulary.tokenize(text, parse_special=True)
        return list(self._hf.encode(text, add_special_tokens=False).ids)

    def _special_ids(self) -> list[int]:
        return [token for token in range(self.n_vocab) if self.vocabulary.is_special(token)]

    def _load_reference(self, path: Path) -> None:
        import tokenizers

        try:
            reference = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing narrower
            raise ModelFileError(
                f"{path} is not a tokenizer: {error}", "Remove it to use the model file's own."
            ) from error
        for text, token in self._special.items():
            theirs = reference.token_to_id(text)
            if theirs is not None and theirs != token:
                raise self._disagree(path, f"{text!r} is {theirs} there and {token} in the model")
        for probe in PROBES:
            ours = self.vocabulary.tokenize(probe, parse_special=True)
            ids = list(reference.encode(probe, add_special_tokens=False).ids)
            if ours != ids:
                raise self._disagree(path, f"{probe!r} gives {ids[:12]} there and {ours[:12]} in the model")
        self._hf = reference

    @staticmethod
    def _disagree(path: Path, how: str) -> ModelFileError:
        return ModelFileError(
            f"{path} does not belong to this model: {how}",
            "Put the tokenizer.json of the model's own repository there, or remove it.",
        )

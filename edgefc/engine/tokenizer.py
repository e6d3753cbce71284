"""Text ↔ token ids.

The HF tokenizer (`tokenizer.json` beside the model) is the reference; it is used once it is proven that its ids
stand for the same text as the model's. Where it cuts text otherwise than llama.cpp, it is right, and a note says so.
Without one, llama.cpp's own tokenizer serves.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgefc.engine.llama import Vocabulary
from edgefc.errors import ModelFileError
from edgefc.formats import Prompt

if TYPE_CHECKING:
    import tokenizers

_APART = "\x01"
SPELLED = 10_000  # texts of which the tokens are remembered
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
        special = {token: vocabulary.piece(token).decode("utf-8", "replace") for token in sorted(vocabulary.special)}
        self._special = {text: token for token, text in special.items() if text}
        self.special_tokens = frozenset(self._special)
        # Those that a grammar of text cannot match: text → id.
        self.control = {text: token for text, token in self._special.items() if token in vocabulary.control}
        self.eog = vocabulary.eog
        self.notes: list[str] = []  # what a user should know of how ids are made
        self._hf: tokenizers.Tokenizer | None = None
        if tokenizer_json is not None and tokenizer_json.is_file():
            self._load_reference(tokenizer_json)
        self._prefix_tokens = self._count_prefix()
        self._spelled: dict[bytes, list[int]] = {}
        self._pieces: dict[int, bytes] = {}

    @property
    def source(self) -> str:
        """Which tokenizer makes the ids: `tokenizer.json` or `llama.cpp`."""
        return "llama.cpp" if self._hf is None else "tokenizer.json"

    def encode(self, prompt: Prompt | str, *, bos: Literal["never", "always", "vocabulary"] = "never") -> list[int]:
        """Token ids of a prompt; special tokens are recognised, except where the prompt is cut.

        bos  whether a begin-of-sequence token comes first; one that stands there already is enough
        """
        pieces = prompt.pieces if isinstance(prompt, Prompt) else [prompt]
        ids = [token for number, piece in enumerate(pieces) for token in self._encode(piece, within=number > 0)]
        wanted = bos == "always" or (bos == "vocabulary" and self.vocabulary.add_bos)
        if wanted and self.vocabulary.bos >= 0 and ids[:1] != [self.vocabulary.bos]:
            ids.insert(0, self.vocabulary.bos)
        return ids

    @property
    def eos_text(self) -> str:
        """The text of the end-of-sequence token; empty when there is none."""
        eos = self.vocabulary.eos
        return self.vocabulary.piece(eos).decode("utf-8", "replace") if eos >= 0 else ""

    def special_id(self, text: str) -> int | None:
        """The id of a special token by its text."""
        return self._special.get(text)

    def piece(self, token: int, *, spoken: bool = False) -> bytes:
        """The bytes a generated token adds to the text; a control token adds none, unless it is `spoken`."""
        key = token << 1 | spoken
        if (known := self._pieces.get(key)) is None:
            known = b"" if token in self.vocabulary.control and not spoken else self.vocabulary.piece(token)
            self._pieces[key] = known
        return known

    def decode(self, tokens: list[int]) -> str:
        return b"".join(map(self.vocabulary.piece, tokens)).decode("utf-8", "replace")

    def _encode(self, text: str, *, within: bool) -> list[int]:
        """Ids of a piece of text; `within` says that other text stands before it."""
        if not within or not self._prefix_tokens:
            return self._ids(text)
        # SentencePiece begins a text with a space of its own. After a character that is in no vocabulary, and
        # therefore merges with nothing, it does not.
        return self._ids(_APART + text)[self._prefix_tokens :]

    def tokens_of(self, data: bytes) -> list[int]:
        """Tokens that spell this text, special ones excepted; none where it is not whole characters. Remembered."""
        if (known := self._spelled.get(data)) is None:
            try:
                known = self.vocabulary.tokenize(data.decode(), parse_special=False)
            except UnicodeDecodeError:
                known = []
            if len(self._spelled) < SPELLED:
                self._spelled[data] = known
        return list(known)

    def _ids(self, text: str) -> list[int]:
        if self._hf is None:
            return self.vocabulary.tokenize(text, parse_special=True)
        return list(self._hf.encode(text, add_special_tokens=False).ids)

    def _count_prefix(self) -> int:
        """How many tokens a text that begins with `_APART` has before its own; 0 where none is needed."""
        plain = b"".join(map(self.vocabulary.piece, self._ids("a")))
        if plain == b"a":
            return 0
        apart = self._ids(_APART)
        return len(apart) if self._ids(_APART + "a")[: len(apart)] == apart else 0

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
        self._compare_pieces(reference, path)
        differing = [
            probe
            for probe in PROBES
            if self.vocabulary.tokenize(probe, parse_special=True)
            != list(reference.encode(probe, add_special_tokens=False).ids)
        ]
        if differing:
            self.notes.append(
                f"{path.name} cuts text otherwise than llama.cpp ({len(differing)} of {len(PROBES)} probes, such as "
                f"{differing[0]!r}); the model was trained with the former, which is used"
            )
        self._hf = reference

    def _compare_pieces(self, reference: tokenizers.Tokenizer, path: Path) -> None:
        """The same ids must stand for the same text, whatever cuts it."""
        step = max(1, self.n_vocab // 2048)
        for token in range(0, self.n_vocab, step):
            theirs = reference.id_to_token(token)
            if theirs is None or token in self.vocabulary.special:
                continue
            text = reference.decode([token], skip_special_tokens=False).strip(" ")
            ours = self.vocabulary.piece(token).decode("utf-8", "replace").strip(" ")
            if text != ours and "\ufffd" not in text + ours and text:
                raise self._disagree(path, f"token {token} is {text!r} there and {ours!r} in the model")

    @staticmethod
    def _disagree(path: Path, how: str) -> ModelFileError:
        return ModelFileError(
            f"{path} does not belong to this model: {how}",
            "Put the tokenizer.json of the model's own repository there, or remove it.",
        )

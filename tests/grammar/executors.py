"""The two executors of a compiled grammar, byte by byte: llguidance, used by the engine, and llama.cpp's own.

Both get a vocabulary of the 256 bytes and an end token, generated here, so that no test needs an external file.
"""

from __future__ import annotations

import ctypes
import random
import struct
import tempfile
from functools import cache
from pathlib import Path
from typing import Protocol

import llama_cpp
import llguidance

from edgefc.engine.constraint import LIMITS
from edgefc.grammar import CompiledGrammar

END = 256


class Walk(Protocol):
    """A grammar in execution."""

    def allowed(self, token: int) -> bool:
        """Return whether this byte, or END, may come next."""

    def accept(self, byte: int) -> None:
        """Advance by an allowed byte."""

    def advance(self, text: bytes) -> int:
        """Advance by the longest legal beginning of a text, and return its length."""


class Guidance:
    """llguidance on the Lark text."""

    def __init__(self, lark: str) -> None:
        self.matcher = llguidance.LLMatcher(_byte_tokenizer(), lark, log_level=0, limits=LIMITS)
        if self.matcher.is_error():
            raise ValueError(self.matcher.get_error())

    def allowed(self, token: int) -> bool:
        return self.matcher.is_accepting() if token == END else self.matcher.validate_tokens([token]) == 1

    def accept(self, byte: int) -> None:
        assert self.matcher.consume_token(byte), self.matcher.get_error()

    def advance(self, text: bytes) -> int:
        count: int = self.matcher.validate_tokens(list(text))
        assert self.matcher.consume_tokens(list(text[:count])), self.matcher.get_error()
        return count

    def mask(self) -> set[int]:
        """Return every byte that may come next, with END among them."""
        bits = int.from_bytes(self.matcher.compute_bitmask(), "little")
        assert not self.matcher.is_error(), self.matcher.get_error()
        return {token for token in range(END + 1) if bits >> token & 1}

    def forced(self) -> bytes:
        return self.matcher.compute_ff_bytes()


class LlamaCpp:
    """llama.cpp's grammar sampler on the GBNF text."""

    def __init__(self, gbnf: str) -> None:
        self.sampler = llama_cpp.llama_sampler_init_grammar(_byte_vocab(), gbnf.encode(), b"root")
        if not self.sampler:
            raise ValueError(f"llama.cpp refuses the grammar:\n{gbnf[:2000]}")
        self.data = (llama_cpp.llama_token_data * (END + 1))()
        self.array = llama_cpp.llama_token_data_array(self.data, 1, -1, False)
        self._reference = ctypes.byref(self.array)

    def __del__(self) -> None:
        if getattr(self, "sampler", None):
            llama_cpp.llama_sampler_free(self.sampler)

    def allowed(self, token: int) -> bool:
        entry = self.data[0]
        entry.id, entry.logit = token, 1.0
        self.array.size, self.array.selected = 1, -1
        llama_cpp.llama_sampler_apply(self.sampler, self._reference)
        return entry.logit > 0

    def mask(self) -> set[int]:
        for token in range(END + 1):
            self.data[token] = llama_cpp.llama_token_data(token, 1.0, 0.0)
        self.array.size, self.array.selected = END + 1, -1
        llama_cpp.llama_sampler_apply(self.sampler, self._reference)
        return {self.data[i].id for i in range(self.array.size) if self.data[i].logit > 0}

    def accept(self, byte: int) -> None:
        assert self.allowed(byte), byte  # it would abort the process
        llama_cpp.llama_sampler_accept(self.sampler, byte)

    def advance(self, text: bytes) -> int:
        for index, byte in enumerate(text):
            if not self.allowed(byte):
                return index
            llama_cpp.llama_sampler_accept(self.sampler, byte)
        return len(text)


def reach(walk: Walk, text: str) -> int:
    """Return -1 if the whole text is in the language, else the index of the first refused byte (its length: the end)."""
    raw = text.encode("utf-8", "surrogatepass")
    count = walk.advance(raw)
    return count if count < len(raw) else -1 if walk.allowed(END) else len(raw)


def accepts(grammar: CompiledGrammar, text: str) -> bool:
    """Return whether the text is in the grammar's language; both executors must agree, and at the same byte."""
    by_guidance, by_llama = reach(Guidance(grammar.lark), text), reach(LlamaCpp(grammar.gbnf), text)
    assert by_guidance == by_llama, f"llguidance stops at {by_guidance}, llama.cpp at {by_llama}: {text!r}"
    return by_guidance == -1


CLOSERS = {ord(char) for char in '"]}'} | {END}


def walk(grammar: CompiledGrammar, rng: random.Random, limit: int = 400, patience: float = 0.3) -> str | None:
    """Return a random text of the language; None if it did not end within `limit` bytes.

    Both executors must allow the same bytes at every step. They may differ in bytes that cannot continue UTF-8.
    """
    guidance, llama = Guidance(grammar.lark), LlamaCpp(grammar.gbnf)
    raw = bytearray()
    for _ in range(limit):
        mine, reference = guidance.mask(), llama.mask()
        ascii_only = {token for token in mine ^ reference if token < 0x80 or token == END}
        assert not ascii_only, (bytes(raw), ascii_only, grammar.gbnf)
        assert mine <= reference, (bytes(raw), mine - reference, grammar.gbnf)
        assert mine, f"no byte is allowed after {bytes(raw)!r}"
        likely = sorted(mine & CLOSERS) if rng.random() < patience else []
        token = rng.choice(likely or sorted(mine))
        if token == END:
            return raw.decode()
        raw.append(token)
        guidance.accept(token)
        llama.accept(token)
    return None


class _Bytes:
    eos_token_id, bos_token_id = END, None
    tokens = (*(bytes([byte]) for byte in range(256)), b"\xff<end>")
    special_token_ids = (END,)

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


@cache
def _byte_tokenizer() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Bytes()))


_SILENT = llama_cpp.llama_log_callback(lambda *_: None)


@cache
def _byte_vocab() -> llama_cpp.llama_vocab_p:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bytes.gguf"
        path.write_bytes(_gguf())
        llama_cpp.llama_log_set(_SILENT, ctypes.c_void_p())
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    assert model, "the byte vocabulary does not load"
    return llama_cpp.llama_model_get_vocab(model)


def _gguf() -> bytes:
    """Return a GGUF file that contains only the vocabulary, in GPT-2's spelling of bytes."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    pieces = [chr(b) if b in visible else chr(256 + hidden.index(b)) for b in range(256)] + ["<|end|>"]

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    fields = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("gpt2"),
        text("tokenizer.ggml.pre") + struct.pack("<I", 8) + text("gpt-2"),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, END + 1) + b"".join(map(text, pieces)),
        text("tokenizer.ggml.token_type") + struct.pack(f"<IIQ{END + 1}i", 9, 5, END + 1, *([1] * END), 3),
        text("tokenizer.ggml.merges") + struct.pack("<IIQ", 9, 8, 1) + text("h e"),
        *(text(f"tokenizer.ggml.{name}_token_id") + struct.pack("<II", 4, END) for name in ("eos", "bos")),
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(fields)) + b"".join(fields)

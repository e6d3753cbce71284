"""Vocabularies for models with random weights: the vendors' own, or small stand-ins where those are missing.

A vendor's vocabulary is a GGUF without weights, `ggml-vocab-NAME.gguf` of llama.cpp's `models` folder, in the folder
that EDGEFC_VOCABULARIES names (default: ../shared/data/vocabs beside the checkout). A stand-in has the pieces of the demo
model's vocabulary, the same kind of tokenizer, pre-tokenizer, control tokens, BOS and EOS as the vendor's.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
from gguf import GGUFValueType

from edgefc import paths
from edgefc.engine import llama

FOLDER = Path(os.environ.get("EDGEFC_VOCABULARIES") or Path(__file__).parents[2] / "shared" / "data" / "vocabs")
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
TOKENS, KINDS, SCORES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.scores"
CHAT_TEMPLATE = "tokenizer.chat_template"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3_CONTROLS = (
    "<|begin_of_text|>", "<|end_of_text|>", *(f"<|reserved_special_token_{n}|>" for n in range(4)),
    "<|start_header_id|>", "<|end_header_id|>", "<|reserved_special_token_4|>", "<|eot_id|>",
    *(f"<|reserved_special_token_{n}|>" for n in range(5, 251)),
)  # fmt: skip
DEEPSEEK_CONTROLS = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")
DEEPSEEK_OTHERS = (
    "<｜fim▁hole｜>",
    "<｜fim▁begin｜>",
    "<｜fim▁end｜>",
    "<pad>",
    "<|User|>",
    "<|Assistant|>",
    "<|EOT|>",
)


@dataclass(frozen=True)
class StandIn:
    """Properties of a vendor's vocabulary; `add_bos` is None where the vendor's file does not say."""

    pre_tokenizer: str
    bos: str
    eos: str
    controls: tuple[str, ...]
    user_defined: tuple[str, ...] = ()
    add_bos: bool | None = None
    chat_template: str = ""
    sentencepiece: bool = False


STAND_INS = {
    "qwen2": StandIn(
        "qwen2",
        "<|endoftext|>",
        "<|endoftext|>",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        tuple(f"[PAD{number}]" for number in range(4)),
        chat_template=CHATML,
    ),
    "llama-bpe": StandIn("llama-bpe", "<|begin_of_text|>", "<|end_of_text|>", LLAMA3_CONTROLS),
    "deepseek-coder": StandIn("deepseek-coder", *DEEPSEEK_CONTROLS, DEEPSEEK_CONTROLS, DEEPSEEK_OTHERS, add_bos=True),
    "llama-spm": StandIn("default", "<s>", "</s>", ("<s>", "</s>"), add_bos=True, sentencepiece=True),
}
RUNS = (2, 4, 8, 16)  # spaces that are one token: Functionary indents schemas deeply
Field = tuple[list[GGUFValueType], Any]


def find_vocabulary(name: str) -> Path | None:
    """Return the vendor's vocabulary if it is on this machine."""
    path = FOLDER / f"ggml-vocab-{name}.gguf"
    return path if path.is_file() else None


def write_stand_in(name: str, out: Path) -> Path:
    """Write the stand-in for a vendor's vocabulary as a GGUF without weights."""
    stand_in = STAND_INS[name]
    writer = gguf.GGUFWriter(out, "qwen2")
    writer.add_context_length(32768)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(128)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_pre(stand_in.pre_tokenizer)
    tokens, kinds = _add_sentencepiece(writer) if stand_in.sentencepiece else _add_bpe(writer, stand_in)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(tokens.index(stand_in.bos))
    writer.add_eos_token_id(tokens.index(stand_in.eos))
    if stand_in.add_bos is not None:
        writer.add_add_bos_token(stand_in.add_bos)
        writer.add_add_eos_token(False)
    if stand_in.chat_template:
        writer.add_chat_template(stand_in.chat_template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return out


def _add_bpe(writer: gguf.GGUFWriter, stand_in: StandIn) -> tuple[list[str], list[int]]:
    """Add the demo model's pieces and merges, then runs of spaces, then its words with a space before them."""
    fields = read_fields(paths.demo_model())
    (_, tokens), (_, kinds), (_, merges) = (fields[key] for key in (TOKENS, KINDS, "tokenizer.ggml.merges"))
    pieces = [token for token, kind in zip(tokens, kinds, strict=True) if kind == NORMAL]
    space = "Ġ"  # a space in the alphabet of byte-level BPE
    pairs = [(space * (run // 2), space * (run // 2)) for run in RUNS]
    pairs += [(space, text) for text in pieces if text.isascii() and text.isalpha()]
    present = set(pieces)
    pairs = [pair for pair in pairs if "".join(pair) not in present]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_merges([*merges, *map(" ".join, pairs)])
    pieces += map("".join, pairs)
    kinds = [NORMAL] * len(pieces) + [CONTROL] * len(stand_in.controls) + [USER_DEFINED] * len(stand_in.user_defined)
    return [*pieces, *stand_in.controls, *stand_in.user_defined], kinds


def _add_sentencepiece(writer: gguf.GGUFWriter) -> tuple[list[str], list[int]]:
    """Add the demo model's pieces in the order in which its BPE merges them, and its words with a space before them.

    Every other letter is bytes.
    """
    vocabulary = llama.Model(paths.demo_model(), n_gpu_layers=0, vocab_only=True).vocabulary
    normal = [token for token in range(vocabulary.size) if token not in vocabulary.control]
    pieces = [vocabulary.piece(token).decode("utf-8", "replace") for token in normal]
    pieces = [text for text in pieces if text and text.isprintable() and "\ufffd" not in text]
    words = [" " + text for text in pieces if text.isalpha()]
    texts = list(dict.fromkeys(text.replace(" ", "▁") for text in [*(" " * run for run in RUNS), *pieces, *words]))
    texts.sort(key=lambda text: len(text) == 1)  # as in Llama 2's file, single letters come last
    special = ["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(256))]
    writer.add_tokenizer_model("llama")
    writer.add_token_scores([0.0] * len(special) + [-float(rank) for rank in range(len(texts))])
    writer.add_unk_token_id(0)
    return [*special, *texts], [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(texts)]


def read_fields(path: Path) -> dict[str, Field]:
    """Read the metadata of a GGUF: types and value of each key.

    gguf's own reader takes seconds for a vocabulary of 150,000 tokens.
    """
    data = path.read_bytes()
    position = 24

    def unpack(code: str) -> Any:
        nonlocal position
        (value,) = struct.unpack_from(f"<{code}", data, position)
        position += struct.calcsize(code)
        return value

    def string() -> str:
        nonlocal position
        size = unpack("Q")
        position += size
        return data[position - size : position].decode("utf-8", "surrogateescape")

    def value(kind: GGUFValueType) -> Any:
        return string() if kind == GGUFValueType.STRING else unpack(CODES[kind])

    fields: dict[str, Field] = {}
    for _ in range(struct.unpack_from("<Q", data, 16)[0]):
        key, kind = string(), GGUFValueType(unpack("I"))
        if kind == GGUFValueType.ARRAY:
            inner, count = GGUFValueType(unpack("I")), unpack("Q")
            fields[key] = ([kind, inner], [value(inner) for _ in range(count)])
        else:
            fields[key] = ([kind], value(kind))
    return fields


CODES = {
    GGUFValueType.UINT8: "B", GGUFValueType.INT8: "b", GGUFValueType.UINT16: "H", GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I", GGUFValueType.INT32: "i", GGUFValueType.FLOAT32: "f", GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "Q", GGUFValueType.INT64: "q", GGUFValueType.FLOAT64: "d",
}  # fmt: skip

"""Reads a GGUF's header with bounds of our own, before llama.cpp is given the file.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian). Nothing is
trusted: every count and size is checked against the file before it is used, and the whole is bounded in bytes and in
items. llama.cpp refuses most bad files by itself; where it ends the process instead (GGML_ASSERT, an exception that
leaves a C function), the file is refused here. The places are those of the release that pyproject.toml pins.
"""

from __future__ import annotations

import math
import mmap
import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from edgefc.errors import ModelFileError, ModelLoadError, ModelNotFoundError

MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 16
MAX_TEXT = 1 << 26  # bytes; some files carry a whole tokenizer.json
MAX_ARRAY = 1 << 24
MAX_TEXTS = 1 << 21  # in all arrays together: the vocabulary and its merges; 800,000 are the most known
MAX_HEADER = 1 << 28  # bytes
MAX_NAME = 63  # bytes of a tensor's name, GGML_MAX_NAME
MAX_LAYERS, MAX_EXPERTS = 512, 1024  # LLAMA_MAX_LAYERS, LLAMA_MAX_EXPERTS
ALIGNMENT = 32  # of tensors in memory, TENSOR_ALIGNMENT
INCOMPLETE = "The download is incomplete: fetch it again."
KEPT_NUMBERS, KEPT_TEXTS = 1024, 64  # of longer arrays (vocabularies) only the length is kept

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_UINT16, _STRING, _ARRAY = 2, 8, 9
_LAYOUTS = {code: struct.Struct(f"<{code}") for code in _SCALARS.values()}
# ggml type → (elements per block, bytes per block)
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18), 42: (64, 18),
}  # fmt: skip
_F32 = 0
_NOT_MULTIPLIED = frozenset({9, 15, 24, 25, 26, 27, 28})  # Q8_1, Q8_K, whole numbers, F64
_ADDED = re.compile(r"norm(_\d)?\.weight$|\.bias$|\brope_\w+\.weight$|_sinks\.weight$")
_TABLE = re.compile(r"tid2eid|d2t")
_WEB_PAGE = "a web page, not a model: the download was answered with an error page"
_OTHER_FILES = (
    (rb"(?i)\s*(<!doctype|<html|<\?xml)", _WEB_PAGE),
    (rb"version https://git-lfs", "a git-lfs pointer, not the model itself: run `git lfs pull`, or download the file"),
    (rb"PK\x03\x04", "a zip archive (perhaps a PyTorch checkpoint), not a GGUF"),
    (rb"\x1f\x8b", "a gzip archive, not a GGUF: unpack it"),
    (rb"(?s).{8}\{\s*\"", "a safetensors file, not a GGUF: look for a GGUF of this model, or convert it"),
    (rb"lmgg|tjgg|fmgg", "a file of the format before GGUF, which llama.cpp no longer reads"),
    (rb"\{", "a text in JSON, not a model: perhaps a server's error message"),
    (rb"\0{16}", "empty at its beginning: the download is incomplete"),
)
_KINDS = {
    "adapter": "a LoRA adapter, not a model",
    "mmproj": "the image encoder of a model, without the model",
    "imatrix": "an importance matrix, not a model",
    "dataset": "a dataset, not a model",
}
_PART = re.compile(r"(.+)-\d{5}-of-\d{5}\.gguf", re.DOTALL)
# Tokenizers of models that do not generate text, and llama.cpp's own for tests; it ends the process when such a
# vocabulary is not what it expects.
_NO_TOKENIZER = frozenset({"bert", "no_vocab", "none", "rwkv", "test", "whitespace"})
_ROPE_SCALING = frozenset({"none", "linear", "yarn", "longrope"})
# Architectures for which llama.cpp asserts that keys, values and rotated dimensions of a head are equally many:
# "GGML_ASSERT(n_embd_head == n_rot)" in src/models.
_FULL_ROTATION = frozenset(
    "apertus arcee arctic baichuan chameleon codeshell cogvlm cohere2moe dbrx deci deepseek dots1 dream ernie4_5 "
    "ernie4_5-moe exaone exaone-moe exaone4 falcon granite granite_swa graniteswitch grok grovemoe hunyuan-moe "
    "hunyuan_vl hy_v3 internlm2 jais2 llada llada-moe llama llama4 maincoder mellum mistral3 olmo olmo2 olmoe orion "
    "paddleocr pangu-embedded plamo pockettts qwen2 qwen2moe qwen2vl qwen3 qwen3moe qwen3vl qwen3vlmoe rnd1 seed_oss "
    "smallthinker smollm3 starcoder2 talkie xverse".split()
)
_PLAIN_HEADS = _FULL_ROTATION | {"gemma", "gemma2", "gemma3", "phi3"}


@dataclass(frozen=True, slots=True)
class ArrayLength:
    """Stands for a metadata array that was not kept."""

    length: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF says of itself.

    metadata  key → value; long arrays as ArrayLength
    n_tensors, tensor_bytes   number of tensors, and the bytes from the first to the end of the last
    main_type   ggml's number of the type that most of their bytes have
    files       all files of the model, where `read_model` read them
    """

    metadata: Mapping[str, object]
    n_tensors: int
    tensor_bytes: int
    main_type: int = -1
    files: tuple[Path, ...] = field(default=(), compare=False)

    @property
    def architecture(self) -> str:
        """llama.cpp's name for it, as `qwen2`; "?" when the file does not say."""
        name = self.metadata.get("general.architecture")
        return name if isinstance(name, str) else "?"

    def value(self, key: str) -> object:
        """`<architecture>.<key>`; None when it is not there."""
        return self.metadata.get(f"{self.architecture}.{key}")

    def number(self, key: str) -> int | None:
        """`<architecture>.<key>` as an integer, when it is one."""
        value = self.value(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def per_layer(self, key: str) -> list[int] | None:
        """`<architecture>.<key>` of each layer: an array of integers as it is, one integer for all alike."""
        value, layers = self.value(key), self.number("block_count") or 0
        if isinstance(value, int):
            return [int(value)] * min(max(layers, 0), MAX_LAYERS)
        if isinstance(value, list) and all(isinstance(item, int) for item in value):
            return [int(item) for item in value]
        return None


class _Tensor(NamedTuple):
    kind: int
    shape: tuple[int, ...]


def read_header(path: Path) -> Header:
    """The header of one GGUF file. Raises ModelNotFoundError or ModelFileError; never blocks on what is no plain file.

    The container and the vocabulary are checked; whether there is a model in it, `read_model` says.
    """
    return _read(path)[0]


def read_metadata(path: Path) -> Mapping[str, object]:
    """The metadata of a GGUF, see `read_header`."""
    return read_header(path).metadata


def read_model(path: Path) -> Header:
    """The header of a model that may be given to llama.cpp; tensors of all parts of a split one counted together.

    Raises what `read_header` raises; ModelFileError also for parts that are missing; ModelLoadError for a well-formed
    file without the weights of a language model, with the name of what it is instead.
    """
    header, tensors = _read(path)
    parts = _parts(path, header)
    for number, part in enumerate(parts[1:], 1):
        other, more = _read(part)
        if (other.metadata.get("split.no"), other.metadata.get("split.count")) != (number, len(parts)):
            raise _bad(part, f"it does not say that it is part {number + 1} of {len(parts)}", "Download it again.")
        header = replace(
            header, n_tensors=header.n_tensors + other.n_tensors, tensor_bytes=header.tensor_bytes + other.tensor_bytes
        )
        tensors |= more
    expected = header.metadata.get("split.tensors.count", header.n_tensors)
    if len(parts) > 1 and expected != header.n_tensors:
        raise _bad(path, f"its parts hold {header.n_tensors} tensors, not {expected}", "Download all parts again.")
    kind = "mmproj" if header.architecture == "clip" else header.metadata.get("general.type")
    if isinstance(kind, str) and kind in _KINDS:
        raise ModelLoadError(f"{path} is {_KINDS[kind]}", "Give the GGUF of the language model.")
    if not header.n_tensors:
        raise ModelLoadError(f"{path} holds a vocabulary and no weights", "Download the model itself.")
    problem = _problem(header, tensors)
    if problem:
        raise _bad(path, problem)
    return replace(header, files=tuple(parts))


def split_files(path: Path) -> list[Path]:
    """The files of a model, in order: all parts of a split one, else only `path`.

    Raises what `read_header` raises; ModelFileError also when `path` is not the first part, or parts are missing.
    """
    return _parts(path, read_header(path))


def _parts(path: Path, header: Header) -> list[Path]:
    count, number = header.metadata.get("split.count", 1), header.metadata.get("split.no", 0)
    assert isinstance(count, int)
    assert isinstance(number, int)
    if count <= 1:
        return [path]
    suffix = f"-{number + 1:05d}-of-{count:05d}.gguf"
    match = _PART.fullmatch(path.name)
    if number >= count or match is None or not path.name.endswith(suffix):
        raise ModelFileError(
            f"{path} is part {number + 1} of {count} of a split model, but not named so",
            f"All parts belong into one folder, named as they were published: NAME{suffix}",
        )
    parts = [path.with_name(f"{match[1]}-{part:05d}-of-{count:05d}.gguf") for part in range(1, count + 1)]
    if number:
        raise ModelFileError(f"{path} is part {number + 1} of {count} of a split model", f"Give the first: {parts[0]}")
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise ModelFileError(
            f"{path} is part 1 of {count} of a split model; missing are {', '.join(missing[:8])}{more}",
            "Download them into the same folder.",
        )
    return parts


def _read(path: Path) -> tuple[Header, dict[str, _Tensor]]:
    """A file's header, and its tensors by name."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ModelNotFoundError(f"there is no file {path}", "`edgefc list` shows what is here.") from None
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ModelFileError(f"{path} is {kind}", "Give the path of a .gguf file.")
    if status.st_size < 24:
        raise ModelFileError(f"{path} has {status.st_size} bytes: too short for a GGUF", "Download it again.")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            reader = _Reader(path, data)
            return reader.header(), reader.tensors
    except (OSError, ValueError) as error:  # ValueError: emptied in between
        raise ModelFileError(f"{path}: {error}") from None


def _bad(path: Path, reason: str, hint: str = "") -> ModelFileError:
    return ModelFileError(f"{path} is not a usable GGUF: {reason}", hint)


class _Reader:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path, self._data, self._size, self._at = path, data, len(data), 0
        self._end = min(self._size, MAX_HEADER)
        self._texts_left = MAX_TEXTS
        self._tokens: set[bytes] | None = None
        self.tensors: dict[str, _Tensor] = {}

    def header(self) -> Header:
        if self._data[:4] != b"GGUF":
            begin = self._data[:64]
            for pattern, what in _OTHER_FILES:
                if re.match(pattern, begin):
                    raise ModelFileError(f"{self._path} is {what}")
            raise self._bad("it does not begin with 'GGUF'", "Only GGUF models can be loaded.")
        self._at = 4
        version = self._scalar("I")
        if version not in {2, 3}:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            what = "a big-endian file" if swapped in {2, 3} else f"GGUF version {version}"
            raise self._bad(f"{what}; versions 2 and 3 can be read, little-endian")
        n_tensors, n_keys = self._scalar("Q"), self._scalar("Q")
        if n_tensors > MAX_TENSORS or n_keys > MAX_KEYS:
            raise self._bad(f"it claims {n_tensors} tensors and {n_keys} metadata keys")
        metadata: dict[str, object] = {}
        for _ in range(n_keys):
            key = self._string()
            if key in metadata:
                raise self._bad(f"the metadata key {key!r} appears twice")
            metadata[key] = self._value(self._scalar("I"), key)
        self._check_vocabulary(metadata)
        return Header(metadata, n_tensors, self._read_tensors(n_tensors, metadata), self._main_type())

    def _read_tensors(self, count: int, metadata: Mapping[str, object]) -> int:
        """Check every tensor's extent; the bytes they take."""
        alignment = metadata.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or not ALIGNMENT <= alignment <= 1 << 16 or alignment & (alignment - 1):
            raise self._bad(f"general.alignment is {alignment!r}: llama.cpp needs a power of two from {ALIGNMENT} on")
        end, ends = 0, []
        for _ in range(count):
            name = self._string(MAX_NAME)
            if name in self.tensors:
                raise self._bad(f"the tensor {name!r} appears twice")
            n_dims = self._scalar("I")
            if not 1 <= n_dims <= 4:
                raise self._bad(f"the tensor {name!r} has {n_dims} dimensions")
            shape = tuple(self._scalar("Q") for _ in range(n_dims))
            kind, offset = self._scalar("I"), self._scalar("Q")
            elements = math.prod(shape)
            if not 0 < elements < 1 << 60:
                raise self._bad(f"the tensor {name!r} has the dimensions {' x '.join(map(str, shape))}")
            if kind not in _BLOCKS:
                raise self._bad(f"the tensor {name!r} has the type {kind}, which this llama.cpp does not know")
            per, size = _BLOCKS[kind]
            if shape[0] % per:
                raise self._bad(f"the tensor {name!r} has rows of {shape[0]} elements, not of blocks of {per}")
            begin = -(-end // alignment) * alignment
            if offset != begin:
                raise self._bad(f"the tensor {name!r} begins at byte {offset:,} of the data, not at {begin:,}")
            end = offset + elements // per * size
            ends.append((name, end))
            self.tensors[name] = _Tensor(kind, shape)
        start = -(-self._at // alignment) * alignment
        for name, reach in ends:
            if start + reach > self._size:
                short = start + reach - self._size
                raise self._bad(f"the tensor {name!r} reaches {short:,} bytes beyond the end of the file", INCOMPLETE)
        return end

    def _main_type(self) -> int:
        bytes_of: dict[int, int] = {}
        for kind, shape in self.tensors.values():
            per, size = _BLOCKS[kind]
            bytes_of[kind] = bytes_of.get(kind, 0) + math.prod(shape) // per * size
        return max(bytes_of, key=lambda kind: bytes_of[kind], default=-1)

    def _check_vocabulary(self, metadata: Mapping[str, object]) -> None:
        """Refuse what llama.cpp's vocabulary ends the process for, when loading or at the first text."""
        model, cut = (metadata.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
        for name in (model, cut):
            if isinstance(name, str) and name in _NO_TOKENIZER:
                raise self._bad(f"a model with the tokenizer {name!r} cannot be run")
        if model == "llama" and self._tokens is not None:
            lacking = [b for b in range(256) if not {b"<0x%02X>" % b, bytes([b])} & self._tokens]
            if lacking:
                raise self._bad(
                    f"its vocabulary has no token for the byte {lacking[0]}, nor for {len(lacking) - 1} more"
                )

    def _value(self, kind: int, key: str) -> object:
        if key in {"split.no", "split.count"} and kind != _UINT16:
            raise self._bad(f"{key!r} is no 16-bit number")
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            if kind not in _SCALARS:
                raise self._bad(f"{key!r} has the unknown type {kind}")
            return self._scalar(_SCALARS[kind])
        item, count = self._scalar("I"), self._scalar("Q")
        if count > MAX_ARRAY:
            raise self._bad(f"{key!r} claims {count} items")
        if item in _SCALARS:
            layout = struct.Struct(f"<{count}{_SCALARS[item]}")
            begin = self._skip(layout.size)
            return list(layout.unpack_from(self._data, begin)) if count <= KEPT_NUMBERS else ArrayLength(count)
        if item != _STRING:
            raise self._bad(f"{key!r} is an array of the unknown type {item}")
        if key == "tokenizer.ggml.tokens":
            self._tokens = self._distinct(count)
            return ArrayLength(count)
        if count <= KEPT_TEXTS:
            return [text.decode("utf-8", "replace") for text in self._texts(count)]
        self._texts(count, kept=False)
        return ArrayLength(count)

    def _distinct(self, count: int) -> set[bytes]:
        """The tokens of a vocabulary, as llama.cpp sees them: it asserts that all are different."""
        tokens: set[bytes] = set()
        for number, text in enumerate(self._texts(count)):
            token = (text.partition(b"\0")[0] if b"\0" in text else text) or b"[EMPTY_%d]" % number
            if token in tokens:
                raise self._bad(f"the token {token.decode('utf-8', 'replace')!r} appears twice in its vocabulary")
            tokens.add(token)
        return tokens

    def _texts(self, count: int, *, kept: bool = True) -> list[bytes]:
        """The texts of an array; none unless `kept`. A vocabulary has some 100,000: hence the tight loop."""
        self._texts_left -= count
        if self._texts_left < 0 or count * 8 > self._end - self._at:
            self._skip(count * 8)
            raise self._bad(f"it claims more than {MAX_TEXTS} texts")
        found: list[bytes] = []
        data, at, last, unpack = self._data, self._at, self._end - 8, _LAYOUTS["Q"].unpack_from
        for _ in range(count):
            if at > last:
                at += 8  # of which _skip then complains
                break
            (size,) = unpack(data, at)
            if size > MAX_TEXT:
                raise self._bad(f"it claims a text of {size:,} bytes")
            end = at + 8 + size
            if kept:
                found.append(data[at + 8 : end])
            at = end
        self._skip(at - self._at)
        return found

    def _scalar(self, code: str) -> int:
        layout = _LAYOUTS[code]
        value: int = layout.unpack_from(self._data, self._skip(layout.size))[0]
        return value

    def _string(self, longest: int = MAX_TEXT) -> str:
        begin = self._skip(self._length(longest))
        return self._data[begin : self._at].decode("utf-8", "replace")

    def _length(self, longest: int = MAX_TEXT) -> int:
        size = self._scalar("Q")
        if size > longest:
            raise self._bad(f"it claims a text of {size:,} bytes")
        return size

    def _skip(self, size: int) -> int:
        """Go on by so many bytes; where they begin."""
        begin, end = self._at, self._at + size
        if end > self._end:
            if end > self._size:
                raise self._bad("its header reaches beyond the end of the file", INCOMPLETE)
            raise self._bad(f"its header has more than {MAX_HEADER:,} bytes")
        self._at = end
        return begin

    def _bad(self, reason: str, hint: str = "") -> ModelFileError:
        return _bad(self._path, reason, hint)


def _problem(header: Header, tensors: Mapping[str, _Tensor]) -> str:
    """What in a model's description llama.cpp would end the process for; "" when nothing is known to."""
    layers = header.number("block_count")
    if layers is not None and not 1 <= layers <= MAX_LAYERS:
        return f"it claims {layers} layers"
    extra = header.number("nextn_predict_layers") or 0
    if layers is not None and extra > layers:
        return f"it claims {extra} layers for predicting ahead, of {layers}"
    for key, value in header.metadata.items():
        if key.endswith("epsilon") and isinstance(value, float) and not 0 <= value < math.inf:
            return f"{key} is {value}"
    scaling = header.value("rope.scaling.type")
    if isinstance(scaling, str) and scaling not in _ROPE_SCALING:
        return f"it scales positions in the unknown way {scaling!r}"
    return _expert_problem(header) or _attention_problem(header, tensors) or _type_problem(tensors)


def _expert_problem(header: Header) -> str:
    experts, groups = header.number("expert_count") or 0, header.number("expert_group_count") or 0
    used = max(header.per_layer("expert_used_count") or [0])
    of_groups = header.number("expert_group_used_count") or 0
    if experts <= 1 and header.architecture in {"hunyuan-dense", "hunyuan_vl"}:
        return ""  # made by the converter of their siblings with experts; llama.cpp overlooks it
    fits = used == 0 and groups == 0
    if experts:
        fits = 0 < used <= experts <= MAX_EXPERTS and groups < experts
        fits = fits and (groups < 2 or (experts % groups == 0 and 0 < of_groups < groups))
    return "" if fits else f"it claims {experts} experts in {groups} groups, {used} of them used"


def _attention_problem(header: Header, tensors: Mapping[str, _Tensor]) -> str:
    """Heads of which the tensors know nothing: llama.cpp asserts it when it builds the graph."""
    heads = header.per_layer("attention.head_count")
    if header.architecture not in _PLAIN_HEADS or not heads:
        return ""
    width = (header.number("embedding_length") or 0) // heads[0] if heads[0] > 0 else 0
    keys, values = (_given(header.number(f"attention.{name}_length"), width) for name in ("key", "value"))
    rotated = _given(header.number("rope.dimension_count"), keys)
    if header.architecture in _FULL_ROTATION and not keys == values == rotated:
        return f"its heads have {keys} keys, {values} values and {rotated} rotated dimensions: they must be equal"
    if not 0 < rotated <= keys or rotated % 2:
        return f"its heads have {keys} dimensions, of which it claims to rotate {rotated}"
    groups = header.per_layer("attention.head_count_kv") or heads
    for layer, (queries, group) in enumerate(zip(heads, groups, strict=False)):
        rows = {"q": queries * keys, "k": group * keys, "v": group * values}
        rows["qkv"] = sum(rows.values())
        for part, expected in rows.items():
            tensor = tensors.get(f"blk.{layer}.attn_{part}.weight")
            if tensor is not None and tensor.shape[-1] != expected:
                return f"layer {layer} claims {queries} heads and {group} for keys, which its tensors do not have"
    return ""


def _type_problem(tensors: Mapping[str, _Tensor]) -> str:
    for name, tensor in tensors.items():
        if tensor.kind != _F32 and _ADDED.search(name):
            return f"the tensor {name!r} has the type {tensor.kind}, and llama.cpp computes it as 32-bit floats only"
        if tensor.kind in _NOT_MULTIPLIED and name.endswith(".weight") and not _TABLE.search(name):
            return f"the tensor {name!r} has the type {tensor.kind}, with which llama.cpp cannot compute"
    return ""


def _given(value: int | None, default: int) -> int:
    return default if value is None else value

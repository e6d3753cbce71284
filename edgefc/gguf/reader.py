"""Reads the header of a GGUF, before llama.cpp is given the file.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian). The file is not
trusted: every count and size is checked against the file before it is used, and bytes and items are bounded.
"""

from __future__ import annotations

import math
import mmap
import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgefc.errors import ModelFileError, ModelLoadError, ModelNotFoundError
from edgefc.gguf.checks import model_problem, vocabulary_problem
from edgefc.gguf.header import BLOCK_SIZES, ArrayLength, Header, TensorInfo

MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 16
MAX_STRING = 1 << 26  # bytes; some files carry a whole tokenizer.json
MAX_ARRAY = 1 << 24
MAX_STRINGS = 1 << 21  # in all arrays together: vocabulary and merges; the largest model known has 800,000
MAX_HEADER = 1 << 28  # bytes
MAX_NAME = 63  # bytes of a tensor's name, GGML_MAX_NAME
ALIGNMENT = 32  # of tensors in memory, TENSOR_ALIGNMENT
# Of longer arrays (vocabularies) and texts (a whole tokenizer.json) only the length is stored.
MAX_STORED_NUMBERS, MAX_STORED_STRINGS, MAX_STORED_TEXT = 1024, 64, 1 << 22
INCOMPLETE = "The download is incomplete: download the file again."

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_UINT16, _FLOAT32, _STRING, _ARRAY = 2, 6, 8, 9
_LAYOUTS = {code: struct.Struct(f"<{code}") for code in _SCALARS.values()}
_WEB_PAGE = "a web page, not a model: the server sent an error page instead of the file"
_OTHER_FILES = (
    (rb"(?i)\s*(<!doctype|<html|<\?xml)", _WEB_PAGE),
    (rb"version https://git-lfs", "a git-lfs pointer, not the model itself: run `git lfs pull`, or download the file"),
    (rb"PK\x03\x04", "a zip archive (perhaps a PyTorch checkpoint), not a GGUF"),
    (rb"\x1f\x8b", "a gzip archive, not a GGUF: unpack it"),
    (rb"(?s).{8}\{\s*\"", "a safetensors file, not a GGUF: look for a GGUF of this model, or convert it"),
    (rb"lmgg|tjgg|fmgg", "in a format from before GGUF, which llama.cpp no longer reads"),
    (rb"\{", "a text in JSON, not a model: perhaps a server's error message"),
    (rb"\0{16}", "empty at its beginning: the download is incomplete"),
)
_NOT_LANGUAGE_MODELS = {
    "adapter": "a LoRA adapter, not a model",
    "mmproj": "the image encoder of a model, without the model",
    "imatrix": "an importance matrix, not a model",
    "dataset": "a dataset, not a model",
}
_PART = re.compile(r"(.+)-\d{5}-of-\d{5}\.gguf", re.DOTALL)


def read_header(path: Path) -> Header:
    """Read the header of one GGUF file; container and vocabulary are checked.

    Raises ModelNotFoundError, or ModelFileError for all but a sound regular file: a pipe or device is never read.
    """
    return _parse(path)[0]


def parse_tensors(path: Path) -> tuple[Header, dict[str, TensorInfo]]:
    """Read the header of one GGUF file, see `read_header`, and its tensors by name."""
    return _parse(path)


def read_metadata(path: Path) -> Mapping[str, object]:
    """Read the metadata of a GGUF, see `read_header`."""
    return read_header(path).metadata


def read_model(path: Path) -> Header:
    """Read the header of a model that llama.cpp can be given; the parts of a split one are counted together.

    Raises what `read_header` raises; ModelFileError also for missing parts; ModelLoadError for a well-formed file
    without the weights of a language model, saying what it is instead.
    """
    header, tensors = _parse(path)
    parts = _part_paths(path, header)
    for number, part in enumerate(parts[1:], 1):
        other, other_tensors = _parse(part)
        if (other.metadata.get("split.no"), other.metadata.get("split.count")) != (number, len(parts)):
            raise _unusable(part, f"it does not say that it is part {number + 1} of {len(parts)}", "Download it again.")
        header = replace(
            header, n_tensors=header.n_tensors + other.n_tensors, tensor_bytes=header.tensor_bytes + other.tensor_bytes
        )
        tensors |= other_tensors
    expected = header.metadata.get("split.tensors.count", header.n_tensors)
    if len(parts) > 1 and expected != header.n_tensors:
        raise _unusable(path, f"its parts hold {header.n_tensors} tensors, not {expected}", "Download all parts again.")
    kind = "mmproj" if header.architecture == "clip" else header.metadata.get("general.type")
    if isinstance(kind, str) and kind in _NOT_LANGUAGE_MODELS:
        hint = "Give the GGUF of the language model, and an adapter with --lora."
        raise ModelLoadError(f"{path} is {_NOT_LANGUAGE_MODELS[kind]}", hint)
    if not header.n_tensors:
        raise ModelLoadError(f"{path} holds a vocabulary and no weights", "Download the model itself.")
    if problem := model_problem(header, tensors):
        raise _unusable(path, problem)
    return replace(header, files=tuple(parts))


def split_files(path: Path) -> list[Path]:
    """List the files of a model in order: all parts of a split one, else only `path`.

    Raises what `read_header` raises; ModelFileError also when `path` is not the first part, or parts are missing.
    """
    return _part_paths(path, read_header(path))


def _part_paths(path: Path, header: Header) -> list[Path]:
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
            f"Keep all parts in one folder, under the names they were published with: NAME{suffix}",
        )
    parts = [path.with_name(f"{match[1]}-{part:05d}-of-{count:05d}.gguf") for part in range(1, count + 1)]
    if number:
        raise ModelFileError(
            f"{path} is part {number + 1} of {count} of a split model", f"Give the first part: {parts[0]}"
        )
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise ModelFileError(
            f"{path} is part 1 of {count} of a split model, but parts are missing: {', '.join(missing[:8])}{more}",
            "Download them into the same folder.",
        )
    return parts


def _parse(path: Path) -> tuple[Header, dict[str, TensorInfo]]:
    """Parse a file's header; also returns its tensors by name."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ModelNotFoundError(f"there is no file {path}", "`edgefc list` shows the models here.") from None
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ModelFileError(f"{path} is {kind}", "Give the path of a .gguf file.")
    if status.st_size < 24:
        raise ModelFileError(f"{path} has {status.st_size} bytes: too short for a GGUF", "Download it again.")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            parser = _HeaderParser(path, data)
            return parser.parse(), parser.tensors
    except (OSError, ValueError) as error:  # ValueError: the file was truncated meanwhile
        raise ModelFileError(f"{path}: {error}") from None


def _unusable(path: Path, reason: str, hint: str = "") -> ModelFileError:
    return ModelFileError(f"{path} is not a usable GGUF: {reason}", hint)


class _HeaderParser:
    """Parses a mapped file from its first byte to the end of the tensor infos."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path, self._data, self._size, self._position = path, data, len(data), 0
        self._end = min(self._size, MAX_HEADER)
        self._strings_left = MAX_STRINGS
        self._tokens: set[bytes] | None = None
        self.tensors: dict[str, TensorInfo] = {}

    def parse(self) -> Header:
        self._check_magic()
        self._position = 4
        version = self._scalar("I")
        if version not in {2, 3}:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            what = "a big-endian file" if swapped in {2, 3} else f"GGUF version {version}"
            raise self._error(f"{what}; versions 2 and 3 can be read, little-endian")
        n_tensors, n_keys = self._scalar("Q"), self._scalar("Q")
        if n_tensors > MAX_TENSORS or n_keys > MAX_KEYS:
            raise self._error(f"it claims {n_tensors} tensors and {n_keys} metadata keys")
        metadata: dict[str, object] = {}
        for _ in range(n_keys):
            key = self._string()
            if key in metadata:
                raise self._error(f"the metadata key {key!r} appears twice")
            metadata[key] = self._value(self._scalar("I"), key)
        if problem := vocabulary_problem(metadata, self._tokens):
            raise self._error(problem)
        return Header(metadata, n_tensors, self._parse_tensors(n_tensors, metadata), self._main_type())

    def _check_magic(self) -> None:
        if self._data[:4] == b"GGUF":
            return
        start = self._data[:64]
        for pattern, description in _OTHER_FILES:
            if re.match(pattern, start):
                raise ModelFileError(f"{self._path} is {description}")
        raise self._error("it does not begin with 'GGUF'", "Only GGUF models can be loaded.")

    def _parse_tensors(self, count: int, metadata: Mapping[str, object]) -> int:
        """Parse all tensor infos and check that their data is in the file; returns the bytes the data takes."""
        alignment = metadata.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or not ALIGNMENT <= alignment <= 1 << 16 or alignment & (alignment - 1):
            raise self._error(f"general.alignment is {alignment!r}, but must be a power of two from {ALIGNMENT} on")
        end, ends = 0, []
        for _ in range(count):
            name, tensor, offset = self._parse_tensor()
            begin = -(-end // alignment) * alignment
            if offset != begin:
                raise self._error(f"the tensor {name!r} begins at byte {offset:,} of the data, not at {begin:,}")
            end = offset + tensor.n_bytes
            ends.append((name, end))
            self.tensors[name] = tensor
        data_start = -(-self._position // alignment) * alignment
        for name, tensor_end in ends:
            excess = data_start + tensor_end - self._size
            if excess > 0:
                raise self._error(
                    f"the tensor {name!r} reaches {excess:,} bytes beyond the end of the file", INCOMPLETE
                )
        return end

    def _parse_tensor(self) -> tuple[str, TensorInfo, int]:
        """Parse one tensor info: name, type and shape, and the offset of its data."""
        name = self._string(MAX_NAME)
        if name in self.tensors:
            raise self._error(f"the tensor {name!r} appears twice")
        n_dims = self._scalar("I")
        if not 1 <= n_dims <= 4:
            raise self._error(f"the tensor {name!r} has {n_dims} dimensions")
        shape = tuple(self._scalar("Q") for _ in range(n_dims))
        ggml_type, offset = self._scalar("I"), self._scalar("Q")
        if not 0 < math.prod(shape) < 1 << 60:
            raise self._error(f"the tensor {name!r} has the dimensions {' x '.join(map(str, shape))}")
        if ggml_type not in BLOCK_SIZES:
            raise self._error(f"the tensor {name!r} has the type {ggml_type}, which this llama.cpp does not know")
        elements, _ = BLOCK_SIZES[ggml_type]
        if shape[0] % elements:
            raise self._error(f"the tensor {name!r} has rows of {shape[0]} elements, not of blocks of {elements}")
        return name, TensorInfo(ggml_type, shape), offset

    def _main_type(self) -> int:
        bytes_by_type: dict[int, int] = {}
        for tensor in self.tensors.values():
            bytes_by_type[tensor.type] = bytes_by_type.get(tensor.type, 0) + tensor.n_bytes
        return max(bytes_by_type, key=lambda ggml_type: bytes_by_type[ggml_type], default=-1)

    def _value(self, value_type: int, key: str) -> object:
        if key in {"split.no", "split.count"} and value_type != _UINT16:
            raise self._error(f"{key!r} must be a 16-bit number")
        if key == "adapter.lora.alpha" and value_type != _FLOAT32:  # llama.cpp asserts it
            raise self._error(f"{key!r} must be a 32-bit float")
        if value_type == _STRING:
            return self._text()
        if value_type == _ARRAY:
            return self._array(key)
        if value_type not in _SCALARS:
            raise self._error(f"{key!r} has the unknown type {value_type}")
        return self._scalar(_SCALARS[value_type])

    def _array(self, key: str) -> object:
        item_type, count = self._scalar("I"), self._scalar("Q")
        if count > MAX_ARRAY:
            raise self._error(f"{key!r} claims {count} items")
        if item_type in _SCALARS:
            layout = struct.Struct(f"<{count}{_SCALARS[item_type]}")
            begin = self._skip(layout.size)
            return list(layout.unpack_from(self._data, begin)) if count <= MAX_STORED_NUMBERS else ArrayLength(count)
        if item_type != _STRING:
            raise self._error(f"{key!r} is an array of the unknown type {item_type}")
        if key == "tokenizer.ggml.tokens":
            self._tokens = self._vocabulary(count)
            return ArrayLength(count)
        begin = self._position
        self._strings(count, store=False)
        if count <= MAX_STORED_STRINGS and self._position - begin <= MAX_STORED_TEXT:
            self._position = begin
            return [text.decode("utf-8", "replace") for text in self._strings(count)]
        return ArrayLength(count)

    def _vocabulary(self, count: int) -> set[bytes]:
        """Parse the tokens of a vocabulary as llama.cpp sees them: it asserts that all are different."""
        texts = self._strings(count)
        tokens = set(texts)
        if len(tokens) == count and b"" not in tokens and b"\0" not in b"".join(texts):
            return tokens
        tokens = set()
        for number, text in enumerate(texts):
            token = (text.partition(b"\0")[0] if b"\0" in text else text) or b"[EMPTY_%d]" % number
            if token in tokens:
                raise self._error(f"the token {token.decode('utf-8', 'replace')!r} appears twice in its vocabulary")
            tokens.add(token)
        return tokens

    def _strings(self, count: int, *, store: bool = True) -> list[bytes]:
        """Parse the strings of an array; empty unless `store`. Vocabularies have 100,000: hence the tight loop."""
        self._strings_left -= count
        if self._strings_left < 0 or count * 8 > self._end - self._position:
            self._skip(count * 8)
            raise self._error(f"it claims more than {MAX_STRINGS} texts")
        strings: list[bytes] = []
        data, position, last, unpack = self._data, self._position, self._end - 8, _LAYOUTS["Q"].unpack_from
        for _ in range(count):
            if position > last:
                position += 8  # _skip raises the error
                break
            (size,) = unpack(data, position)
            if size > MAX_STRING:
                raise self._error(f"it claims a text of {size:,} bytes")
            end = position + 8 + size
            if store:
                strings.append(data[position + 8 : end])
            position = end
        self._skip(position - self._position)
        return strings

    def _scalar(self, code: str) -> int:
        layout = _LAYOUTS[code]
        value: int = layout.unpack_from(self._data, self._skip(layout.size))[0]
        return value

    def _string(self, max_size: int = MAX_STRING) -> str:
        size = self._scalar("Q")
        if size > max_size:
            raise self._error(f"it claims a text of {size:,} bytes")
        begin = self._skip(size)
        return self._data[begin : self._position].decode("utf-8", "replace")

    def _text(self) -> str | ArrayLength:
        """Parse a text of the metadata."""
        begin = self._position
        size = self._scalar("Q")
        if MAX_STORED_TEXT < size <= MAX_STRING:
            self._skip(size)
            return ArrayLength(size)
        self._position = begin
        return self._string()

    def _skip(self, size: int) -> int:
        """Move on by `size` bytes; returns the position of the first."""
        begin, end = self._position, self._position + size
        if end > self._end:
            if end > self._size:
                raise self._error("its header reaches beyond the end of the file", INCOMPLETE)
            raise self._error(f"its header has more than {MAX_HEADER:,} bytes")
        self._position = end
        return begin

    def _error(self, reason: str, hint: str = "") -> ModelFileError:
        return _unusable(self._path, reason, hint)

"""A GGUF as data that edits can change: fields, arrays, counts, tensors. Its weights are a hole in the file: zeros.

An edit is a list that begins with its name; `EDITS` has them all.
"""

from __future__ import annotations

import copy
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgefc.gguf.header import BLOCK_SIZES
from tests.fuzz.mutation import as_bytes, edit_bytes

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY, FLOAT32, FLOAT64 = 8, 9, 6, 12
ALIGNMENT = 32
MAX_ITEMS = 300_000
MAX_SIZE = (1 << 28) - 1  # bytes of a file, as the child may write
Edit = list[Any]


@dataclass
class Field:
    """A key and its value; `items` is the type of an array's items, `claim` a false length."""

    key: bytes
    type: int
    value: Any
    items: int = 0
    claim: int | None = None


@dataclass
class Tensor:
    name: bytes
    shape: list[int]
    type: int
    offset: int | None = None  # None: behind the tensor before it


@dataclass
class GgufFile:
    """The contents of a file; `raw` are edits of its bytes."""

    fields: list[Field]
    tensors: list[Tensor]
    version: int = 3
    n_fields: int | None = None
    n_tensors: int | None = None
    raw: list[Any] = field(default_factory=list)
    size: float = 1.0  # share of the file that is there

    def apply(self, edits: list[Edit]) -> GgufFile:
        """Return a changed copy; edits of what is not there change nothing."""
        changed = copy.copy(self)
        changed.fields, changed.tensors, changed.raw = list(self.fields), copy.deepcopy(self.tensors), []
        for name, *arguments in edits:
            EDITS[name](changed, *arguments)
        return changed

    def write(self, path: Path) -> None:
        header = self._header()
        header = edit_bytes(header, self.raw)
        data = sum(_padded(tensor_bytes(tensor)) for tensor in self.tensors)
        size = -(-len(header) // ALIGNMENT) * ALIGNMENT + data
        with path.open("wb") as file:
            file.write(header)
            file.truncate(min(int(size * self.size), MAX_SIZE))

    def find(self, key: str) -> int | None:
        """Return the index of a field."""
        return next((number for number, one in enumerate(self.fields) if one.key == as_bytes(key)), None)

    def change(self, key: str) -> Field | None:
        """Return a field that may be changed: a copy in the place of the one that other files share."""
        if (number := self.find(key)) is None:
            return None
        changed = self.fields[number] = copy.copy(self.fields[number])
        if isinstance(changed.value, list):
            changed.value = list(changed.value)
        return changed

    def _header(self) -> bytes:
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_fields = len(self.fields) if self.n_fields is None else self.n_fields
        parts = [b"GGUF" + struct.pack("<IQQ", self.version % 2**32, n_tensors % 2**64, n_fields % 2**64)]
        for one in self.fields:
            parts += [_string(one.key), struct.pack("<I", one.type % 2**32), _value(one)]
        offset = 0
        for tensor in self.tensors:
            own = offset if tensor.offset is None else tensor.offset
            shape = struct.pack(f"<{len(tensor.shape)}Q", *(size % 2**64 for size in tensor.shape))
            parts += [_string(tensor.name), struct.pack("<I", len(tensor.shape)), shape,
                      struct.pack("<IQ", tensor.type % 2**32, own % 2**64)]  # fmt: skip
            offset += _padded(tensor_bytes(tensor))
        return b"".join(parts)


def read(path: Path) -> GgufFile:
    """Read a sound file."""
    with path.open("rb") as file:
        data = file.read(64 << 20)
    version, n_tensors, n_fields = struct.unpack_from("<IQQ", data, 4)
    reader = _Reader(data, 24)
    fields = [reader.field() for _ in range(n_fields)]
    return GgufFile(fields, [reader.tensor() for _ in range(n_tensors)], version)


class _Reader:
    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position

    def field(self) -> Field:
        key, kind = self._string(), self._number("I")
        if kind == ARRAY:
            items, count = self._number("I"), self._number("Q")
            return Field(key, kind, [self._item(items) for _ in range(count)], items)
        return Field(key, kind, self._item(kind))

    def tensor(self) -> Tensor:
        name, dimensions = self._string(), self._number("I")
        shape = [self._number("Q") for _ in range(dimensions)]
        kind, _ = self._number("I"), self._number("Q")
        return Tensor(name, shape, kind)

    def _item(self, kind: int) -> Any:
        return self._string() if kind == STRING else self._number(SCALARS[kind])

    def _number(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self._data, self._position)
        self._position += struct.calcsize("<" + code)
        return value

    def _string(self) -> bytes:
        size = self._number("Q")
        self._position += size
        return self._data[self._position - size : self._position]


def tensor_bytes(tensor: Tensor) -> int:
    elements, size = BLOCK_SIZES.get(tensor.type, (1, 4))
    return max(math.prod(tensor.shape) // elements * size, 0)


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _string(text: bytes, claim: int | None = None) -> bytes:
    return struct.pack("<Q", (len(text) if claim is None else claim) % 2**64) + text


def _value(one: Field) -> bytes:
    if one.type != ARRAY or not isinstance(one.value, list):
        return _item(one.type, one.value, one.claim)
    count = len(one.value) if one.claim is None else one.claim
    return struct.pack("<IQ", one.items % 2**32, count % 2**64) + b"".join(_item(one.items, v) for v in one.value)


def _item(kind: int, value: Any, claim: int | None = None) -> bytes:
    """Write a value as one of a type, whatever it is."""
    if kind == STRING or kind not in SCALARS:
        return _string(value if isinstance(value, bytes) else as_bytes(str(value)), claim)
    number = value if isinstance(value, int | float) else 0
    if kind in {FLOAT32, FLOAT64}:
        try:
            return struct.pack("<" + SCALARS[kind], float(number))
        except OverflowError:
            return struct.pack("<" + SCALARS[kind], math.inf)
    size = struct.calcsize(SCALARS[kind])
    whole = int(number) if math.isfinite(number) else 0
    return (whole % (1 << 8 * size)).to_bytes(size, "little")


# -- edits --------------------------------------------------------------------------------------------------------


def _set(file: GgufFile, key: str, kind: int, value: Any, items: int = STRING) -> None:
    number = file.find(key)
    changed = Field(as_bytes(key), kind, value, items)
    if number is None:
        file.fields.append(changed)
    else:
        file.fields[number] = changed


def _fill(file: GgufFile, key: str, count: int, value: Any, items: int) -> None:
    _set(file, key, ARRAY, [value] * min(count, MAX_ITEMS), items)


def _drop(file: GgufFile, key: str) -> None:
    if (number := file.find(key)) is not None:
        del file.fields[number]


def _twice(file: GgufFile, key: str) -> None:
    if (number := file.find(key)) is not None:
        file.fields.append(file.fields[number])


def _rename(file: GgufFile, key: str, other: str) -> None:
    if (changed := file.change(key)) is not None:
        changed.key = as_bytes(other)


def _items(file: GgufFile, key: str, replaced: list[list[Any]]) -> None:
    changed = file.change(key)
    if changed is not None and isinstance(changed.value, list) and changed.value:
        for number, value in replaced:
            changed.value[number % len(changed.value)] = value


def _resize(file: GgufFile, key: str, count: int) -> None:
    changed = file.change(key)
    if changed is not None and isinstance(changed.value, list) and changed.value:
        more = min(count, MAX_ITEMS) - len(changed.value)
        changed.value = changed.value[: max(count, 0)] + changed.value[-1:] * max(more, 0)


def _claim(file: GgufFile, key: str, count: int) -> None:
    if (changed := file.change(key)) is not None:
        changed.claim = count


def _type(file: GgufFile, key: str, kind: int) -> None:
    if (changed := file.change(key)) is not None:
        changed.type = kind


def _tensor(file: GgufFile, number: int, name: str, value: Any) -> None:
    if file.tensors:
        tensor = file.tensors[number % len(file.tensors)]
        setattr(tensor, name, as_bytes(value) if name == "name" else value)


def _drop_tensor(file: GgufFile, number: int) -> None:
    if file.tensors:
        del file.tensors[number % len(file.tensors)]


def _attribute(file: GgufFile, name: str, value: Any) -> None:
    setattr(file, name, value)


def _bytes(file: GgufFile, *edit: Any) -> None:
    file.raw.append(edit)


EDITS: dict[str, Callable[..., None]] = {
    "set": _set, "fill": _fill, "drop": _drop, "twice": _twice, "rename": _rename, "items": _items, "resize": _resize, "claim": _claim,
    "type": _type, "tensor": _tensor, "drop tensor": _drop_tensor, "attribute": _attribute, "bytes": _bytes,
}  # fmt: skip

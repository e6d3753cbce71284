"""LoRA adapters: GGUFs as llama.cpp's convert_lora_to_gguf.py writes them, checked before llama.cpp is given one.

    general.type = "adapter", adapter.type = "lora", adapter.lora.alpha (float32), general.architecture as in the model
    NAME.lora_a   input length × rank       for NAME, a matrix of the base model: NAME + scale · alpha / rank · B · A
    NAME.lora_b   rank × output length      of token_embd, A is rank × vocabulary and B rank × output length

llama.cpp ends the process on metadata of another type, on shapes that it cannot multiply, and on tied embeddings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgefc.errors import AdapterError, RequestError
from edgefc.gguf.header import Header, TensorInfo
from edgefc.gguf.memory import BATCH
from edgefc.gguf.reader import parse_tensors

MAX_ADAPTERS = 16
MAX_SCALE = 1000.0
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}", re.ASCII)
_TYPES = frozenset({0, 1, 8, 30})  # F32, F16, Q8_0, BF16: what the converter writes
_NVFP4 = 40  # llama.cpp asserts that such a matrix has no adapter
_SUFFIXES = (".lora_a", ".lora_b")


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA adapter to load with a model.

    path   of the GGUF
    scale  its strength in requests that do not choose adapters; 0: only for those that do
    name   for requests; "": the file's name without its ending
    """

    path: Path | str
    scale: float = 1.0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A checked adapter file.

    alpha, rank   the strength it was trained with, and the largest rank of its matrices
    n_matrices    number of the base model's matrices that it changes
    tensor_bytes  size of its tensors
    width         length of the longest row that it adds
    """

    name: str
    path: Path
    scale: float
    alpha: float
    rank: int
    n_matrices: int
    tensor_bytes: int
    width: int

    @property
    def memory(self) -> int:
        """Bytes of main memory it needs: its tensors, and a batch's rows of what it adds."""
        return self.tensor_bytes + 4 * BATCH * (self.width + self.rank)

    def describe(self) -> str:
        """Return the adapter in one line."""
        size = f"{self.n_matrices} matrices, {self.tensor_bytes / 1e6:.1f} MB"
        return f"{self.name} at {self.scale:g}: rank {self.rank}, alpha {self.alpha:g}, {size}, {self.path}"


LoraLike = str | Path | Lora
LoraOption = LoraLike | Sequence[LoraLike] | None


def loras_of(option: LoraOption) -> tuple[Lora, ...]:
    """Return adapters with their names; texts are `[NAME=]FILE[:SCALE]`.

    Raises RequestError for invalid or equal names, and for scales out of range.
    """
    items = [option] if isinstance(option, str | Path | Lora) else list(option or ())
    loras = tuple(
        _named(parse_lora(item) if isinstance(item, str) else Lora(item) if isinstance(item, Path) else item)
        for item in items
    )
    if len(loras) > MAX_ADAPTERS:
        raise RequestError("lora", f"must be at most {MAX_ADAPTERS} adapters, not {len(loras)}")
    names = [lora.name for lora in loras]
    for name in names:
        if names.count(name) > 1:
            raise RequestError("lora", f"two adapters are named {name!r}", "Give one of them another name: NAME=FILE.")
    return loras


def _named(lora: Lora) -> Lora:
    path = Path(lora.path).expanduser()
    stem = path.name[: -len(".gguf")] if path.name.lower().endswith(".gguf") else path.name
    if not lora.name:
        return Lora(path, check_scale(lora.scale), re.sub(r"[^A-Za-z0-9.+-]", "_", stem)[:64].lstrip("_.+-") or "lora")
    if not _NAME.fullmatch(lora.name):
        raise RequestError("lora", f"invalid name {lora.name[:80]!r}", "Use letters, digits, dots and dashes.")
    return Lora(path, check_scale(lora.scale), lora.name)


def check_scale(scale: object) -> float:
    """Return a scale as a number. Raises RequestError."""
    is_number = isinstance(scale, int | float) and not isinstance(scale, bool)
    if not is_number or not -MAX_SCALE <= scale <= MAX_SCALE:  # type: ignore[operator]
        raise RequestError("lora", f"a scale must be a number from {-MAX_SCALE:g} to {MAX_SCALE:g}, not {scale!r}")
    return float(scale)  # type: ignore[arg-type]


def parse_lora(text: str) -> Lora:
    """Parse `[NAME=]FILE[:SCALE]`; a file of just this name comes first. Raises RequestError."""
    if Path(text).expanduser().is_file():
        return Lora(text)
    name, equals, file = text.partition("=")
    if not equals or not _NAME.fullmatch(name):
        name, file = "", text
    path, colon, scale = file.rpartition(":")
    try:
        return Lora(path, check_scale(float(scale)), name) if colon and path else Lora(file, name=name)
    except ValueError:  # a colon of the path
        return Lora(file, name=name)


def read_adapters(loras: Iterable[Lora], base: Header) -> tuple[Adapter, ...]:
    """Read and check adapters for a model whose header `read_model` returned.

    Raises ModelNotFoundError, ModelFileError, or its subclass AdapterError where one does not fit the model.
    """
    loras, tensors = tuple(loras), dict[str, TensorInfo]()
    for file in base.files if loras else ():
        tensors |= parse_tensors(file)[1]
    return tuple(_read_adapter(lora, base, tensors) for lora in loras)


def _read_adapter(lora: Lora, base: Header, base_tensors: Mapping[str, TensorInfo]) -> Adapter:
    path = Path(lora.path)
    header, tensors = parse_tensors(path)
    if problem := _metadata_problem(header):
        raise AdapterError(f"{path} is not a usable LoRA adapter: {problem}")
    if header.architecture != base.architecture:
        raise _misfit(path, f"it is for models of the architecture {header.architecture!r}, not {base.architecture!r}")
    pairs = _pairs(path, tensors)
    for name, (a, b) in pairs.items():
        if problem := _pair_problem(name, a, b, base_tensors):
            raise _misfit(path, problem)
    alpha = header.metadata.get("adapter.lora.alpha", 0.0)
    assert isinstance(alpha, float)
    return Adapter(
        name=lora.name,
        path=path,
        scale=lora.scale,
        alpha=alpha,
        rank=max(b.shape[0] for _, b in pairs.values()),
        n_matrices=len(pairs),
        tensor_bytes=header.tensor_bytes,
        width=max(b.shape[1] for _, b in pairs.values()),
    )


def _metadata_problem(header: Header) -> str:
    """Return a reason why llama.cpp could not read the metadata, or would compute with other figures; "" if none."""
    metadata = header.metadata
    for key, expected in (("general.type", "adapter"), ("adapter.type", "lora")):
        if (value := metadata.get(key)) != expected:
            return f"{key} must be {expected!r}, not {str(value)[:80]!r}"
    if not isinstance(metadata.get("general.architecture"), str):
        return "it names no architecture"
    alpha = metadata.get("adapter.lora.alpha", 0.0)
    if not isinstance(alpha, float) or not math.isfinite(alpha):
        return f"adapter.lora.alpha must be a finite number of the type float32, not {str(alpha)[:80]}"
    if "adapter.alora.invocation_tokens" in metadata:
        return "it is an activated LoRA (aLoRA), which only applies after certain tokens; that is unsupported"
    if metadata.get("split.count", 1) != 1:
        return "it is split into several files"
    return ""


def _pairs(path: Path, tensors: Mapping[str, TensorInfo]) -> dict[str, tuple[TensorInfo, TensorInfo]]:
    """Return the matrices A and B by the name of the tensor that they change. Raises AdapterError."""
    halves: dict[str, dict[str, TensorInfo]] = {}
    for name, tensor in tensors.items():
        base, suffix = name[:-7], name[-7:]
        if suffix in _SUFFIXES and base and ".lora_" not in base:
            halves.setdefault(base, {})[suffix] = tensor
        elif not name.endswith("_norm.weight"):  # llama.cpp leaves those out
            raise AdapterError(f"{path} is not a usable LoRA adapter: unexpected tensor {name!r}")
    pairs: dict[str, tuple[TensorInfo, TensorInfo]] = {}
    for base, half in halves.items():
        if missing := [suffix for suffix in _SUFFIXES if suffix not in half]:
            raise AdapterError(f"{path} is not a usable LoRA adapter: the tensor {base + missing[0]!r} is missing")
        pairs[base] = (half[".lora_a"], half[".lora_b"])
    if not pairs:
        raise AdapterError(f"{path} is not a usable LoRA adapter: it holds no pair of tensors")
    return pairs


def _pair_problem(name: str, a: TensorInfo, b: TensorInfo, base_tensors: Mapping[str, TensorInfo]) -> str:
    """Return a reason why a pair of matrices cannot be applied to the base model's tensor; "" if it can."""
    base = base_tensors.get(name)
    if base is None:
        return f"the model has no tensor {name!r}"
    if odd := {a.type, b.type} - _TYPES:
        return f"a matrix for {name!r} has the type {min(odd)}; F32, F16, BF16 and Q8_0 are supported"
    shapes = [tensor.shape + (1,) * (4 - len(tensor.shape)) for tensor in (a, b, base)]
    (a_in, a_out, *a_rest), (b_in, b_out, *b_rest), (n_in, n_out, *rest) = shapes
    if name.endswith("token_embd.weight"):
        if "output.weight" not in base_tensors:
            return "it changes token_embd.weight, which the model also uses as output: that is unsupported"
        fits = a_in == b_in and a_out == n_out and b_out == n_in
    else:
        fits = a_in == n_in and a_out == b_in and b_out == n_out
    if not fits or not a_rest == b_rest == rest:
        described = [" x ".join(map(str, tensor.shape)) for tensor in (a, b, base)]
        return f"for {name!r} it has {described[0]} and {described[1]}, but the model's tensor is {described[2]}"
    if len(base.shape) != (3 if "_exps." in name else 2) or base.type == _NVFP4:
        return f"the tensor {name!r} can have no adapter"
    return ""


def _misfit(path: Path, reason: str) -> AdapterError:
    hint = "An adapter belongs to one model, of any quantization: its publisher names it."
    return AdapterError(f"{path} does not fit this model: {reason}", hint)

"""LoRA adapters with random matrices, as convert_lora_to_gguf.py writes them, and models they are merged into."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.model_files import copy_metadata

ALL_LINEAR = r"blk\.\d+\.(attn_(q|k|v|output)|ffn_(gate|up|down))\.weight"


def write_adapter(
    base: Path,
    out: Path,
    *,
    rank: int = 4,
    alpha: float = 8.0,
    seed: int = 0,
    size: float = 0.2,
    tensors: str = ALL_LINEAR,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write an adapter for the base's tensors of these names; `size`: of what it adds, compared with the weights.

    metadata  texts or numbers (float32) to set; None: the key is left out
    """
    reader, rng = gguf.GGUFReader(base), np.random.default_rng(seed)
    fields: dict[str, Any] = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": alpha}
    fields["general.architecture"] = str(reader.fields["general.architecture"].contents())
    fields |= metadata or {}
    writer = gguf.GGUFWriter(out, "any")
    writer.kv_data = [{}]
    for key, value in fields.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif value is not None:
            writer.add_float32(key, value)
    for tensor in reader.tensors:
        if not re.fullmatch(tensors, tensor.name):
            continue
        n_in, n_out = (int(n) for n in tensor.shape)
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        a = rng.standard_normal((rank, n_in), dtype=np.float32)
        b = rng.standard_normal((n_out, rank), dtype=np.float32)
        b *= size * weights.std() / (np.sqrt(rank) * (alpha / rank if alpha else 1.0))
        for suffix, matrix in (("lora_a", a), ("lora_b", b)):
            # Q8_0 has blocks of 32: a row of B has `rank` numbers.
            fits = kind != gguf.GGMLQuantizationType.Q8_0 or matrix.shape[-1] % 32 == 0
            used = kind if fits else gguf.GGMLQuantizationType.F32
            writer.add_tensor(f"{tensor.name}.{suffix}", gguf.quants.quantize(matrix, used), raw_dtype=used)
    finish(writer)
    return out


def write_merged(base: Path, out: Path, adapters: Iterable[tuple[Path, float]] = ()) -> Path:
    """Write a model in 32-bit floats, with adapters merged into its weights at these scales."""
    reader = gguf.GGUFReader(base)
    writer = gguf.GGUFWriter(out, str(reader.fields["general.architecture"].contents()))
    copy_metadata(reader, writer)
    loaded = [(gguf.GGUFReader(path), scale) for path, scale in adapters]
    for tensor in reader.tensors:
        weights: NDArray[np.float32] = np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
        for adapter, scale in loaded:
            matrices = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in adapter.tensors}
            if (a := matrices.get(f"{tensor.name}.lora_a")) is not None:
                b, alpha = matrices[f"{tensor.name}.lora_b"], adapter.fields["adapter.lora.alpha"].contents()
                weights += np.float32(scale * alpha / len(a)) * (b @ a)
        writer.add_tensor(tensor.name, weights)
    finish(writer)
    return out


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

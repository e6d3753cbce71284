"""Writes a trained adapter as a GGUF file that llama.cpp and edgefc load.

    python -m mini.export --run mini/runs/v1 --out edgefc-mini.gguf

The layout is that of llama.cpp's `convert_lora_to_gguf.py`: for each matrix a `lora_a` (rank, inputs) and a `lora_b`
(outputs, rank), with alpha in the metadata; the adapter's scale is alpha / rank.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gguf
import torch

NAME = "edgefc-mini"
TYPES = {"f16": gguf.GGMLQuantizationType.F16, "q8_0": gguf.GGMLQuantizationType.Q8_0}


def write_adapter(saved: dict[str, Any], path: Path, kind: str = "f16") -> int:
    """Write an adapter, as `mini.train` saves it, and return its size in bytes."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_name(NAME)
    writer.add_license("apache-2.0")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(saved["alpha"]))
    for name, weights in saved["weights"].items():
        _, layer, matrix, part = name.split(".")
        data = gguf.quants.quantize(weights.float().contiguous().numpy(), TYPES[kind])
        writer.add_tensor(f"blk.{layer}.{matrix}.weight.lora_{part}", data, raw_dtype=TYPES[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("mini/runs/v1"), help="folder of the run")
    parser.add_argument("--checkpoint", action="store_true",
                        help="the last checkpoint, from before the learning rate falls")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("edgefc-mini.gguf"), help="file to write")
    parser.add_argument("--type", choices=TYPES, default="f16", help="of the weights; default: f16")
    options = parser.parse_args()
    name = "checkpoint.pt" if options.checkpoint else "adapter.pt"
    saved = torch.load(options.run / name, weights_only=True)
    print(f"{options.out}: {write_adapter(saved, options.out, options.type):,} bytes")


if __name__ == "__main__":
    main()

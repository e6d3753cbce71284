"""The mean of two adapters, as a GGUF file: it keeps more of what each knows than the later one of two sittings does.

    python -m mini.mean ONE.gguf OTHER.gguf --out edgefc-mini.gguf

What is averaged are the changes that the adapters make to the matrices, the products of their factors, not the factors.
The mean has twice the rank; of its singular values, the largest are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import torch
from torch import Tensor

from mini.export import write_adapter
from mini.network import read_adapter


def mean(one: dict[str, Tensor], other: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return the factors, with the rank of `one`, of (1 - share) · one + share · other."""
    factors: dict[str, Tensor] = {}
    for name in (name for name in one if name.endswith(".a")):
        up, rank = f"{name[:-1]}b", len(one[name])
        a = torch.cat([one[name] * (1 - share), other[name] * share])
        b = torch.cat([one[up], other[up]], 1)
        q_b, r_b = torch.linalg.qr(b)
        q_a, r_a = torch.linalg.qr(a.T)
        left, values, right = torch.linalg.svd(r_b @ r_a.T)
        roots = values[:rank].sqrt()
        factors[name] = ((q_a @ right[:rank].T) * roots).T.contiguous()
        factors[up] = ((q_b @ left[:, :rank]) * roots).contiguous()
    return factors


def alpha_of(path: Path) -> float:
    """Return the alpha of an adapter file."""
    return float(gguf.GGUFReader(path).fields["adapter.lora.alpha"].contents())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="share of the other one")
    parser.add_argument("--out", type=Path, default=Path("edgefc-mini.gguf"), help="file to write")
    options = parser.parse_args()
    if (alpha := alpha_of(options.one)) != alpha_of(options.other):
        parser.error("the adapters have different alphas")
    factors = mean(read_adapter(options.one), read_adapter(options.other), options.share)
    size = write_adapter({"weights": factors, "alpha": alpha}, options.out, "q8_0")
    print(f"{options.out}: {size:,} bytes")


if __name__ == "__main__":
    main()

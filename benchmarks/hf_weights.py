"""Writes the weights of a GGUF as a folder that vLLM and SGLang load, so that both sides compute the same model.

    python benchmarks/hf_weights.py MODEL.gguf FOLDER

Run it where vLLM is installed; it needs `transformers`, `gguf` and `accelerate`, which edgefc does not.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def write(source: Path, folder: Path) -> None:
    """Write configuration, tokenizer and weights, in 32 bits; transformers reads the architecture it knows."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    names = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    model = AutoModelForCausalLM.from_pretrained(**names, dtype=torch.float32)
    weights = {name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for part in (model.config, model.generation_config, AutoTokenizer.from_pretrained(**names)):
        part.save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    write(options.model, options.folder)

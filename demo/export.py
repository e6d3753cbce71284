"""Writes a trained demo model as GGUF, with its tokenizer, into the package.

python -m demo.export --run demo/runs/v1 [--check]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer

from demo.generate import conversation, render
from demo.network import SHAPES, Network, Shape
from demo.tokenizer import SPECIALS

OUT = Path(__file__).parents[1] / "edgefc" / "models" / "demo"
# Only edgefc can render the tools; the comment is what it recognises the family by.
TEMPLATE = (
    "{# edgefc family=demo #}"
    "{{ raise_exception('This model needs edgefc: its tools are not rendered by this template.') }}"
)
Q8 = gguf.GGMLQuantizationType.Q8_0
# Modules of the network whose names differ in GGUF.
GGUF_NAMES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up",
         "down": "ffn_down", "embedding": "token_embd", "norm": "output_norm"}  # fmt: skip


def gguf_name(name: str) -> str:
    """The GGUF tensor name of a parameter of the network."""
    *layer, part, kind = name.split(".")
    block = f"blk.{layer[1]}." if layer else ""
    return f"{block}{GGUF_NAMES.get(part, part)}.{kind}"


def read_parameters(path: Path, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Read these parameters of the network from a GGUF, to continue training from it; Q8_0 loses little."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    pairs = [(name, tensors[gguf_name(name)]) for name in names]
    return {name: torch.tensor(gguf.quants.dequantize(t.data, t.tensor_type)) for name, t in pairs}


def load_network(run: Path) -> Network:
    """The network of a run's checkpoint, in evaluation mode."""
    saved = torch.load(run / "checkpoint.pt", weights_only=True, map_location="cpu")
    network = Network(SHAPES[saved["shape"]])
    network.load_state_dict(saved["network"])
    return network.eval()


def export(run: Path, out: Path) -> Path:
    """Write `demo-q8_0.gguf` and `tokenizer.json` to a folder; returns the path of the GGUF."""
    network = load_network(run)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = json.loads((run / "tokenizer.json").read_text(encoding="utf-8"))
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    path = out / "demo-q8_0.gguf"
    writer = gguf.GGUFWriter(str(path), "qwen2")
    add_metadata(writer, network.shape)
    add_vocabulary(writer, tokenizer)
    writer.add_chat_template(TEMPLATE)
    for name, value in network.state_dict().items():
        add_tensor(writer, gguf_name(name), value.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_metadata(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name("edgefc demo")
    writer.add_license("apache-2.0")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def add_tensor(writer: gguf.GGUFWriter, name: str, value: np.ndarray) -> None:
    """Add a matrix as Q8_0, or a vector as float32."""
    if value.ndim == 2:
        writer.add_tensor(name, gguf.quants.quantize(value, Q8), raw_dtype=Q8)
    else:
        writer.add_tensor(name, value.astype(np.float32))


def add_vocabulary(writer: gguf.GGUFWriter, tokenizer: dict[str, Any]) -> None:
    """Add tokens and merges from the contents of a `tokenizer.json`."""
    vocab = tokenizer["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.__getitem__)
    assert [vocab[token] for token in tokens] == list(range(len(tokens)))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    types = gguf.TokenType
    writer.add_token_types([types.CONTROL if token in SPECIALS else types.NORMAL for token in tokens])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([" ".join(merge) if isinstance(merge, list) else merge for merge in merges])
    writer.add_eos_token_id(vocab["<|im_end|>"])
    writer.add_pad_token_id(vocab["<|endoftext|>"])
    writer.add_add_bos_token(False)


def check(run: Path, path: Path, texts: int = 10) -> None:
    """Check that llama.cpp predicts the same next tokens as PyTorch, on generated conversations."""
    from edgefc.engine import llama
    from edgefc.engine.context import Context, Rows

    network = load_network(run)
    encoder = Tokenizer.from_file(str(run / "tokenizer.json"))
    model = llama.Model(path, n_gpu_layers=0)
    context = Context(model, n_ctx=2048, n_batch=2, n_seq_max=1, n_threads=1, n_threads_batch=1)
    same = total = 0
    for number in range(texts):
        ids = encoder.encode(render(*conversation(10**9 + number)), add_special_tokens=False).ids[:1024]
        context.truncate(0)
        exported: list[int] = []
        for position, token in enumerate(ids):
            assert context.decode([Rows(0, position, [token], 1)]) == 0
            exported.append(int(np.argmax(context.logits(0))))
        with torch.no_grad():
            hidden = network(torch.tensor([ids]))[0].float()
            trained = (hidden @ network.embedding.weight.T).argmax(-1).tolist()
        same += sum(a == b for a, b in zip(trained, exported, strict=True))
        total += len(ids)
    print(f"llama.cpp and PyTorch predict the same token at {same} of {total} positions ({same / total:.2%})")
    assert same / total > 0.97, "the exported model differs from the trained one"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("demo/runs/v1"), help="folder with checkpoint and tokenizer")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write to (default: the package)")
    parser.add_argument("--check", action="store_true", help="compare llama.cpp's predictions with PyTorch's")
    options = parser.parse_args()
    path = export(options.run, options.out)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    if options.check:
        check(options.run, path)


if __name__ == "__main__":
    main()

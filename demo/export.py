"""Writes the trained demo model as GGUF and puts it, with its tokenizer, into the package.

python -m demo.export --run demo/runs/v1 [--check]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import gguf
import numpy as np
import torch

from demo.generate import ROOT
from demo.network import SHAPES, Network
from demo.tokenizer import SPECIALS

OUT = ROOT / "edgefc" / "models" / "demo"
TEMPLATE = "{# edgefc family=demo #}{{ raise_exception('This model needs edgefc: its tools are not rendered by this template.') }}"
Q8 = gguf.GGMLQuantizationType.Q8_0
# The network's names for its parts, where GGUF has others.
NAMES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up",
         "down": "ffn_down", "embedding": "token_embd", "norm": "output_norm"}  # fmt: skip


def gguf_name(name: str) -> str:
    """What GGUF calls a parameter of the network."""
    *layer, part, kind = name.split(".")
    block = f"blk.{layer[1]}." if layer else ""
    return f"{block}{NAMES.get(part, part)}.{kind}"


def read(path: Path, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """These parameters of the network from a GGUF, to go on training from it; Q8_0 loses little of them."""
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    found = {name: stored[gguf_name(name)] for name in names}
    return {name: torch.tensor(gguf.quants.dequantize(t.data, t.tensor_type)) for name, t in found.items()}


def load(run: Path) -> Network:
    saved = torch.load(run / "checkpoint.pt", weights_only=True, map_location="cpu")
    network = Network(SHAPES[saved["shape"]])
    network.load_state_dict(saved["network"])
    return network.eval()


def write(run: Path, out: Path) -> Path:
    network = load(run)
    shape = network.shape
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = json.loads((run / "tokenizer.json").read_text(encoding="utf-8"))
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    path = out / "demo-q8_0.gguf"
    w = gguf.GGUFWriter(str(path), "qwen2")
    w.add_name("edgefc demo")
    w.add_license("apache-2.0")
    w.add_context_length(shape.context)
    w.add_embedding_length(shape.width)
    w.add_block_count(shape.layers)
    w.add_feed_forward_length(shape.hidden)
    w.add_head_count(shape.heads)
    w.add_head_count_kv(shape.heads)
    w.add_rope_freq_base(shape.rope_base)
    w.add_layer_norm_rms_eps(shape.epsilon)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    add_vocabulary(w, run / "tokenizer.json")
    w.add_chat_template(TEMPLATE)
    state = {name: value.float().numpy() for name, value in network.state_dict().items()}
    for name, value in state.items():
        add(w, gguf_name(name), value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


def add(w: gguf.GGUFWriter, name: str, value: np.ndarray) -> None:
    """Matrices as Q8_0, the rest as it is."""
    if value.ndim == 2:
        w.add_tensor(name, gguf.quants.quantize(value, Q8), raw_dtype=Q8)
    else:
        w.add_tensor(name, value.astype(np.float32))


def add_vocabulary(w: gguf.GGUFWriter, path: Path) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    vocab = data["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.__getitem__)
    assert [vocab[t] for t in tokens] == list(range(len(tokens)))
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL if t in SPECIALS else gguf.TokenType.NORMAL for t in tokens])
    w.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in data["model"]["merges"]])
    w.add_eos_token_id(vocab["<|im_end|>"])
    w.add_pad_token_id(vocab["<|endoftext|>"])
    w.add_add_bos_token(False)


def check(run: Path, path: Path, texts: int = 10) -> None:
    """Prove that llama.cpp computes what PyTorch does: the likeliest next token, on real conversations."""
    from tokenizers import Tokenizer

    from demo.generate import conversation, render
    from edgefc.engine import llama
    from edgefc.engine.context import Context, Rows

    network = load(run)
    encoder = Tokenizer.from_file(str(run / "tokenizer.json"))
    model = llama.Model(path, n_gpu_layers=0)
    context = Context(model, n_ctx=2048, n_batch=2, n_seq_max=1, n_threads=1, n_threads_batch=1)
    same = total = 0
    for number in range(texts):
        ids = encoder.encode(render(*conversation(10**9 + number)), add_special_tokens=False).ids[:1024]
        context.forget(0)
        theirs: list[int] = []
        for place, token in enumerate(ids):
            assert context.decode([Rows(0, place, [token], wanted=1)]) == 0
            theirs.append(int(np.argmax(context.logits(0))))
        with torch.no_grad():
            hidden = network(torch.tensor([ids]))[0].float()
            ours = (hidden @ network.embedding.weight.T).argmax(-1).tolist()
        same += sum(a == b for a, b in zip(ours, theirs, strict=True))
        total += len(ids)
    print(f"llama.cpp's likeliest token is PyTorch's at {same} of {total} places ({same / total:.2%})")
    assert same / total > 0.97, "the exported model is not the trained one"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("demo/runs/v1"))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    made = write(options.run, options.out)
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB")
    if options.check:
        check(options.run, made)

"""LoRA adapters: read, described, and computed with by llama.cpp."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from tests.fuzz.gguf_file import FLOAT32, STRING, Edit, Field, GgufFile, Tensor, read
from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import Case
from tests.fuzz.targets.gguf import Gguf

TENSORS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
LAYERS, RANK = 2, 4
NAMES = (
    "token_embd.weight.lora_a", "token_embd.weight.lora_b", "output.weight.lora_a", "blk.0.attn_q.weight.lora_b",
    "blk.0.attn_norm.weight", "blk.0.attn_norm.weight.lora_a", "blk.99.ffn_up.weight.lora_a", "x.lora_a", ".lora_b",
)  # fmt: skip


class AdapterFile(Gguf):
    """Cases are those of `Gguf`, with an adapter of the first layers as the file that is changed."""

    def start(self, folder: Path) -> None:
        from edgefc import gguf
        from edgefc.engine import adapters, context, llama

        super().start(folder)
        self._header = gguf.read_model(self.model)
        self._model = llama.Model(self.model, n_gpu_layers=0)
        self._context = context.Context(self._model, n_ctx=64, n_batch=64, n_seq_max=1, n_threads=1, n_threads_batch=1)
        self._adapters, self._rows = adapters.Adapters, context.Rows

    def run(self, case: Case) -> str:
        from edgefc.gguf.adapter import Lora, loras_of, read_adapters

        path = self._folder / case["name"]
        self._base.apply(case["edits"]).write(path)
        try:
            self._inspection.describe(str(self.model), check_tokenizer=False, lora=path)
            loaded = self._adapters(self._model, read_adapters(loras_of(Lora(path, name="a")), self._header))
        finally:
            path.unlink()
        self._context.use(loaded, loaded.usual)
        status = self._context.decode([self._rows(0, 0, [5, 6, 7], 1)])
        self._context.truncate(0)
        self._context.use(loaded, loaded.choose({}))
        loaded.close()
        return "computed" if status == 0 else "failed"

    def close(self) -> None:
        if hasattr(self, "_context"):
            self._context.close()
            self._model.close()

    @cached_property
    def _file(self) -> GgufFile:
        base = read(self.model)
        fields = [Field(key.encode(), STRING, value.encode()) for key, value in self._texts(base).items()]
        fields.append(Field(b"adapter.lora.alpha", FLOAT32, 8.0))
        shapes = {tensor.name.decode(): tensor.shape for tensor in base.tensors}
        tensors: list[Tensor] = []
        for layer in range(LAYERS):
            for part in TENSORS:
                name = f"blk.{layer}.{part}.weight"
                n_in, n_out = shapes[name]
                tensors.append(Tensor(f"{name}.lora_a".encode(), [n_in, RANK], 0))
                tensors.append(Tensor(f"{name}.lora_b".encode(), [RANK, n_out], 0))
        return GgufFile(fields, tensors)

    def _texts(self, base: GgufFile) -> dict[str, str]:
        number = base.find("general.architecture")
        assert number is not None
        architecture: Any = base.fields[number].value
        return {
            "general.architecture": architecture.decode(),
            "general.type": "adapter",
            "adapter.type": "lora",
            "general.name": "fuzzed",
        }

    def _tensor_edit(self, mutator: Mutator) -> Edit:
        rng, number = mutator.rng, mutator.rng.randrange(1 << 16)
        if mutator.chance(0.3):
            return ["tensor", number, "name", rng.choice(NAMES)]
        if mutator.chance(0.4):
            sizes = (1, RANK, 2 * RANK, 32, 64, 192, 256, 512, 6144)
            return ["tensor", number, "shape", [rng.choice(sizes) for _ in range(rng.choice((1, 2, 2, 2, 3)))]]
        return super()._tensor_edit(mutator)


TARGET = AdapterFile

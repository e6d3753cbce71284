"""GGUF files: read, described, and loaded by llama.cpp."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.gguf_file import ARRAY, SCALARS, STRING, Edit, GgufFile, read
from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import BaseTarget, Case

TYPES = (*SCALARS, STRING, ARRAY, 13, 99, 2**32 - 1)
KEYS = (
    "general.name", "general.architecture", "general.type", "general.alignment", "general.file_type", "split.count",
    "split.no", "split.tensors.count", "tokenizer.chat_template", "tokenizer.chat_template.tool_use", "tokenizer.ggml.model",
    "tokenizer.ggml.pre", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.scores",
    "tokenizer.ggml.merges", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.padding_token_id", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_space_prefix",
    "tokenizer.ggml.precompiled_charsmap", "tokenizer.huggingface.json",
)  # fmt: skip
OF_ARCHITECTURE = (
    "block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon",
    "attention.sliding_window", "attention.causal", "rope.dimension_count", "rope.freq_base", "rope.scaling.type",
    "rope.scaling.factor", "rope.scaling.original_context_length", "rope.dimension_sections", "expert_count",
    "expert_used_count", "expert_group_count", "nextn_predict_layers", "vocab_size", "pooling_type",
    "logit_scale", "attn_logit_softcapping",
)  # fmt: skip
NAMES = ("m.gguf", "Arch-Function-3B.Q4_K_M.gguf", "m-00001-of-00002.gguf", "xLAM-2-1b.gguf", "\u202em.gguf")
QUESTION: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]


class Gguf(BaseTarget):
    """Cases are {"name": of the file, "edits": of tests.fuzz.gguf_file}."""

    def make(self, rng: Random, seeds: Sequence[Case]) -> Case:
        mutator = Mutator(rng)
        base = rng.choice(seeds) if seeds and mutator.chance(0.3) else {"name": NAMES[0], "edits": []}
        edits = list(base["edits"])
        for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
            edits.append(self._edit(mutator))
        return {"name": rng.choice(NAMES) if mutator.chance(0.1) else base["name"], "edits": edits}

    def start(self, folder: Path) -> None:
        import edgefc
        from edgefc import inspection

        self._edgefc, self._inspection = edgefc, inspection
        self._folder, self._base = folder / "files", self._file
        self._folder.mkdir()

    def run(self, case: Case) -> str:
        path = self._folder / case["name"]
        self._base.apply(case["edits"]).write(path)
        try:
            self._inspection.describe(str(path))
            with self._edgefc.load(path, n_ctx=256, n_parallel=1, n_threads=1, prefix_disk=0) as model:
                model.chat(QUESTION, max_tokens=2, temperature=0)
        finally:
            path.unlink()
        return "loaded"

    @cached_property
    def _file(self) -> GgufFile:
        return read(self.model)

    @cached_property
    def _architecture(self) -> str:
        number = self._file.find("general.architecture")
        return "" if number is None else self._file.fields[number].value.decode()

    def _edit(self, mutator: Mutator) -> Edit:
        rng, key = mutator.rng, self._key(mutator)
        match rng.randrange(12):
            case 0 | 1:
                return ["set", key, *self._value(mutator, key)]
            case 2:
                return ["set", key, rng.choice(TYPES), mutator.value(1)]
            case 3:
                return ["set", key, ARRAY, [mutator.value(0) for _ in range(rng.randrange(80))], rng.choice(TYPES)]
            case 4:
                return [rng.choice(("drop", "twice")), key]
            case 5:
                return ["rename", key, mutator.text() if mutator.chance(0.3) else self._key(mutator)]
            case 6 | 7:
                key = rng.choice([one for one in KEYS if one.startswith("tokenizer.ggml")])
                replaced = [[rng.randrange(1 << 20), mutator.value(0)] for _ in range(rng.choice((1, 1, 10, 300)))]
                return ["items", key, replaced]
            case 8:
                count = rng.choice((0, 1, 31, 255, 1000, 6143, 6145, 200_000))
                return [
                    rng.choice(("resize", "claim")),
                    key,
                    rng.choice((count, int(rng.choice((2**31, 2**40, 2**63, -1))))),
                ]
            case 9:
                return ["type", key, rng.choice(TYPES)]
            case 10:
                return self._tensor_edit(mutator)
            case _:
                return self._raw_edit(mutator)

    def _key(self, mutator: Mutator) -> str:
        """Choose a key, most often one that is there."""
        pick = mutator.rng.randrange(4)
        if pick < 2:
            return mutator.rng.choice(self._file.fields).key.decode()
        if pick == 2:
            return f"{self._architecture}.{mutator.rng.choice(OF_ARCHITECTURE)}"
        return mutator.rng.choice(KEYS)

    def _value(self, mutator: Mutator, key: str) -> list[Any]:
        """Make a value of the type that the key has."""
        number = self._file.find(key)
        if number is None:
            return [mutator.rng.choice((4, 5, 6, 7, STRING)), mutator.value(0)]
        field = self._file.fields[number]
        if field.type == STRING:
            text = field.value.decode("utf-8", "replace")
            return [STRING, mutator.change_text(text) if mutator.chance(0.5) else mutator.text()]
        if field.type == ARRAY:
            return [ARRAY, [mutator.value(0) for _ in range(mutator.rng.randrange(300))], field.items]
        return [field.type, mutator.number()]

    def _tensor_edit(self, mutator: Mutator) -> Edit:
        rng = mutator.rng
        number = rng.randrange(1 << 16)
        match rng.randrange(5):
            case 0:
                return ["drop tensor", number]
            case 1:
                return ["tensor", number, "type", rng.choice((*range(43), 99, 2**32 - 1))]
            case 2:
                shape = [
                    rng.choice((0, 1, 2, 32, 64, 256, 6144, 2**31, 2**63))
                    for _ in range(rng.choice((0, 1, 2, 2, 4, 5)))
                ]
                return ["tensor", number, "shape", shape]
            case 3:
                return ["tensor", number, "offset", rng.choice((0, 1, 32, 2**40, 2**64 - 32))]
            case _:
                names = (
                    "output.weight",
                    "token_embd.weight",
                    "blk.0.attn_q.weight",
                    "blk.0.attn_q.bias",
                    mutator.text(),
                )
                return ["tensor", number, "name", rng.choice(names)]

    def _raw_edit(self, mutator: Mutator) -> Edit:
        rng = mutator.rng
        match rng.randrange(4):
            case 0:
                return ["attribute", "version", rng.choice((0, 1, 2, 3, 4, 2**24 * 3))]
            case 1:
                return ["attribute", rng.choice(("n_fields", "n_tensors")), rng.choice((0, 1, 5, 1000, 2**31, 2**63))]
            case 2:
                return ["attribute", "size", rng.random()]
            case _:
                return ["bytes", *mutator.change_bytes(rng.choice((100, 3000, 200_000)))]


TARGET = Gguf

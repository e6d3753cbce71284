"""tokenizer.json beside a model."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from edgefc import paths
from tests.fuzz.mutation import Mutator, as_bytes
from tests.fuzz.targets import BaseTarget, BrokenPromiseError, Case

PATTERNS = (
    "\\s+$", "(a+)+b", "(?:a|a)*b", "(?=a)", "\\p{L}+", "[^\\s\\p{L}\\p{N}]+[\\r\\n]*", "a{1,64}", "(a{64}){64}", "(?<n>a)\\k<n>",
    "(?i:'s|'t)|\\s+(?!\\S)", "[", "(", "\\", "(?~a)", "\\X*", "(?R)", "a**", ".*.*.*.*x", "(x+x+)+y", "[[a]&&[b]]", "",
)  # fmt: skip
STEPS: tuple[dict[str, Any], ...] = (
    {"type": "NFC"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True},
    {"type": "Replace", "pattern": {"Regex": "(a+)+b"}, "content": "x"}, {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    {"type": "BertNormalizer"}, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    {"type": "Whitespace"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    {"type": "Digits", "individual_digits": True}, {"type": "Punctuation", "behavior": "Isolated"},
    {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}], "pair": [],
     "special_tokens": {"<|im_end|>": {"id": "<|im_end|>", "ids": [2], "tokens": ["<|im_end|>"]}}},
    {"type": "Fuse"}, {"type": "ByteFallback"}, {"type": "CTC"}, {"type": "Sequence", "normalizers": []},
)  # fmt: skip
PARTS = (
    "normalizer",
    "pre_tokenizer",
    "post_processor",
    "decoder",
    "truncation",
    "padding",
    "added_tokens",
    "model",
    "version",
)
TEXTS = (
    "Hello world",
    'a{"b": [1, 2.5]}\n\n',
    "é🙂 日本",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac",
    " \t" * 500,
    "word " * 400,
    "\0\x1b",
)
TRUNCATION = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 64},
    "direction": "Left",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "x",
}


class TokenizerTarget(BaseTarget):
    """Cases are changes of the demo model's file: [[path, value], …], and one of its text."""

    def make(self, rng: Random, seeds: Sequence[Case]) -> Case:
        mutator = Mutator(rng)
        changes = list(rng.choice(seeds)["changes"]) if seeds and mutator.chance(0.2) else []
        for _ in range(rng.choice((1, 1, 2, 3))):
            changes.append(self._change(mutator))
        case: dict[str, Any] = {"changes": changes}
        if mutator.chance(0.1):
            case["text"] = [rng.randrange(170_000), rng.choice((0, 1, 100_000)), mutator.write_json(mutator.value())]
        return case

    def start(self, folder: Path) -> None:
        from edgefc.engine import llama
        from edgefc.engine.tokenizer import Tokenizer

        demo = paths.demo_model()
        self._fields = json.loads(demo.with_name("tokenizer.json").read_text())
        self._model = llama.Model(demo, n_gpu_layers=0, vocab_only=True)
        self._path, self._tokenizer = folder / "tokenizer.json", Tokenizer

    def run(self, case: Case) -> str:
        fields = json.loads(json.dumps(self._fields))
        for path, value in case["changes"]:
            parent: Any = fields
            for key in path[:-1]:
                parent = parent.setdefault(key, {}) if isinstance(parent, dict) else {}
            if isinstance(parent, dict):
                parent[path[-1]] = value
        text = json.dumps(fields)
        if "text" in case:
            begin, size, new = case["text"]
            text = text[:begin] + new + text[begin + size :]
        self._path.write_bytes(as_bytes(text))
        tokenizer = self._tokenizer(self._model.vocabulary, self._path)
        for one in TEXTS:
            ids = tokenizer.encode(one)
            back = tokenizer.decode(ids)
            if normal(back) != normal(one) and tokenizer.source != "llama.cpp":
                raise BrokenPromiseError(f"{one[:50]!r} became {back[:50]!r}; notes: {tokenizer.notes}")
        return tokenizer.source

    def _change(self, mutator: Mutator) -> list[Any]:
        rng = mutator.rng
        part = rng.choice(PARTS)
        match rng.randrange(6):
            case 0:
                return rng.choice((
                    [["truncation"], TRUNCATION | {"max_length": mutator.number(), "stride": mutator.number()}],
                    [["truncation"], TRUNCATION], [["padding"], PADDING], [["padding"], mutator.change_json(PADDING)],
                ))  # fmt: skip
            case 1:
                step = {"type": "Split", "pattern": {rng.choice(("Regex", "String")): self._pattern(mutator)},
                        "behavior": rng.choice(("Isolated", "Removed", "MergedWithNext")), "invert": mutator.chance(0.3)}  # fmt: skip
                return [["pre_tokenizer"], self._sequence(mutator, [step, STEPS[8]])]
            case 2:
                return [[part], self._sequence(mutator, [rng.choice(STEPS) for _ in range(rng.choice((1, 1, 2, 20)))])]
            case 3:
                key = rng.choice(("type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                                  "byte_fallback", "ignore_merges", "merges", "vocab", mutator.text()))  # fmt: skip
                return [["model", key], mutator.value()]
            case 4:
                return [["model", "vocab", rng.choice(("!", "a", "the", mutator.text()))], mutator.value(0)]
            case _:
                return [[part], mutator.change_json(rng.choice(STEPS))]

    def _pattern(self, mutator: Mutator) -> str:
        pattern = mutator.rng.choice(PATTERNS)
        return mutator.change_text(pattern) if mutator.chance(0.5) else pattern

    def _sequence(self, mutator: Mutator, steps: list[Any]) -> Any:
        if len(steps) == 1 and mutator.chance(0.7):
            return steps[0]
        return {
            "type": "Sequence",
            mutator.rng.choice(("normalizers", "pretokenizers", "decoders", "processors")): steps,
        }


def normal(text: str) -> str:
    """Return a text without what some models' tokenizers add or change: a space before it, composed characters."""
    return unicodedata.normalize("NFKD", text.removeprefix(" "))


TARGET = TokenizerTarget

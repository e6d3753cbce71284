"""The demo model's tokenizer: byte-level BPE whose tokens never join a space to a word.

So a value has the same tokens after a space in the user's text and after a quote in a call's JSON, and a very small
model can copy it token by token. The pre-tokenizer is llama.cpp's `smollm`: single digits, then GPT-2's split.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Split

from demo.generate import conversation, render

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCAB_SIZE = 6144


def train(path: Path, conversations: int = 12000) -> Tokenizer:
    """Train a tokenizer on generated conversations and save it."""
    tokenizer = Tokenizer(models.BPE())
    # Only in training do spaces stand apart, so that no merge joins one to a word.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [Split(" ", "isolated"), Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIALS,
        initial_alphabet=ByteLevel.alphabet(),
        max_token_length=14,
        show_progress=False,
    )
    tokenizer.train_from_iterator((render(*conversation(10**9 + i)) for i in range(conversations)), trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIALS])
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return tokenizer


def load(path: Path) -> Tokenizer:
    """Load the tokenizer of a run, or train one if there is none yet."""
    return Tokenizer.from_file(str(path)) if path.exists() else train(path)

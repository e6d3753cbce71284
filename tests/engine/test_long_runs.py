"""Runs of one kind of characters that overflow the stack of a tokenizer, or take the square of their length."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefc.engine import Engine
from edgefc.engine.text_runs import MAX_BLANK, MAX_RUN, cut_blanks, cut_runs
from edgefc.errors import ContextOverflowError
from edgefc.formats import Prompt
from tests.bounded import run_bounded
from tests.gguf_edit import edit_metadata

# llama.cpp splits the texts of the first two with std::regex, and of the last with functions of its own.
PRE_TOKENIZERS = ["deepseek-coder", "tekken", "llama-bpe"]
SCRIPT = """
import sys
import threading
from pathlib import Path
from edgefc.engine.llama import Model
from edgefc.engine.tokenizer import Tokenizer

tokenizer = Tokenizer(Model(Path(sys.argv[1]), n_gpu_layers=0, vocab_only=True).vocabulary)

def encode():
    for unit in ("a", "!", " ", "\\n", "\u5b57", "aB", " \\n", "1"):
        text = "x" + unit * 100_000 + "x"
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.decode(tokenizer.encode_text(text)) == text
    print("survived")

thread = threading.Thread(target=encode)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("pre_tokenizer", PRE_TOKENIZERS)
def test_long_runs_are_read_by_every_pre_tokenizer(pre_tokenizer: str, demo_path: Path, tmp_path: Path) -> None:
    path = edit_metadata(demo_path, tmp_path / "m.gguf", {"tokenizer.ggml.pre": pre_tokenizer})
    result = run_bounded(["-c", SCRIPT, path], tmp_path)
    assert result.stdout == "survived\n", (result.returncode, result.stderr[-1000:])


def test_pieces_are_the_text_without_long_runs() -> None:
    text = "word " * 5000 + "a" * 10_000 + " " * 3000 + "!?" * 5000 + "\n"
    for cut, limit in ((cut_runs, MAX_RUN), (cut_blanks, MAX_BLANK)):
        pieces = list(cut(text))
        assert "".join(pieces) == text
        assert not any(piece.isspace() and len(piece) > limit for piece in pieces)
    assert list(cut_runs("a few words")) == ["a few words"]
    assert list(cut_runs("")) == [""]


def test_a_prompt_that_cannot_fit_is_refused_before_it_is_encoded(demo_path: Path) -> None:
    with Engine.load(demo_path) as engine:
        tokenizer, n_ctx = engine.tokenizer, engine.n_ctx
        longest = max(map(len, tokenizer.vocabulary.pieces))
        with pytest.raises(ContextOverflowError):
            tokenizer.encode("a" * (longest * n_ctx), n_ctx=n_ctx)
        with pytest.raises(ContextOverflowError):  # each of the pieces is at least a token
            tokenizer.encode(Prompt("<|im_end|>" * n_ctx, tuple(range(5, 10 * n_ctx, 10))), n_ctx=n_ctx)
        assert tokenizer.encode("hello " * 10, n_ctx=n_ctx) == tokenizer.encode("hello " * 10)

"""The vocabulary of a `tokenizer.json` alone is the one that llama.cpp reads from the GGUF."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from llguidance import LLTokenizer

from edgefc import inspection
from edgefc.engine.constraint import Constraint
from edgefc.engine.tokenizer import PROBES, Tokenizer
from edgefc.engine.tokenizer_files import TOKENIZER, FileVocabulary, open_beside, open_folder
from edgefc.errors import ModelFileError
from edgefc.gguf import read_header
from edgefc.grammar import compile_schema


def test_it_is_llama_cpp_s(demo_path: Path) -> None:
    own = inspection.tokenizer_of(str(demo_path))
    vocabulary = open_beside(demo_path, read_header(demo_path).metadata, None)
    there = Tokenizer(vocabulary, demo_path.with_name(TOKENIZER))
    assert vocabulary.pieces == own.vocabulary.pieces
    assert (vocabulary.eos, vocabulary.add_bos) == (own.vocabulary.eos, own.vocabulary.add_bos)
    assert (there.eog, there.control, there.special_tokens) == (own.eog, own.control, own.special_tokens)
    for text in (*PROBES, "<|im_start|>user"):
        assert there.encode(text) == own.encode(text)
        assert there.spell(text.encode()) == own.spell(text.encode())


def test_a_grammar_allows_the_same_tokens(demo_path: Path) -> None:
    vocabulary = open_beside(demo_path, read_header(demo_path).metadata, None)
    constraint = Constraint(vocabulary.guidance(), compile_schema({"type": "string"}))
    allowed = [vocabulary.pieces[token] for token in constraint.mask().nonzero()[0].tolist()]
    assert b'"' in allowed
    assert all(piece.startswith(b'"') for piece in allowed)
    assert b"<|im_end|>" not in allowed


def test_markers_are_those_of_llguidance(demo_path: Path, tmp_path: Path) -> None:
    found = tokenizers.Tokenizer.from_file(str(demo_path.with_name(TOKENIZER)))
    texts = ("<think>", "</tool_call>", "<|tool|>", "<a b>", "<a\nb>", "[TOOL_CALLS]", "<xyz", "xyz>", "<>q")
    found.add_tokens([tokenizers.AddedToken(text, special=False, normalized=False) for text in texts])
    found.save(str(tmp_path / TOKENIZER))
    vocabulary = FileVocabulary(tmp_path / TOKENIZER)
    tokenizer = Tokenizer(vocabulary)
    assert not {tokenizer.special_id(text) for text in texts} & vocabulary.control
    control = tokenizer.add_markers() | vocabulary.control
    theirs = LLTokenizer((tmp_path / TOKENIZER).read_text(encoding="utf-8"), n_vocab=vocabulary.size)
    for text in texts:
        token = tokenizer.special_id(text)
        assert token is not None
        assert theirs.is_special_token(token) == (token in control) == (text in tokenizer.control), text
        constraint = Constraint(vocabulary.guidance(control), compile_schema({"const": text}))
        quote = vocabulary.tokenize('"', parse_special=False)[0]
        assert constraint.mask()[quote]
        free = Constraint(vocabulary.guidance(control), compile_schema({"type": "string"}))
        free.consume(quote)
        assert free.mask()[token] == (token not in control), "text allows what is no control token"


def sentencepiece(path: Path) -> None:
    """Write a small tokenizer with SentencePiece's letters: ▁ for spaces, <0x..> for bytes."""
    bytes_ = {f"<0x{byte:02X}>": byte + 3 for byte in range(256)}
    words = {"<unk>": 0, "<s>": 1, "</s>": 2, **bytes_, "▁": 259, "a": 260, "▁a": 261}
    model = tokenizers.models.BPE(words, [("▁", "a")], byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    found = tokenizers.Tokenizer(model)
    found.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    )
    found.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    found.add_special_tokens([tokenizers.AddedToken(text, special=True) for text in ("<unk>", "<s>", "</s>")])
    found.add_tokens([tokenizers.AddedToken("[CALL]", special=False)])
    found.save(str(path / TOKENIZER))


def test_a_folder_tells_first_and_last_tokens_and_the_template(tmp_path: Path) -> None:
    sentencepiece(tmp_path)
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": True,
              "chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]}  # fmt: skip
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 260]}', encoding="utf-8")
    (tmp_path / "config.json").write_text('{"vocab_size": 300, "_name_or_path": "owner/Name"}', encoding="utf-8")
    vocabulary, metadata = open_folder(tmp_path)
    assert metadata == {"general.name": "owner/Name", "tokenizer.chat_template": "tools"}
    assert (vocabulary.size, vocabulary.bos, vocabulary.eos, vocabulary.add_bos) == (300, 1, 2, True)
    assert vocabulary.eog == {2, 260}
    assert [vocabulary.pieces[token] for token in (3 + 0xE2, 259, 261, 262, 299)] == [
        b"\xe2",
        b" ",
        b" a",
        b"[CALL]",
        b"",
    ]
    assert {1, 2, 299} <= vocabulary.control
    assert 262 not in vocabulary.control
    assert Tokenizer(vocabulary, tmp_path / TOKENIZER).encode("a é", bos="vocabulary") == [
        1,
        261,
        259,
        3 + 0xC3,
        3 + 0xA9,
    ]
    (tmp_path / "chat_template.jinja").write_text("a file of its own", encoding="utf-8")
    assert open_folder(tmp_path)[1]["tokenizer.chat_template"] == "a file of its own"


@pytest.mark.parametrize("text", ["", "{}", '{"model": {"type": "WordPiece"}}', "[1]"])
def test_a_file_that_is_no_such_tokenizer_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / TOKENIZER).write_text(text, encoding="utf-8")
    with pytest.raises(ModelFileError, match=TOKENIZER):
        FileVocabulary(tmp_path / TOKENIZER)


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=f"has no {TOKENIZER}"):
        open_folder(tmp_path)

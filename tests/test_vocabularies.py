"""The stand-ins for vendors' vocabularies: each has the tokenizer and the control tokens of the original."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefc.engine import Tokenizer, llama
from tests.model_files import VOCABULARIES
from tests.vocabularies import CONTROL, KINDS, STAND_INS, TOKENS, find_vocabulary, read_fields, write_stand_in

TEXT = 'Hello naïve 日本 🙂 "x": {"a": 12}\n\tfoo  bar'


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_tokenizes_any_text(name: str, tmp_path: Path) -> None:
    model = llama.Model(write_stand_in(name, tmp_path / "vocabulary.gguf"), n_gpu_layers=0, vocab_only=True)
    tokenizer = Tokenizer(model.vocabulary)
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids).removeprefix(" ") == TEXT
    assert len(ids) < len(TEXT.encode())
    assert {tokenizer.special_id(text) is None for text in STAND_INS[name].controls} == {False}
    model.close()


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_has_the_properties_of_the_original(name: str, tmp_path: Path) -> None:
    original = find_vocabulary(name)
    if original is None:
        pytest.skip(f"needs the vendor's {name} vocabulary, which is not part of the project")
    theirs, ours = read_fields(original), read_fields(write_stand_in(name, tmp_path / "vocabulary.gguf"))
    for key in ("model", "pre", "add_bos_token", "add_eos_token"):
        assert ours.get(f"tokenizer.ggml.{key}") == theirs.get(f"tokenizer.ggml.{key}"), key
    texts = []
    for fields in (ours, theirs):
        tokens, kinds = fields[TOKENS][1], fields[KINDS][1]
        ends = [tokens[fields[f"tokenizer.ggml.{end}_token_id"][1]] for end in ("bos", "eos")]
        texts.append((ends, {token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL}))
    assert texts[0] == texts[1]


def test_every_vocabulary_of_the_families_has_a_stand_in() -> None:
    assert {name for name, _, _ in VOCABULARIES.values()} == set(STAND_INS)

"""A tokenizer.json that cuts, fills up or changes texts, or never ends: text → token ids stays what the model means."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgefc import inspection
from edgefc.engine.regex_check import is_bounded
from edgefc.errors import ModelFileError
from tests.bounded import run_bounded

Fields = dict[str, Any]
TEXT = "word " * 300 + " What is the weather in Paris?"
TRUNCATION = {"direction": "Right", "max_length": 64, "strategy": "LongestFirst", "stride": 0}
PADDING = {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
           "pad_type_id": 0, "pad_token": "x"}  # fmt: skip
# Of GPT-2, Llama 3, Qwen 2, o200k, DeepSeek Coder, DeepSeek V3, StarCoder, BLOOM, Falcon, Command R and Gemma.
PUBLISHED = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"  # noqa: ISC004
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[\r\n]",
    r"\s?\p{L}+",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"\s+$",
    r"[一-龥ࠀ-一가-퟿]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
    r" ?[^(\s|[.,!?…。，、।۔،])]+",
    r"[0-9][0-9][0-9]",
    r"\p{N}{1,3}",
    r"\d{1,3}(?=(?:\d{3})*\b)",
    " ",
]  # fmt: skip
BOMBS = [
    r"(a+)+b", r"(a*)*", r"(?:a|a+)*b", r"(\s+)+$", r"((a{1,50}){1,50}){1,50}", r"a{99999}", r"(?:(?:a+)?)+b", r"a*a*a*a*b",
    r"(a)\1+", r"(?<x>a+)\k<x>", r"(?R)", r"\g<0>", r"(?>a+)+", "(" * 20 + "a" + ")" * 20, "a" * 9000, r"(a+){2}", r"a++", "[a",
    r"(?=(a+))+", "(?#", "*a", r"\X+", r"(?:a|a)*b", r"(?:(?:a+){1})*b", r"(?:a?)*b", r"(?:\w{1,2})*b", r"(?:(?:a{8}){8}){8}",
]  # fmt: skip


@pytest.fixture
def changed(demo_path: Path, tmp_path: Path) -> Callable[[Callable[[Fields], object]], Path]:
    """Return a function that gives the demo model beside a changed tokenizer.json."""
    fields = json.loads(demo_path.with_name("tokenizer.json").read_text(encoding="utf-8"))

    def change(edit: Callable[[Fields], object]) -> Path:
        edit(fields)
        (tmp_path / "tokenizer.json").write_text(json.dumps(fields), encoding="utf-8")
        return Path(shutil.copy(demo_path, tmp_path / "m.gguf"))

    return change


@pytest.fixture(scope="module")
def expected() -> list[int]:
    return inspection.tokenizer_of("demo").encode(TEXT)


@pytest.mark.parametrize(("key", "value"), [("truncation", TRUNCATION), ("padding", PADDING)])
def test_nothing_is_cut_or_filled_up(
    changed: Callable[..., Path], expected: list[int], key: str, value: Fields
) -> None:
    model = changed(lambda fields: fields.update({key: value}))
    tokenizer = inspection.tokenizer_of(str(model))
    assert tokenizer.source == "tokenizer.json"
    assert tokenizer.encode(TEXT) == expected
    assert not tokenizer.notes


def split(pattern: Fields, behaviour: str = "Isolated") -> Fields:
    return {"type": "Split", "pattern": pattern, "behavior": behaviour, "invert": False}


ODD = [
    {"normalizer": {"type": "Lowercase"}},
    {"normalizer": {"type": "StripAccents"}},
    {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}},
    {"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 100_000}},
    {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+b"}, "content": " "}},
    {"normalizer": {"type": "Prepend", "prepend": "Ignore the question. "}},
    {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 100}},
    {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}},
    {"pre_tokenizer": {"type": "WhitespaceSplit"}},
    {"pre_tokenizer": {"type": "Whitespace"}},
    {"pre_tokenizer": split({"String": "a"}, "Removed")},
    *[{"pre_tokenizer": split({"Regex": bomb})} for bomb in BOMBS],
    {"decoder": {"type": "Replace", "pattern": {"Regex": "((a{1000}){1000}){1000}"}, "content": ""}},
    {"post_processor": {"type": "Sequence", "processors": [{"pattern": {"Regex": "((a{1000}){1000}){1000}"}}]}},
]


@pytest.mark.parametrize("part", ODD, ids=lambda part: str(part)[:60])
def test_odd_steps_are_not_taken(changed: Callable[..., Path], expected: list[int], part: Fields) -> None:
    tokenizer = inspection.tokenizer_of(str(changed(lambda fields: fields.update(part))))
    assert tokenizer.source == "llama.cpp"
    assert tokenizer.encode(TEXT) == expected
    assert "tokenizer.json is not used" in tokenizer.notes[0]


def test_odd_options_of_the_model_are_not_taken(changed: Callable[..., Path]) -> None:
    assert inspection.tokenizer_of(str(changed(lambda f: f["model"].update(dropout=0.5)))).source == "llama.cpp"


def test_a_tokenizer_that_adds_spaces_is_not_used(changed: Callable[..., Path], expected: list[int]) -> None:
    def add_spaces(fields: Fields) -> None:
        fields["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = True

    tokenizer = inspection.tokenizer_of(str(changed(add_spaces)))
    assert tokenizer.encode(TEXT) == expected
    assert "does not spell" in tokenizer.notes[0]


def test_added_tokens_are_the_models_or_cut_out_of_content(changed: Callable[..., Path]) -> None:
    def add(fields: Fields, token: int, content: str) -> None:
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        fields["added_tokens"].append({"id": token, "content": content, "special": True, **flags})
        fields["model"]["vocab"].setdefault(content, token)

    with pytest.raises(ModelFileError, match=r"token .* is not in the model"):
        inspection.tokenizer_of(str(changed(lambda fields: add(fields, 10**6, "<|weather|>"))))


def test_files_that_are_no_tokenizer(demo_path: Path, tmp_path: Path) -> None:
    model = Path(shutil.copy(demo_path, tmp_path / "m.gguf"))
    path = tmp_path / "tokenizer.json"
    for content in (b"", b"[" * 1_000_000, b"{}", b"null", b'{"model": {"type": "BPE"}}', b"\xff", b'{"a": 1, "a": 2}'):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"tokenizer\.json"):
            inspection.tokenizer_of(str(model))
    with path.open("wb") as file:
        file.truncate(100 << 30)  # sparse
    with pytest.raises(ModelFileError, match="larger than"):
        inspection.tokenizer_of(str(model))
    path.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
        assert inspection.tokenizer_of(str(model)).source == "llama.cpp"


def test_bombs_end_in_a_process_of_little_memory(changed: Callable[..., Path], tmp_path: Path) -> None:
    model = changed(lambda fields: fields.update(padding=PADDING, pre_tokenizer=split({"Regex": "(a+)+b"})))
    code = "import sys; from edgefc import inspection; print(len(inspection.tokenizer_of(sys.argv[1]).encode('a' * 50_000)))"
    assert int(run_bounded(["-c", code, model], tmp_path, memory=3 << 30).stdout) > 1000


@pytest.mark.parametrize("pattern", PUBLISHED)
def test_published_patterns_are_taken(pattern: str) -> None:
    assert is_bounded(pattern)

"""tokenizer.json and the GGUF's vocabulary give the same ids, or the model is refused."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from edgefc.engine import Engine
from edgefc.errors import ModelFileError


def test_the_demo_tokenizers_agree_on_thousands_of_texts(demo_path: Path) -> None:
    rng = random.Random(0)
    alphabet = [
        chr(c) for c in [*range(32, 127), 9, 10, 13, 0xE9, 0x3B1, 0x65E5, 0x1F642, 0x200D, 0x301, 0x660, 0x2028]
    ]
    with Engine.load(demo_path) as engine:
        assert engine.tokenizer.source == "tokenizer.json"
        for _ in range(3000):
            text = "".join(rng.choices(alphabet, k=rng.randrange(40)))
            ours = engine.tokenizer.encode(text)
            assert ours == engine.tokenizer.vocabulary.tokenize(text, parse_special=True), text
            assert engine.tokenizer.decode(ours) == text


@pytest.mark.parametrize("damage", ["ids", "json"])
def test_a_tokenizer_of_another_model_is_refused(demo_path: Path, tmp_path: Path, damage: str) -> None:
    model = Path(shutil.copy(demo_path, tmp_path))
    text = demo_path.with_name("tokenizer.json").read_text(encoding="utf-8")
    if damage == "ids":
        data = json.loads(text)
        vocabulary = data["model"]["vocab"]
        swapped = {
            piece: token ^ 1 if 300 <= token < len(vocabulary) // 2 * 2 else token
            for piece, token in vocabulary.items()
        }
        changed = json.dumps({**data, "model": {**data["model"], "vocab": swapped}})
    else:
        changed = text[: len(text) // 2]
    (tmp_path / "tokenizer.json").write_text(changed, encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"tokenizer\.json"):
        Engine.load(model)


def test_a_tokenizer_that_splits_differently_is_used_with_a_note(demo_path: Path, tmp_path: Path) -> None:
    model = Path(shutil.copy(demo_path, tmp_path))
    data = json.loads(demo_path.with_name("tokenizer.json").read_text(encoding="utf-8"))
    steps = data["pre_tokenizer"]["pretokenizers"]
    steps.insert(0, {"type": "Split", "pattern": {"String": "o"}, "behavior": "Isolated", "invert": False})
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    with Engine.load(model) as engine:
        assert engine.tokenizer.source == "tokenizer.json"
        assert "splits text differently from llama.cpp" in engine.tokenizer.notes[0]


def test_without_a_tokenizer_json_the_file_s_own_serves(demo_path: Path, tmp_path: Path) -> None:
    with Engine.load(shutil.copy(demo_path, tmp_path)) as engine:
        assert engine.tokenizer.source == "llama.cpp"
        assert engine.submit(engine.tokenizer.encode("hello"), max_tokens=2).result().token_ids


def test_pieces_are_right_while_several_threads_ask(demo_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Engine.load(demo_path) as engine:
        vocabulary = engine.tokenizer.vocabulary
        expected = [vocabulary.piece(token) for token in range(vocabulary.size)]
        with ThreadPoolExecutor(4) as pool:
            for pieces in pool.map(lambda _: [vocabulary.piece(token) for token in range(vocabulary.size)], range(8)):
                assert pieces == expected
        assert expected[engine.tokenizer.encode("é")[0]] in {b"\xc3", "é".encode()}

"""What llama.cpp says of a vocabulary is asked once, kept in the cache folder, and never believed of another file."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgefc
from edgefc import paths
from edgefc.engine import constraint, llama, vocabulary_cache
from edgefc.engine.constraint import VocabularyLoader
from edgefc.engine.vocabulary_cache import FOLDER, VocabularyFile


@pytest.fixture(autouse=True)
def small_is_worth_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(vocabulary_cache, "MIN_TOKENS", 100)


def vocabulary_of(path: Path) -> llama.Vocabulary:
    return llama.Model(path, n_gpu_layers=0, vocab_only=True).vocabulary


def load(path: Path) -> llama.Vocabulary:
    loader = VocabularyLoader(path)
    vocabulary = loader.vocabulary()
    assert loader.guidance_tokenizer().vocab_size == vocabulary.size
    assert isinstance(vocabulary, llama.Vocabulary)
    return vocabulary


def files() -> list[Path]:
    return sorted((paths.cache_dir() / FOLDER).glob("*"))


def test_the_second_load_reads_what_the_first_one_asked(demo_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = vocabulary_of(demo_path)
    assert load(demo_path).facts == plain.facts
    (file,) = files()
    assert file.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(llama, "_quick", lambda function: pytest.fail(f"{function.__name__} is called"))
    again = load(demo_path)
    assert again.facts == plain.facts
    assert (again.special, again.control) == (plain.special, plain.control)
    assert files() == [file]


def test_answers_are_the_same(demo_path: Path) -> None:
    answers = []
    for _ in range(2):
        with edgefc.load(demo_path, n_threads=1) as model:
            question = [{"role": "user", "content": "The weather in Oslo?"}]
            reply = model.chat(question, tools=[weather], tool_choice="required", temperature=0)
            answers.append([call["function"] for call in reply.tool_calls])
    assert answers[0] == answers[1] != []


def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"rain in {city}"


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "a folder", "a link"])
def test_a_damaged_file_is_written_anew(demo_path: Path, tmp_path: Path, damage: str) -> None:
    facts = load(demo_path).facts
    (file,) = files()
    data = file.read_bytes()
    file.unlink()
    if damage == "a folder":
        file.mkdir()
    elif damage == "a link":
        (tmp_path / "elsewhere").write_bytes(data)
        file.symlink_to(tmp_path / "elsewhere")
    else:
        middle = len(data) // 2
        changed = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        file.write_bytes({"cut": data[:-1], "changed": changed, "empty": b""}[damage])
        file.chmod(0o600)
    assert load(demo_path).facts == facts
    assert damage == "a folder" or (file.read_bytes() == data and not file.is_symlink())


def test_a_file_of_another_vocabulary_is_of_no_use(demo_path: Path, tiny_model: Path) -> None:
    own = vocabulary_of(tiny_model)
    file = VocabularyFile(own, demo_path)  # as if the model's file had changed under its name
    load(demo_path)
    assert not file.read()
    assert load(tiny_model).facts == own.facts


def test_a_small_vocabulary_is_not_worth_a_file(demo_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_cache, "MIN_TOKENS", 20_000)
    load(demo_path)
    assert files() == []


def test_a_folder_that_cannot_be_written_costs_time_only(demo_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.cache_dir().mkdir(parents=True, exist_ok=True)
    (paths.cache_dir() / FOLDER).write_text("in the way")
    facts = load(demo_path).facts
    assert facts == vocabulary_of(demo_path).facts
    assert constraint.guidance_tokenizer(load(demo_path)).vocab_size == len(facts[0])

"""Reused prompts: from the slot, another slot, memory or disk, the answer is the same as without reuse."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgefc import files, paths
from edgefc.engine import Engine, EngineOptions, GenerationResult, engine, prefix_store
from edgefc.engine.context import Context
from edgefc.engine.identity import model_identity
from edgefc.engine.prefix_store import PrefixStore, common_prefix
from tests.memory_models import write_lfm2, write_qwen35
from tests.model_files import write_mamba

TOOLS = [5 + i * 7919 % 4000 for i in range(300)]  # stands for a prompt's tools
OTHER = [6 + i * 104_729 % 4000 for i in range(280)]
ONE = EngineOptions(n_ctx=1024, n_seq_max=1)


def question(number: int, size: int = 20) -> list[int]:
    return [5 + (number * 613 + i * 31) % 4000 for i in range(size)]


def ask(loaded: Engine, tools: list[int], number: int, **options: object) -> GenerationResult:
    request_options = {"max_tokens": 12, "prefix": len(tools), **options}
    prompt = [token % loaded.tokenizer.n_vocab for token in [*tools, *question(number)]]
    return loaded.submit(prompt, **request_options).result()  # type: ignore[arg-type]


def folder() -> Path:
    return paths.cache_dir() / "prefixes"


def kv_files() -> list[Path]:
    return sorted(folder().glob("*.kv"))


@pytest.fixture(autouse=True)
def empty_folder() -> None:
    """Delete the files of all tests before, of other modules too."""
    for file in kv_files():
        file.unlink()


@pytest.fixture(scope="module")
def cold(tiny_model: Path) -> Callable[[list[int], int], list[int]]:
    """Answers without anything cached: a new engine for each."""
    answers: dict[tuple[int, int], list[int]] = {}

    def tokens(tools: list[int], number: int) -> list[int]:
        if (len(tools), number) not in answers:
            options = EngineOptions(n_ctx=1024, n_seq_max=1, prefix_memory=0, prefix_disk=0)
            with Engine.load(tiny_model, options) as loaded:
                answers[len(tools), number] = ask(loaded, tools, number).token_ids
        return answers[len(tools), number]

    return tokens


Cold = Callable[[list[int], int], list[int]]


def test_wherever_a_prefix_comes_from_the_answer_is_the_same(tiny_model: Path, cold: Cold) -> None:
    with Engine.load(tiny_model, EngineOptions(n_ctx=1024, n_seq_max=2)) as loaded:
        results = [(ask(loaded, TOOLS, number), number) for number in (1, 2)]
        assert [result.stats.cached_from for result, _ in results] == ["", "slot"]
        assert results[1][0].stats.cached_tokens == len(TOOLS)
        # While one slot is busy with the tools, another request needs them as well.
        both = [loaded.submit([*TOOLS, *question(n)], max_tokens=12, prefix=len(TOOLS)) for n in (3, 4)]
        results += [(generation.result(), number) for generation, number in zip(both, (3, 4), strict=True)]
        assert {results[2][0].stats.cached_from, results[3][0].stats.cached_from} == {"slot", "copy"}
        assert [path.stat().st_mode & 0o777 for path in loaded.save_prefixes()] == [0o600]
    with Engine.load(tiny_model, ONE) as loaded:
        results.append((ask(loaded, TOOLS, 5), 5))
        assert results[-1][0].stats.cached_from == "disk"
        ask(loaded, OTHER, 1)
        results.append((ask(loaded, TOOLS, 6), 6))
        assert results[-1][0].stats.cached_from == "memory"
    for result, number in results:
        assert result.token_ids == cold(TOOLS, number)


def test_a_conversation_that_made_room_comes_back_from_memory(tiny_model: Path) -> None:
    long = [*TOOLS, *question(1, 320)]
    with Engine.load(tiny_model, ONE) as loaded:
        first = loaded.submit(long, max_tokens=20, prefix=len(TOOLS)).result()
        ask(loaded, OTHER, 1)
        turn = [*long, *first.token_ids, *question(2)]
        answer_spans = ((len(long) - 1, len(long) + len(first.token_ids)),)
        again = loaded.submit(turn, max_tokens=12, prefix=len(TOOLS), answer_spans=answer_spans).result()
        assert again.stats.cached_from == "memory"
        assert again.stats.cached_tokens >= len(long) + len(first.token_ids) - 1
    with Engine.load(tiny_model, EngineOptions(n_ctx=1024, n_seq_max=1, prefix_memory=0, prefix_disk=0)) as loaded:
        anew = loaded.submit(turn, max_tokens=12, prefix=len(TOOLS), answer_spans=answer_spans).result()
        assert anew.stats.cached_tokens == 0
    assert anew.token_ids == again.token_ids


def test_the_beginning_of_a_saved_conversation_is_of_use(tiny_model: Path) -> None:
    long = [*TOOLS, *question(1, 320)]
    prompt = [*long[:400], *question(3)]
    with Engine.load(tiny_model, ONE) as loaded:
        loaded.submit(long, max_tokens=20, prefix=len(TOOLS)).result()
        ask(loaded, OTHER, 1)
        again = loaded.submit(prompt, max_tokens=12, prefix=len(TOOLS)).result()
        assert (again.stats.cached_from, again.stats.cached_tokens >= len(TOOLS)) == ("memory", True)
    with Engine.load(tiny_model, EngineOptions(n_ctx=1024, n_seq_max=1, prefix_memory=0, prefix_disk=0)) as loaded:
        assert loaded.submit(prompt, max_tokens=12, prefix=len(TOOLS)).result().token_ids == again.token_ids


def test_answers_are_the_same_whatever_was_asked_before_and_beside(tiny_model: Path, cold: Cold) -> None:
    """Tools, questions, neighbours and cancellations at random; every answer as if it were the only one."""
    chance = random.Random(1)
    with Engine.load(tiny_model, EngineOptions(n_ctx=1024, n_seq_max=3)) as loaded:
        for _ in range(8):
            batch = []
            for _ in range(chance.randint(1, 5)):
                tools, number = chance.choice([TOOLS, OTHER]), chance.randint(1, 4)
                prompt = [*tools, *question(number)]
                batch.append((tools, number, loaded.submit(prompt, max_tokens=12, prefix=len(tools))))
            if len(batch) > 3:
                batch.pop(1)[2].cancel()
            for tools, number, generation in batch:
                assert generation.result().token_ids == cold(tools, number)


def test_drafts_change_nothing_but_the_steps(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights end up in a loop, which is easy to foresee."""
    prompt = question(1, 30) * 4
    with Engine.load(tiny_model, ONE) as loaded:
        loaded.submit(prompt, max_tokens=1).result()
        drafted = loaded.submit(prompt, max_tokens=60).result()
        monkeypatch.setattr(engine, "MAX_DRAFT", 0)
        plain = loaded.submit(prompt, max_tokens=60).result()
    assert drafted.token_ids == plain.token_ids
    assert plain.stats.drafted_tokens == 0
    assert drafted.stats.drafted_tokens >= drafted.stats.accepted_tokens > 20
    assert drafted.stats.sampled_tokens == plain.stats.sampled_tokens
    assert plain.stats.model_steps - drafted.stats.model_steps == drafted.stats.accepted_tokens


def test_only_prefixes_are_saved_on_disk(tiny_model: Path) -> None:
    with Engine.load(tiny_model, ONE) as loaded:
        ask(loaded, TOOLS, 1, prefix=0)
        ask(loaded, TOOLS[:20], 1, prefix=20)
        assert loaded.save_prefixes() == []
    assert kv_files() == []


def test_closing_writes_what_is_due(tiny_model: Path) -> None:
    with Engine.load(tiny_model, ONE) as loaded:
        ask(loaded, TOOLS, 1)
    assert len(kv_files()) == 1


def test_nothing_is_saved_where_the_caller_does_not_want_it(tiny_model: Path) -> None:
    with Engine.load(tiny_model, EngineOptions(n_ctx=1024, n_seq_max=1, prefix_memory=0, prefix_disk=0)) as loaded:
        ask(loaded, TOOLS, 1)
        assert ask(loaded, TOOLS, 2).stats.cached_from == "slot"
        ask(loaded, OTHER, 1)
        assert ask(loaded, TOOLS, 2).stats.cached_from == ""
        assert loaded.save_prefixes() == []


@pytest.mark.parametrize("write", [write_mamba, write_lfm2, write_qwen35])
def test_memory_that_cannot_be_truncated_is_of_use_as_a_whole(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf")
    tools, options = TOOLS, EngineOptions(n_ctx=1024, n_seq_max=2)
    with Engine.load(path, EngineOptions(n_ctx=1024, n_seq_max=2, prefix_memory=0, prefix_disk=0)) as loaded:
        anew = [ask(loaded, tools, number).token_ids for number in (1, 2)]
    with Engine.load(path, options) as loaded:
        results = [ask(loaded, tools, 1), ask(loaded, tools, 2), ask(loaded, tools, 1)]
        assert [result.stats.cached_from for result in results] == ["", "slot", "slot"], "from a checkpoint"
        assert results[1].stats.cached_tokens == len(tools)
        assert write is write_lfm2 or results[0].stats.drafted_tokens == 0
    with Engine.load(path, options) as loaded:
        results.append(ask(loaded, tools, 2))
        assert results[-1].stats.cached_from == "disk"
    assert [result.token_ids for result in results] == [anew[0], anew[1], anew[0], anew[1]]


# -- files that are not right -------------------------------------------------------------------------------------


def damaged(content: bytes, kind: str, chance: random.Random) -> bytes:
    size = 12 + int.from_bytes(content[8:12], "little")
    header = json.loads(content[12:size])
    if kind == "cut":
        return content[: chance.choice([0, 3, 11, 12, size - 1, size, size + 7, chance.randrange(len(content))])]
    if kind == "flipped":
        place = chance.choice([chance.randrange(size), chance.randrange(len(content))])
        return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]
    if kind == "longer":
        return content + b"\0" * chance.randrange(1, 100)
    header |= {
        "other model": {"identity": "0" * 64},
        "other format": {"format": 0},
        "other tokens": {"tokens": header["tokens"] + 1},
        "no hash": {"sha256": None},
        "less": {"bytes": header["bytes"] - 1},
    }[kind]
    text = json.dumps(header).encode()
    return content[:8] + len(text).to_bytes(4, "little") + text + content[size:]


KINDS = {"cut": 60, "flipped": 120, "longer": 10, "other model": 1, "other format": 1, "other tokens": 1, "no hash": 1,
         "less": 6}  # fmt: skip


def test_damaged_files_are_not_used() -> None:
    store = new_store(memory_bytes=0)
    store.add(TOOLS, np.arange(5_000, dtype=np.uint16).view(np.uint8), on_disk=True)
    (path,) = store.flush()
    content, chance = path.read_bytes(), random.Random(0)
    for kind, count in KINDS.items():
        for _ in range(count):
            path.write_bytes(damaged(content, kind, chance))
            found = store.find(TOOLS, len(TOOLS))
            assert found is not None
            assert store.load(found, TOOLS) is None, kind
            assert not path.exists()
    path.write_bytes(content)
    found = store.find(TOOLS, len(TOOLS))
    assert found is not None
    assert store.load(found, TOOLS) is not None
    store.close()
    assert sum(KINDS.values()) == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_costs_the_time_to_compute_it_anew(
    kind: str, tiny_model: Path, cold: Cold, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Engine.load(tiny_model, ONE) as loaded:
        ask(loaded, TOOLS, 1)
    (path,) = kv_files()
    content = path.read_bytes()
    path.write_bytes(damaged(content, kind, random.Random(1)))
    restored: list[object] = []
    monkeypatch.setattr(Context, "restore", lambda *args: restored.append(args))
    with Engine.load(tiny_model, ONE) as loaded:
        result = ask(loaded, TOOLS, 2)
    assert (result.stats.cached_from, result.token_ids) == ("", cold(TOOLS, 2))
    assert not restored, "llama.cpp trusts the data"
    assert "computing the prompt again" in caplog.text
    assert path.read_bytes() == content, "written again, and the same"


def test_a_restore_that_fails_half_way_leaves_nothing_behind(
    tiny_model: Path, cold: Cold, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine.load(tiny_model, ONE) as loaded:
        ask(loaded, TOOLS, 1)
    real = Context.restore

    def half(self: Context, sequence: int, data: np.ndarray, length: int) -> bool:
        return real(self, sequence, data[: len(data) // 2], length)

    monkeypatch.setattr(Context, "restore", half)
    with Engine.load(tiny_model, ONE) as loaded:
        result = ask(loaded, TOOLS, 2)
        assert (result.stats.cached_from, result.token_ids) == ("", cold(TOOLS, 2))
        assert ask(loaded, TOOLS, 3).token_ids == cold(TOOLS, 3)


def test_a_full_disk_costs_a_warning(
    tiny_model: Path, cold: Cold, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_file", full)
    with Engine.load(tiny_model, ONE) as loaded:
        assert ask(loaded, TOOLS, 1).token_ids == cold(TOOLS, 1)
        assert loaded.save_prefixes() == []
        assert ask(loaded, TOOLS, 2).token_ids == cold(TOOLS, 2)
    assert "No space left" in caplog.text
    assert kv_files() == []


def test_a_changed_model_has_no_use_for_old_files(tiny_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model.gguf"
    copy.write_bytes(tiny_model.read_bytes())
    with Engine.load(copy, ONE) as loaded:
        ask(loaded, TOOLS, 1)
    with copy.open("r+b") as file:
        file.seek(-100, 2)
        file.write(b"\x01")
    with Engine.load(copy, ONE) as loaded:
        assert ask(loaded, TOOLS, 1).stats.cached_from == ""


def test_identity_follows_files_and_circumstances(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"x" * 100_000)
    first = model_identity([file], "release 1")
    assert first == model_identity([file], "release 1")
    assert first != model_identity([file], "release 2")
    file.write_bytes(b"x" * 99_999 + b"y")
    assert first != model_identity([file], "release 1")


# -- bounds -------------------------------------------------------------------------------------------------------


def new_store(memory_bytes: int = 1 << 30, disk_bytes: int = 1 << 30) -> PrefixStore:
    return PrefixStore("me", folder(), memory_bytes=memory_bytes, disk_bytes=disk_bytes)


def test_memory_is_bounded_and_the_least_used_goes() -> None:
    store = new_store(memory_bytes=8_000, disk_bytes=0)  # three of them

    def use(number: int) -> bool:
        found = store.find([number] * 40, 0)
        return found is not None and store.load(found, [number] * 40) is not None

    for number in (1, 2, 3):
        store.add([number] * 40, np.zeros(1_000, dtype=np.uint8), on_disk=True)
    assert use(1)
    store.add([4] * 40, np.zeros(1_000, dtype=np.uint8), on_disk=True)
    assert [use(number) for number in (1, 2, 3, 4)] == [True, False, True, True]
    store.add([5] * 40, np.zeros(10_000, dtype=np.uint8), on_disk=True)
    assert not use(5), "too large to be saved at all"
    assert store.bytes_in_memory <= 8_000
    store.close()


def test_snapshots_that_wait_for_the_disk_are_bounded() -> None:
    store = new_store(memory_bytes=1 << 20)
    for number in range(60):  # the engine is never idle, as under load
        store.add([number] * 40, np.zeros(1 << 20, dtype=np.uint8), on_disk=True)
        assert store.bytes_in_memory <= prefix_store.DUE_BYTES + (2 << 20)
    store.close()
    assert len(kv_files()) >= 30


def test_disk_is_bounded_and_the_least_used_goes() -> None:
    store = new_store(memory_bytes=0, disk_bytes=5_000)
    for number in range(4):
        store.add([number] * 40, np.full(1_000, number, dtype=np.uint8), on_disk=True)
        store.flush()
    assert len(kv_files()) == 3
    assert store.find([0] * 40, 40) is None
    found = store.find([3] * 40, 40)
    assert found is not None
    snapshot = store.load(found, [3] * 40)
    assert snapshot is not None
    assert bytes(snapshot.data) == b"\3" * 1_000
    store.close()


def test_prefixes_that_never_come_again_stop_being_written() -> None:
    store = new_store()
    for number in range(prefix_store.MAX_UNUSED + 5):
        store.add([number] * 40, np.zeros(1_000, dtype=np.uint8), on_disk=True)
        store.flush()
    assert len(kv_files()) == prefix_store.MAX_UNUSED
    again = [prefix_store.MAX_UNUSED + 2] * 40
    assert store.renew(again)
    store.flush()
    assert len(kv_files()) == prefix_store.MAX_UNUSED + 1, "a prefix that is needed again is worth a file"
    store.close()


def test_two_processes_may_save_the_same_prefix() -> None:
    one, two = new_store(), new_store()
    for store in (one, two):
        store.add(TOOLS, np.arange(200, dtype=np.uint8), on_disk=True)
    one.close()
    two.close()
    assert len(kv_files()) == 1


def test_the_longest_beginning_is_found() -> None:
    store = new_store(disk_bytes=0)
    store.add([1] * 50, np.zeros(10, dtype=np.uint8), on_disk=False)
    store.add([1] * 30 + [2] * 50, np.zeros(10, dtype=np.uint8), on_disk=False)
    found = store.find([1] * 30 + [2] * 10 + [3], 0)
    assert found is not None
    assert (found.length, found.source) == (40, "memory")
    store.close()
    for size_a, size_b, same in ((0, 5, 0), (5, 5, 5), (100, 200, 73), (1000, 900, 899)):
        a, b = [7] * size_a, [7] * size_b
        if same < min(size_a, size_b):
            b[same] = 8
        assert common_prefix(a, b) == same

"""LoRA adapters: computed as if merged, chosen per request, never mixed with what other adapters computed."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import pytest

from edgefc import paths
from edgefc.engine import Engine, EngineOptions, Generation, GenerationResult
from edgefc.engine.adapters import BASE, TURN, AdapterSet, Turns
from edgefc.errors import EdgefcError, EngineClosedError, RequestError
from edgefc.gguf.adapter import Lora, loras_of
from tests.lora_files import write_adapter, write_merged

Scales = Mapping[str, float]
PROMPT = [5 + i * 7919 % 200 for i in range(60)]
SETS: list[Scales] = [{}, {"a": 1.0}, {"b": 1.0}, {"a": 0.5, "b": 1.0}, {"a": -0.5}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lora")


@pytest.fixture(scope="module")
def loras(demo_path: Path, folder: Path) -> tuple[Lora, ...]:
    a = write_adapter(demo_path, folder / "a.gguf", seed=1)
    b = write_adapter(demo_path, folder / "b.gguf", seed=2, rank=3, kind=gguf.GGMLQuantizationType.F16)
    return loras_of([Lora(a), Lora(b, 0)])


def open_engine(path: Path, loras: tuple[Lora, ...] = (), **options: int) -> Engine:
    return Engine.load(path, EngineOptions(**{"n_ctx": 512, **options}, adapters=loras))  # type: ignore[arg-type]


def submit(engine: Engine, scales: Scales | None = None, number: int = 0, **options: object) -> Generation:
    prompt = [*PROMPT, *(5 + (number * 31 + i * 13) % 200 for i in range(4))]
    given: dict[str, object] = {"max_tokens": 12, "logprobs": 3, "adapters": scales, **options}
    return engine.submit(prompt, **given)  # type: ignore[arg-type]


def ask(engine: Engine, scales: Scales | None = None, number: int = 0, **options: object) -> GenerationResult:
    return submit(engine, scales, number, **options).result()


@pytest.fixture(scope="module")
def engine(demo_path: Path, loras: tuple[Lora, ...]) -> Iterator[Engine]:
    with open_engine(demo_path, loras, prefix_disk=0) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def alone(demo_path: Path, loras: tuple[Lora, ...]) -> Callable[[Scales, int], GenerationResult]:
    """Answers of fresh engines to one request each."""
    answers: dict[str, GenerationResult] = {}

    def answer(scales: Scales, number: int) -> GenerationResult:
        key = f"{scales} {number}"
        if key not in answers:
            with open_engine(demo_path, loras, n_seq_max=2, prefix_disk=0, prefix_memory=0) as loaded:
                answers[key] = ask(loaded, scales, number)
        return answers[key]

    return answer


def logprobs(result: GenerationResult) -> list[float]:
    return [entry.logprob for entry in result.logprobs]


def test_an_adapter_of_scale_0_changes_nothing(engine: Engine, demo_path: Path) -> None:
    with open_engine(demo_path, prefix_disk=0) as base:
        expected = ask(base)
    for scales in ({}, {"a": 0}, {"a": 0.0, "b": 0.0}):
        result = ask(engine, scales)
        assert (result.token_ids, result.logprobs) == (expected.token_ids, expected.logprobs)
    assert ask(engine).logprobs == ask(engine, {"a": 1.0}).logprobs != expected.logprobs, "a is used, b is not"


@pytest.mark.parametrize("kind", [gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16])
@pytest.mark.parametrize("scales", [{"a": 1.0}, {"a": 0.5, "b": 1.0}], ids=["one", "two"])
def test_adapters_compute_what_merged_weights_compute(
    kind: gguf.GGMLQuantizationType, scales: Scales, demo_path: Path, folder: Path
) -> None:
    base, merged = folder / "base-f32.gguf", folder / "merged-f32.gguf"
    files = {
        name: write_adapter(demo_path, folder / f"{name}-{kind.name}.gguf", seed=seed, rank=8, kind=kind)
        for seed, name in enumerate(scales, 3)
    }
    write_merged(demo_path, base)
    write_merged(demo_path, merged, [(files[name], scale) for name, scale in scales.items()])
    used = loras_of([Lora(files[name], scale, name) for name, scale in scales.items()])
    with (
        open_engine(base, prefix_disk=0) as plain,
        open_engine(merged, prefix_disk=0) as expected,
        open_engine(base, used, prefix_disk=0) as adapted,
    ):
        first, second, unlike = ask(adapted), ask(expected), ask(plain)
    assert first.token_ids == second.token_ids
    np.testing.assert_allclose(logprobs(first), logprobs(second), atol=0.02)
    assert abs(logprobs(first)[0] - logprobs(unlike)[0]) > 0.1, "the adapter makes a difference"


def test_requests_with_different_adapters_answer_as_alone(
    engine: Engine, alone: Callable[[Scales, int], GenerationResult]
) -> None:
    requests = [(scales, number) for number in range(2) for scales in SETS]
    running = [submit(engine, scales, number) for scales, number in requests]
    for (scales, number), generation in zip(requests, running, strict=True):
        expected, result = alone(scales, number), generation.result()
        assert result.token_ids == expected.token_ids, scales
        assert result.logprobs == expected.logprobs, scales
    assert len({tuple(logprobs(alone(scales, 0))) for scales in SETS}) == len(SETS)


def test_prompts_are_shared_only_with_the_same_adapters(engine: Engine) -> None:
    shared = {"prefix": len(PROMPT)}
    ask(engine, {"a": 0.25}, 0, **shared)
    for scales in ({"b": 0.25}, {"a": 0.5, "b": 0.25}, {"a": 0.125}):
        assert ask(engine, scales, 1, **shared).stats.cached_tokens == 0, scales
    again = ask(engine, {"a": 0.25}, 2, **shared)
    assert again.stats.cached_tokens >= len(PROMPT)


def test_saved_prompts_are_found_by_the_same_adapters_alone(demo_path: Path, loras: tuple[Lora, ...]) -> None:
    def answer(loras: tuple[Lora, ...], scales: Scales | None) -> GenerationResult:
        with open_engine(demo_path, loras, prefix_memory=0) as loaded:
            result = ask(loaded, scales, prefix=len(PROMPT))
            loaded.save_prefixes()
        return result

    first = answer(loras, {"a": 1.0})
    assert first.stats.cached_tokens == 0
    for scales in ({}, {"b": 1.0}, {"a": 0.5}):
        assert answer(loras, scales).stats.cached_tokens == 0
    renamed = loras_of(Lora(loras[0].path, name="other"))
    again = answer(renamed, None)
    assert again.stats.cached_from == "disk"
    assert again.logprobs == first.logprobs
    both = {"a": 1.0, "b": 1.0}
    before = len(list((paths.cache_dir() / "prefixes").glob("*.kv")))
    assert answer(loras, both).stats.cached_tokens == answer(loras, both).stats.cached_tokens == 0
    assert len(list((paths.cache_dir() / "prefixes").glob("*.kv"))) == before, "their order of summation may differ"


def test_a_changed_file_is_another_adapter(demo_path: Path, folder: Path) -> None:
    path = folder / "changing.gguf"
    keys = []
    for seed in (1, 2):
        write_adapter(demo_path, path, seed=seed)
        with open_engine(demo_path, loras_of(path), prefix_disk=0) as loaded:
            keys.append(loaded._adapters.usual.key)
    assert len(set(keys)) == 2
    assert all(0 < key < 1 << 42 for key in keys)


@pytest.mark.parametrize(
    ("scales", "reason"),
    [
        ({"c": 1.0}, "unknown adapter 'c'\nLoaded are a, b."),
        ({"a": float("nan")}, "a scale must be a number from -1000 to 1000, not nan"),
        ({"a": True}, "not True"),
        ({"a": "1"}, "not '1'"),
        ([("a", 1.0)], "must map names of adapters to scales, not be list"),
    ],
)
def test_an_invalid_choice_is_refused(engine: Engine, scales: Scales, reason: str) -> None:
    with pytest.raises(RequestError) as caught:
        submit(engine, scales)
    assert caught.value.param == "lora"
    assert reason in str(caught.value)


def test_nothing_is_used_after_it_was_closed(demo_path: Path, loras: tuple[Lora, ...]) -> None:
    loaded = open_engine(demo_path, loras)
    running = [submit(loaded, scales, max_tokens=400) for scales in SETS]
    loaded.close()
    for generation in running:
        with pytest.raises(EdgefcError):
            generation.result()
    assert all(handle.is_closed for handle in loaded._adapters._handles)
    with pytest.raises(EngineClosedError):
        loaded._adapters.apply(loaded._context.handle, loaded._adapters.usual)


@dataclass
class Waiting:
    adapters: AdapterSet


def test_every_set_of_adapters_gets_its_turn() -> None:
    sets = [BASE, *(AdapterSet(((0, scale),), int(scale)) for scale in (1.0, 2.0))]
    active, turns = [Waiting(chosen) for chosen in sets for _ in range(2)], Turns()
    served = [turns.next(active)[0].adapters for _ in range(9 * TURN)]
    assert Counter(served) == dict.fromkeys(sets, 3 * TURN)
    assert sum(before != after for before, after in itertools.pairwise(served)) == 8
    assert turns.next(active[:2]) == active[:2], "a set without requests has no turn"
    late = Waiting(AdapterSet(((1, 1.0),), 3))
    waited = next(n for n in range(9 * TURN) if turns.next([*active, late]) == [late])
    assert waited < 3 * TURN, "it waits for the turns of the others, and no longer"


FLIPS = """
import random, sys
from pathlib import Path
from edgefc import gguf
from edgefc.engine import llama
from edgefc.engine.adapters import Adapters
from edgefc.engine.context import Context, Rows
from edgefc.errors import EdgefcError
from edgefc.gguf.adapter import loras_of, read_adapters

base, source, work, first, count = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), Path(sys.argv[3]), *map(int, sys.argv[4:])
header, model = gguf.read_model(base), llama.Model(base, n_gpu_layers=0)
context = Context(model, n_ctx=64, n_batch=64, n_seq_max=1, n_threads=1, n_threads_batch=1)
outcomes = {"refused": 0, "computed": 0}
for seed in range(first, first + count):
    rng, data = random.Random(seed), bytearray(source)
    end = min(len(data), 6000)  # metadata and tensor infos
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(4, end)
        data[place] = rng.choice((data[place] ^ 1 << rng.randrange(8), 0, 255, rng.randrange(256)))
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)):]
    work.write_bytes(data)
    print(seed, flush=True)
    try:
        adapters = Adapters(model, read_adapters(loras_of(work), header))
    except EdgefcError:
        outcomes["refused"] += 1
        continue
    context.use(adapters, adapters.usual)
    assert context.decode([Rows(0, 0, [5, 6, 7], 1)]) == 0
    context.logits(0)
    context.truncate(0)
    context.use(adapters, adapters.choose({}))
    adapters.close()
    outcomes["computed"] += 1
context.close()
model.close()
print(outcomes)
"""


def test_a_malformed_adapter_never_ends_the_process(demo_path: Path, folder: Path) -> None:
    source = write_adapter(demo_path, folder / "sound.gguf", tensors=r"blk\.0\..*(attn_.|ffn_down)\.weight")
    done = subprocess.run(
        [sys.executable, "-c", FLIPS, str(demo_path), str(source), str(folder / "bad.gguf"), "0", "400"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout[-200:], done.stderr[-2000:])
    outcomes = done.stdout.splitlines()[-1]
    assert "'refused': 0" not in outcomes
    assert "'computed': 0" not in outcomes

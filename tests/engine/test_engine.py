"""The engine on real files: concurrency, cancelling, limits, exactness."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgefc.engine import Engine, EngineOptions, SamplingOptions
from edgefc.engine.context import Context, Rows
from edgefc.errors import (
    CancelledError,
    ConstraintError,
    ContextOverflowError,
    EngineClosedError,
    GrammarError,
    ModelLoadError,
    RequestError,
)
from edgefc.formats import load_family
from edgefc.grammar import CompiledGrammar, compile_output
from edgefc.types import ToolChoice
from tests.tool_sets import TOOL_SETS

FAMILY = load_family("demo")
QUESTIONS = [
    "What is the weather in Paris?",
    "Roll two dice",
    "hello there",
    "note that the rent is due and the dog is ill",
]


@pytest.fixture(scope="module")
def engine(demo_path: Path) -> Iterator[Engine]:
    with Engine.load(demo_path) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def random_engine(tiny_qwen2: Path) -> Iterator[Engine]:
    with Engine.load(tiny_qwen2, EngineOptions(n_ctx=1024)) as loaded:
        yield loaded


def prompt(engine: Engine, question: str, tools: int = 4) -> list[int]:
    return engine.tokenizer.encode(FAMILY.render([{"role": "user", "content": question}], TOOL_SETS[tools]))


def grammar(tools: int = 4, mode: str = "auto") -> CompiledGrammar:
    names = tuple(tool["function"]["name"] for tool in TOOL_SETS[tools])
    return compile_output(FAMILY.syntax, TOOL_SETS[tools], ToolChoice(mode, names))  # type: ignore[arg-type]


def test_logits_do_not_depend_on_what_is_beside_or_before_them(random_engine: Engine) -> None:
    """Random pieces of one text, with other sequences around them, give bit for bit the same last row."""
    rng = np.random.default_rng(0)
    tokens = [int(t) for t in rng.integers(5, 4000, 700)]
    context = Context(random_engine._model, n_ctx=1024, n_batch=63, n_seq_max=4, n_threads=2, n_threads_batch=2)
    seen: list[np.ndarray] = []
    for trial in range(6):
        for sequence in range(4):
            context.truncate(sequence)
        target, lengths, position = trial % 4, [0] * 4, 0
        while position < len(tokens):
            count = min(int(rng.integers(1, 64 if rng.random() < 0.5 else 6)), len(tokens) - position)
            parts = [Rows(target, position, tokens[position : position + count], n_logits=1)]
            for other in {0, 1, 2, 3} - {target}:
                limit = min(63 // 4, 1000 - lengths[other])
                if trial and count <= 63 // 4 and rng.random() < 0.4 and limit > 0:
                    rows = tokens[: int(rng.integers(1, limit + 1))]
                    parts.append(Rows(other, lengths[other], rows, n_logits=0))
                    lengths[other] += len(rows)
                elif rng.random() < 0.05:
                    context.truncate(other, lengths[other] // 2)
                    lengths[other] //= 2
            begin = int(rng.integers(0, 4)) if count <= 63 // 4 else 4
            span = range(begin, int(rng.integers(begin, 5))) if trial else range(0)
            assert context.decode(parts, span=span) == 0
            position += count
        seen.append(context.logits(0).copy())
    # A copy of the sequence stands for the sequence.
    assert context.copy(target, (target + 1) % 4, 699)
    assert context.decode([Rows((target + 1) % 4, 699, tokens[699:], n_logits=1)]) == 0
    seen.append(context.logits(0).copy())
    context.close()
    for row in seen[1:]:
        assert np.array_equal(row, seen[0])


def test_tiles_give_the_same_bits_however_a_prompt_is_cut(random_engine: Engine) -> None:
    """64 rows and more of a sequence take another kernel; each row of it depends on the sequence alone as well."""
    rng = np.random.default_rng(1)
    tokens = [int(t) for t in rng.integers(5, 4000, 700)]
    context = Context(random_engine._model, n_ctx=1024, n_batch=512, n_seq_max=2, n_threads=2, n_threads_batch=2)
    seen: list[np.ndarray] = []
    for sizes in ([512, 188], [64] * 10 + [60], [100] * 7, [65, 66, 67, 502], [300, 400], [512, 188]):
        position, sequence = 0, len(seen) % 2
        context.truncate(sequence)
        for size in sizes:
            rows = Rows(sequence, position, tokens[position : position + size], n_logits=1)
            assert context.decode([rows], min_rows=64) == 0
            position += size
        assert position == len(tokens)
        seen.append(context.logits(0).copy())
    context.close()
    for row in seen[1:]:
        assert np.array_equal(row, seen[0])


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("which", ["engine", "random_engine"])
def test_four_requests_at_once_get_the_same_answers_as_alone(
    which: str, constrained: bool, request: pytest.FixtureRequest
) -> None:
    """Random weights over 151,936 tokens give near ties everywhere: any rounding would show."""
    engine: Engine = request.getfixturevalue(which)
    rules = grammar() if constrained else None
    prompts = [prompt(engine, question) for question in QUESTIONS]
    alone = [engine.submit(p, max_tokens=40, grammar=rules).result().token_ids for p in prompts]
    for _ in range(3):
        together = [engine.submit(p, max_tokens=40, grammar=rules) for p in prompts]
        assert [generation.result().token_ids for generation in together] == alone


def test_more_requests_than_slots_are_all_served(engine: Engine) -> None:
    generations = [engine.submit(prompt(engine, q), max_tokens=8) for q in QUESTIONS * 4]
    results = [generation.result().token_ids for generation in generations]
    assert results[:4] * 4 == results


def test_a_seed_makes_sampling_repeatable_whatever_runs_before_and_beside_it(engine: Engine) -> None:
    options = SamplingOptions(temperature=4.0, top_p=0.95, min_p=0.001, top_k=50, seed=7)
    first = engine.submit(prompt(engine, "hello"), max_tokens=30, sampling=options).result()
    chance = random.Random(0)
    for _ in range(10):
        questions = [QUESTIONS[chance.randrange(4)] * chance.randint(1, 3) for _ in range(chance.randint(1, 5))]
        beside = [engine.submit(prompt(engine, text), max_tokens=chance.randint(2, 40)) for text in questions]
        if chance.random() < 0.3:
            beside.pop().cancel()
        again = engine.submit(prompt(engine, "hello"), max_tokens=30, sampling=options).result()
        assert first.token_ids == again.token_ids
        for generation in beside:
            generation.result()
    assert first.stats.seed == 7
    other = engine.submit(prompt(engine, "hello"), max_tokens=30, sampling=SamplingOptions(temperature=4.0, seed=8))
    assert other.result().token_ids != first.token_ids


@pytest.mark.parametrize("which", ["engine", "random_engine"])
def test_each_sampled_token_is_the_likeliest_of_the_whole_mask(which: str, request: pytest.FixtureRequest) -> None:
    """Greedy with one check and jump-forward, against brute force over every token, on the same prefix."""
    engine: Engine = request.getfixturevalue(which)
    rules, ids = grammar(mode="required"), prompt(engine, "go")
    result = engine.submit(ids, max_tokens=60, grammar=rules).result()
    constraint = engine.constraint(rules)
    context = Context(engine._model, n_ctx=1024, n_batch=63, n_seq_max=1, n_threads=2, n_threads_batch=2)
    tokens, context_tokens, sampled = result.token_ids, list(ids), 0
    index = 0
    while index < len(tokens):
        if forced := constraint.consume_forced():
            assert tokens[index : index + len(forced)] == forced[: len(tokens) - index]
            context_tokens += forced
            index += len(forced)
            continue
        context.truncate(0)
        for begin in range(0, len(context_tokens), 63):
            rows = Rows(0, begin, context_tokens[begin : begin + 63], n_logits=int(begin + 63 >= len(context_tokens)))
            assert context.decode([rows]) == 0
        masked = np.where(constraint.mask()[: context.n_vocab], context.logits(0), -np.inf)
        assert tokens[index] == int(np.argmax(masked))
        constraint.consume(tokens[index])
        context_tokens.append(tokens[index])
        index, sampled = index + 1, sampled + 1
    context.close()
    assert sampled == result.stats.sampled_tokens
    assert result.stats.forced_tokens > 0


def test_a_prefix_that_was_computed_is_not_computed_again(engine: Engine) -> None:
    ids = prompt(engine, "What is the weather in Rome?")
    engine.submit(ids, max_tokens=4).result()
    again = engine.submit(ids, max_tokens=4).result()
    assert again.stats.cached_tokens == len(ids) - 1
    shared = engine.submit(prompt(engine, "Something else"), max_tokens=4).result()
    assert shared.stats.cached_tokens > 50, "the tools come before the question"


def test_stats_account_for_every_token(engine: Engine) -> None:
    stats = engine.submit(prompt(engine, QUESTIONS[0]), max_tokens=64, grammar=grammar()).result().stats
    assert stats.sampled_tokens > 0
    assert stats.forced_tokens > 0
    assert stats.completion_tokens in {
        stats.sampled_tokens + stats.forced_tokens,
        stats.sampled_tokens + stats.forced_tokens - 1,
    }
    assert stats.constraint_us_per_sampled_token > 0
    assert stats.model_steps + stats.accepted_tokens >= stats.sampled_tokens


def test_pieces_concatenate_to_the_text(engine: Engine) -> None:
    generation = engine.submit(prompt(engine, "hello"), max_tokens=20)
    assert "".join(generation) == generation.result().text


def test_stop_strings_are_never_shown(engine: Engine) -> None:
    ids = prompt(engine, "hello")
    text = engine.submit(ids, max_tokens=30).result().text
    for size in (1, 2, 5):
        stop = text[6 : 6 + size]
        generation = engine.submit(ids, max_tokens=30, stop=(stop,))
        pieces = list(generation)
        assert "".join(pieces) == text[: text.index(stop)]
        assert generation.result().finish_reason == "stop"
        assert generation.result().stopped_by == stop


def test_max_tokens_ends_with_length(engine: Engine) -> None:
    result = engine.submit(prompt(engine, "hello"), max_tokens=3).result()
    assert (len(result.token_ids), result.finish_reason) == (3, "length")


def test_a_request_can_be_cancelled_while_it_waits_prefills_and_decodes(random_engine: Engine) -> None:
    long = prompt(random_engine, "word " * 700)
    running = [random_engine.submit(long, max_tokens=200) for _ in range(4)]
    waiting = random_engine.submit(long, max_tokens=200)
    waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result(timeout=60)
    running[0].cancel()
    with pytest.raises(CancelledError):
        running[0].result(timeout=60)
    next(iter(running[1]))
    running[1].cancel()
    with pytest.raises(CancelledError):
        running[1].result(timeout=60)
    for generation in running[2:]:
        generation.cancel()
    after = random_engine.submit(prompt(random_engine, "hi"), max_tokens=4).result(timeout=60)
    assert len(after.token_ids) == 4


def test_cancelling_one_leaves_the_others_as_they_were(engine: Engine) -> None:
    prompts = [prompt(engine, question) for question in QUESTIONS]
    alone = [engine.submit(p, max_tokens=30).result().token_ids for p in prompts]
    for victim in range(4):
        together = [engine.submit(p, max_tokens=30) for p in prompts]
        threading.Timer(0.005 * victim, together[victim].cancel).start()
        for number, generation in enumerate(together):
            if number != victim:
                assert generation.result().token_ids == alone[number]


def test_a_prompt_that_does_not_fit_says_the_numbers(engine: Engine) -> None:
    with pytest.raises(ContextOverflowError) as caught:
        engine.submit([5] * engine.n_ctx)
    assert (caught.value.prompt_tokens, caught.value.n_ctx) == (engine.n_ctx, engine.n_ctx)
    result = engine.submit([5] * (engine.n_ctx - 3), max_tokens=50).result()
    assert len(result.token_ids) <= 3


@pytest.mark.parametrize("token", [-1, 10**9])
def test_a_token_id_out_of_range_is_refused(engine: Engine, token: int) -> None:
    with pytest.raises(RequestError):
        engine.submit([token])
    with pytest.raises(RequestError):
        engine.submit([5], sampling=SamplingOptions(logit_bias={token: 1.0}))


def test_logit_bias_decides(engine: Engine) -> None:
    biased = SamplingOptions(logit_bias={77: 1000.0})
    assert engine.submit([5, 6], max_tokens=3, sampling=biased).result().token_ids == [77, 77, 77]


def test_penalties_keep_a_token_from_coming_again(engine: Engine) -> None:
    options = SamplingOptions(logit_bias={77: 100.0, 78: 60.0}, presence_penalty=80.0)
    assert engine.submit([5, 6], max_tokens=2, sampling=options).result().token_ids == [77, 78]


@pytest.mark.parametrize(
    "bad",
    [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 2}, {"top_k": "x"}, {"seed": 1.5}, {"min_p": True}],
)
def test_sampling_that_makes_no_sense_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(RequestError) as caught:
        SamplingOptions(**bad)  # type: ignore[arg-type]
    assert caught.value.param in bad


def test_a_broken_grammar_costs_an_error_and_nothing_else(engine: Engine) -> None:
    with pytest.raises(GrammarError):
        engine.submit([5], grammar=CompiledGrammar("start: ((("))
    assert engine.submit([5], max_tokens=2).result().token_ids


def test_closing_ends_running_requests_and_can_be_repeated(demo_path: Path) -> None:
    engine = Engine.load(demo_path)
    running = engine.submit(prompt(engine, "hello"), max_tokens=1500)
    engine.close()
    engine.close()
    with pytest.raises(EngineClosedError):
        running.result(timeout=10)
    with pytest.raises(EngineClosedError):
        engine.submit([5])


def test_several_models_live_side_by_side(demo_path: Path, engine: Engine) -> None:
    with Engine.load(demo_path) as other:
        ids = prompt(engine, QUESTIONS[0])
        a, b = engine.submit(ids, max_tokens=20), other.submit(ids, max_tokens=20)
        assert a.result().token_ids == b.result().token_ids


def test_a_vocabulary_without_weights_is_refused(qwen2_vocab: Path) -> None:
    with pytest.raises(ModelLoadError, match="no weights"):
        Engine.load(qwen2_vocab)


def test_memory_comes_back_after_close(demo_path: Path) -> None:
    import gc

    import psutil

    process = psutil.Process()

    def load_and_close() -> int:
        with Engine.load(demo_path) as engine:
            engine.submit([5, 6, 7], max_tokens=4).result()
        gc.collect()
        return int(process.memory_info().rss)

    for _ in range(3):
        load_and_close()
    before = load_and_close()
    for _ in range(5):
        after = load_and_close()
    assert after < before + 40 * 2**20


def test_an_answer_can_continue_from_its_start(engine: Engine) -> None:
    rules, ids = grammar(mode="required"), prompt(engine, QUESTIONS[0])
    whole = engine.submit(ids, max_tokens=60, grammar=rules).result()
    for size in (1, len(whole.token_ids) // 2, len(whole.token_ids) - 1):
        start = tuple(whole.token_ids[:size])
        generation = engine.submit(ids, max_tokens=60, grammar=rules, answer_start=start)
        assert "".join(generation) == whole.text
        assert generation.result().token_ids == whole.token_ids


def test_an_answer_cannot_start_with_text_that_the_grammar_forbids(engine: Engine) -> None:
    wrong = tuple(engine.tokenizer.encode("nonsense"))
    with pytest.raises(ConstraintError):
        engine.submit(prompt(engine, "hi"), grammar=grammar(mode="required"), answer_start=wrong).result()
    with pytest.raises(RequestError):
        engine.submit(prompt(engine, "hi"), answer_start=(1 << 30,))
    assert engine.submit(prompt(engine, "hi"), max_tokens=2).result().token_ids

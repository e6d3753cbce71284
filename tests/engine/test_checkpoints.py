"""Models whose memory cannot be cut: prompts that go on differently are computed from a checkpoint, to the same bits."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgefc
from edgefc.engine import Engine, EngineOptions, Generation, GenerationResult, config, gbnf_grammar, llama
from edgefc.engine import engine as engine_module
from edgefc.engine.checkpoints import MAX_CHECKPOINTS, Checkpoints
from edgefc.engine.context import Context, Rows
from edgefc.engine.prefill import MIN_ROWS, TAIL, TILE, chunk_size, split_at_checkpoints, whole_tiles
from edgefc.gguf import memory
from edgefc.grammar import CompiledGrammar
from edgefc.tools.examples import EXAMPLE_TOOLS
from tests.memory_models import WINDOW, write_gemma3, write_granite, write_lfm2, write_qwen35
from tests.model_files import write_mamba

WRITERS = {"mamba": write_mamba, "lfm2": write_lfm2, "qwen35": write_qwen35, "granite": write_granite}
ANSWER = 12  # tokens
# With one slot no row is padded: attention splits it among threads, and its bits depend on the cells in use.
ONE = EngineOptions(n_ctx=1024, n_seq_max=1, n_threads=1, prefix_disk=0)
TWO = EngineOptions(n_ctx=1024, n_seq_max=2, prefix_disk=0)
NOTHING = replace(TWO, prefix_memory=0)


def text(number: int, size: int) -> list[int]:
    chance = random.Random(number)
    return [chance.randrange(3, 259) for _ in range(size)]


# With 512 tokens and more, ggml's attention splits a single row among threads.
TOOLS, OTHER = text(1, 520), text(2, 300)


@pytest.fixture(scope="module", params=[*WRITERS, "qwen35, rows dropped"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give each shape, of which only lfm2 can drop rows at a low price; at last qwen35 as if it could."""
    name, _, is_forced = str(request.param).partition(",")
    with pytest.MonkeyPatch.context() as patch:
        if is_forced:
            patch.setattr(memory, "rollback", lambda *_: 3)
        yield WRITERS[name](tmp_path_factory.mktemp(name) / f"{name}.gguf")


@pytest.fixture
def engine(model: Path) -> Iterator[Engine]:
    with Engine.load(model, TWO) as loaded:
        yield loaded


def goes_on_at(loaded: Engine, length: int) -> int:
    """Tokens found of a prompt of `length` tokens with its answer: the last sampled one was not computed."""
    return length + ANSWER - 1 if loaded._context.rollback else length - TAIL


Ask = Callable[..., GenerationResult]


@pytest.fixture(scope="module")
def check(model: Path) -> Ask:
    return comparison(model)


def comparison(model: Path, setting: EngineOptions = TWO) -> Ask:
    """Return a function that asks an engine, and compares the answer's probabilities with those of a new process."""
    cold: dict[tuple[int, ...], GenerationResult] = {}

    def ask(loaded: Engine, prompt: list[int], prefix: int = len(TOOLS), answer: int = 0) -> GenerationResult:
        """`answer`: where an earlier answer of the model begins."""
        spans = ((answer, answer + ANSWER),) if answer else ()
        options = {"max_tokens": ANSWER, "prefix": prefix, "answer_spans": spans, "logprobs": 2}
        result = loaded.submit(prompt, **options).result()  # type: ignore[arg-type]
        key = (answer, *prompt)
        if key not in cold:
            with Engine.load(model, replace(setting, prefix_memory=0)) as fresh:
                cold[key] = fresh.submit(prompt, **options).result()  # type: ignore[arg-type]
        assert cold[key].stats.cached_tokens == 0
        assert result.token_ids == cold[key].token_ids
        assert result.logprobs == cold[key].logprobs, "the same bits"
        return result

    return ask


def test_a_conversation_goes_on_from_the_last_checkpoint(engine: Engine, check: Ask) -> None:
    first = [*TOOLS, *text(3, 40)]
    end = len(first)
    answer = check(engine, first).token_ids
    again = check(engine, first)
    assert (again.stats.cached_tokens, again.stats.cached_from) == (end - TAIL, "slot"), "the same prompt"
    second = [*first, *answer, *text(4, 30)]
    assert check(engine, second, answer=end).stats.cached_tokens == goes_on_at(engine, end)
    edited = [*first, *answer, *text(5, 50)]
    assert check(engine, edited, answer=end).stats.cached_tokens == end + ANSWER, "another last message"
    without_thoughts = [*first[:-3], *answer[5:], *text(6, 20)]
    assert check(engine, without_thoughts).stats.cached_tokens == end - TAIL
    other_question = [*TOOLS, *text(7, 20)]
    assert check(engine, other_question).stats.cached_tokens == len(TOOLS)
    assert check(engine, [*TOOLS[:50], *text(8, 20)], prefix=50).stats.cached_tokens == 0


def test_no_single_row_is_left_before_a_border(engine: Engine, check: Ask) -> None:
    """A slot ends, after a prompt without an answer, one token before the last message of the next prompt."""
    first = [*TOOLS, *text(35, 40)]
    engine.submit(first, max_tokens=1, prefix=len(TOOLS)).result()
    prompt = [*first, *text(36, 25)]
    cached = check(engine, prompt, answer=len(first) + 1 - ANSWER).stats.cached_tokens
    assert cached == (len(first) if engine._context.rollback else len(first) - TAIL)
    # A row that is always computed alone, as when tools are warmed, does no harm.
    assert check(engine, [*TOOLS, 5]).stats.cached_tokens == len(TOOLS)


def test_conversations_in_turn_and_side_by_side(engine: Engine, check: Ask) -> None:
    """Two tool sets, then a third conversation that has to take one of their slots."""
    prompts = {tools[0]: [*tools, *text(9, 30)] for tools in (TOOLS, OTHER)}
    for tools in (TOOLS, OTHER) * 2:
        prompt = prompts[tools[0]]
        result = check(engine, prompt, prefix=len(tools))
        prompts[tools[0]] = [*prompt, *result.token_ids, *text(len(prompt), 25)]
        first = len(tools) + 30
        assert result.stats.cached_tokens == (0 if len(prompt) == first else goes_on_at(engine, first))
    third = [engine.submit([*tools, *text(10, 30)], max_tokens=1, prefix=len(tools)) for tools in (TOOLS, OTHER)]
    assert [generation.result().stats.cached_tokens for generation in third] == [len(TOOLS), len(OTHER)]
    assert check(engine, text(11, 400), prefix=0).stats.cached_tokens == 0
    for tools in (OTHER, TOOLS):
        assert check(engine, [*tools, *text(12, 30)], prefix=len(tools)).stats.cached_tokens == len(tools)


def test_a_conversation_that_made_room_comes_back_from_memory(model: Path) -> None:
    check = comparison(model, ONE)
    long = [*TOOLS, *text(13, 300)]
    with Engine.load(model, ONE) as loaded:
        answer = check(loaded, long).token_ids
        check(loaded, OTHER, prefix=0)
        turn = [*long, *answer, *text(14, 20)]
        back = check(loaded, turn, answer=len(long))
        assert (back.stats.cached_tokens, back.stats.cached_from) == (len(long) - TAIL, "memory")
        assert check(loaded, turn, answer=len(long)).stats.cached_from == "slot"
        assert loaded.cached_bytes["prompts"] > 0


def test_another_slot_copies_a_checkpoint(model: Path, engine: Engine, check: Ask) -> None:
    first = [*TOOLS, *text(15, 40)]
    check(engine, first)
    busy = engine.submit([*first, *text(16, 60)], max_tokens=60, prefix=len(TOOLS))
    beside = engine.submit([*TOOLS, *text(17, 30)], max_tokens=1, prefix=len(TOOLS), logprobs=2)
    result = beside.result()
    busy.result()
    assert (result.stats.cached_tokens, result.stats.cached_from) == (len(TOOLS), "copy")
    with Engine.load(model, NOTHING) as fresh:
        alone = fresh.submit([*TOOLS, *text(17, 30)], max_tokens=1, prefix=len(TOOLS), logprobs=2).result()
    assert result.logprobs == alone.logprobs
    assert check(engine, [*TOOLS, *text(18, 30)]).stats.cached_tokens == len(TOOLS)


def test_conversations_at_random(model: Path, check: Ask) -> None:
    """New ones, further turns, edited ones and cancelled ones, in three slots."""
    chance = random.Random(0)
    conversations: list[tuple[list[int], int]] = []  # a prompt and its answer, and where the answer begins
    with Engine.load(model, EngineOptions(n_ctx=1024, n_seq_max=3, prefix_disk=0)) as loaded:
        for _ in range(25):
            if conversations and chance.random() < 0.7:
                tokens, answer = chance.choice(conversations)
                if chance.random() < 0.3:
                    tokens, answer = tokens[: answer - chance.randrange(20)], 0
            else:
                tokens, answer = chance.choice([TOOLS, OTHER]), 0
            size = len(TOOLS if tokens[0] == TOOLS[0] else OTHER)
            prompt = [*tokens, *text(chance.randrange(100, 120), chance.randint(1, 50))]
            if chance.random() < 0.2:
                loaded.submit([*prompt, *text(37, 200)], max_tokens=5, prefix=size).cancel()
            result = check(loaded, prompt, prefix=size, answer=answer)
            if len(result.token_ids) == ANSWER and len(prompt) < 800:
                conversations = [*conversations[-4:], ([*prompt, *result.token_ids], len(prompt))]


def test_forced_text_and_drafts_change_nothing_but_the_steps(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests side by side, whose text is partly forced and partly foreseen: each as if it were the only one."""
    grammar = gbnf_grammar('root ::= [a-c]{4} "-and-then,-as-everybody-knows,-" [a-c]{30} "-the-end"')
    prompts = [[*text(40 + number, 60), *([100, 101, 102, 99] * 20)] for number in range(3)]

    def ask(loaded: Engine, prompt: list[int], rules: CompiledGrammar | None) -> Generation:
        return loaded.submit(prompt, max_tokens=70, grammar=rules)

    with Engine.load(model, EngineOptions(n_ctx=1024, n_seq_max=3, prefix_memory=0, prefix_disk=0)) as loaded:
        requests = [(prompt, rules) for rules in (None, grammar) for prompt in prompts]
        together = [ask(loaded, *request) for request in requests]
        drafted = [generation.result() for generation in together]
        monkeypatch.setattr(engine_module, "MAX_DRAFT", 0)
        plain = [ask(loaded, *request).result() for request in requests]
        assert sum(result.stats.forced_tokens for result in drafted) > 0
        assert (sum(result.stats.accepted_tokens for result in drafted) > 0) == (loaded._context.rollback > 0)
        if loaded._context.rollback:
            assert [result.token_ids for result in drafted] == [result.token_ids for result in plain]


@pytest.mark.parametrize(("name", "value"), [("K_QUANTS", range(16)), ("MAX_PADDING_COST", 0.5)])
def test_where_no_bits_are_promised_answers_are_not_computed_again(
    name: str, value: object, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, name, value)
    first = [*TOOLS, *text(3, 40)]
    with Engine.load(model, TWO) as loaded:
        answer = loaded.submit(first, max_tokens=ANSWER).result().token_ids
        assert len(answer) == ANSWER
        again = loaded.submit([*first, *answer, *text(51, 20)], max_tokens=1).result()
        expected = len(first) + ANSWER - 1
        if name == "MAX_PADDING_COST" and not loaded._context.rollback:
            expected = len(first) - TAIL  # such rows are never padded, whatever that costs
        assert again.stats.cached_tokens == expected


@pytest.mark.parametrize("failure", ["nothing saved", "not restored", "out of memory"])
def test_without_checkpoints_the_prompt_is_computed_again(
    failure: str, engine: Engine, check: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> np.ndarray:
        raise MemoryError

    if failure == "not restored":
        real = Context.restore_recurrent
        monkeypatch.setattr(
            Context, "restore_recurrent", lambda self, slot, data, length: real(self, slot, data[:-1], length)
        )
    else:
        empty = np.empty(0, dtype=np.uint8)
        monkeypatch.setattr(Context, "save_recurrent", no_memory if failure == "out of memory" else lambda *_: empty)
        monkeypatch.setattr(Context, "recurrent_part", no_memory if failure == "out of memory" else lambda *_: empty)
    first = [*TOOLS, *text(25, 40)]
    check(engine, first)
    assert check(engine, first).stats.cached_tokens in {0, len(TOOLS)}
    assert check(engine, [*TOOLS, *text(26, 20)]).stats.cached_tokens in {0, len(TOOLS)}


@pytest.mark.parametrize("quantization", ["Q8_0", "Q4_0"])
def test_a_chat_goes_on_from_checkpoints(quantization: str, small_vocab: Path, tmp_path: Path) -> None:
    """With tools, the same question again, another one in its place, and a further turn."""
    path = write_lfm2(tmp_path / "lfm2.gguf", quantization=quantization, vocabulary=small_vocab)

    def load() -> edgefc.Model:
        return edgefc.load(path, family="lfm2", n_ctx=2048, prefix_disk=0)

    def ask(model: edgefc.Model, messages: list[dict[str, object]]) -> edgefc.Reply:
        return model.chat(messages, tools=EXAMPLE_TOOLS[:2], max_tokens=12, temperature=0)

    question = {"role": "user", "content": "What is the weather in Oslo?"}
    with load() as model:
        first = ask(model, [question])
        prompt = first.stats.prompt_tokens
        answer = {"role": "assistant", "content": first.content or "x"}
        chats = [[question], [{**question, "content": "And in Rome?"}], [question, answer, question]]
        chats.append([question, answer, {**question, "content": "And in Lima?"}])
        replies = [ask(model, chat) for chat in chats]
    again, other, further, edited = (reply.stats.cached_tokens for reply in replies)
    assert again == prompt - TAIL
    assert 0 < other < prompt - TAIL, "the tools"
    assert further >= other
    assert edited > prompt, "up to the last message"
    for chat, reply in zip(chats, replies, strict=True):
        with load() as fresh:
            alone = ask(fresh, chat)
        assert alone.stats.cached_tokens == 0
        assert (reply.content, reply.stats.completion_tokens) == (alone.content, alone.stats.completion_tokens)


# -- sliding windows ----------------------------------------------------------------------------------------------


def test_sliding_windows_are_cut_anywhere(tmp_path: Path) -> None:
    path = write_gemma3(tmp_path / "gemma3.gguf")
    check = comparison(path)
    with Engine.load(path, TWO) as loaded:
        first = [*TOOLS, *text(30, 40)]
        answer = check(loaded, first).token_ids
        assert check(loaded, first).stats.cached_tokens == len(first) - 1
        second = [*first, *answer, *text(31, 30)]
        assert check(loaded, second, answer=len(first)).stats.cached_tokens >= len(first) - 1
        # What follows the tools was short, and is long now: another kernel computes it.
        assert check(loaded, [*first[:-5], *text(32, 90)]).stats.cached_tokens == whole_tiles(len(TOOLS), WINDOW)
        assert check(loaded, OTHER, prefix=100).stats.cached_tokens == 0
        assert check(loaded, [*TOOLS, *text(33, 30)]).stats.cached_tokens == whole_tiles(len(TOOLS), WINDOW)


def test_restored_windows_are_used_as_a_whole(tmp_path: Path) -> None:
    """llama.cpp saves the last window of these layers: before it, there is nothing to go back to."""
    path = write_gemma3(tmp_path / "gemma3.gguf")
    check, saved = comparison(path, ONE), whole_tiles(len(TOOLS), WINDOW)
    assert (saved, saved % TILE) == (512, 0)
    long = [*TOOLS, *text(38, 300)]
    with Engine.load(path, ONE) as loaded:
        check(loaded, long)
        check(loaded, OTHER, prefix=0)
        part = check(loaded, [*long[:700], *text(39, 90)])
        assert (part.stats.cached_from, part.stats.cached_tokens) == ("memory", saved)
        assert check(loaded, [*TOOLS[:400], *text(40, 90)], prefix=400).stats.cached_tokens == 0
        check(loaded, OTHER, prefix=0)
        back = check(loaded, [*long, *text(41, 90)])
        assert (back.stats.cached_from, back.stats.cached_tokens >= 768) == ("memory", True)
    with Engine.load(path, TWO) as loaded:
        check = comparison(path)
        check(loaded, long)
        check(loaded, OTHER, prefix=0)
        check(loaded, text(42, 300), prefix=0)
        jobs = [loaded.submit([*tools, *text(43, 90)], max_tokens=1, prefix=0, logprobs=2) for tools in (long, OTHER)]
        results = [job.result() for job in jobs]
    for tools, result in zip((long, OTHER), results, strict=True):
        with Engine.load(path, NOTHING) as fresh:
            alone = fresh.submit([*tools, *text(43, 90)], max_tokens=1, logprobs=2).result()
        assert result.logprobs == alone.logprobs


@pytest.mark.parametrize("full", [True, False])
def test_windows_of_their_own_size_would_change_answers(
    full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `swa_full` the windowed layers' cells go round, and a token's bits depend on what was there before."""
    real = llama.api.llama_context_default_params

    def params() -> object:
        chosen = real()
        chosen.swa_full = full
        return chosen

    monkeypatch.setattr(llama.api, "llama_context_default_params", params)
    model = llama.Model(write_gemma3(tmp_path / "gemma3.gguf"), n_gpu_layers=0, use_extra_bufts=True)
    context = Context(model, n_ctx=1024, n_batch=63, n_seq_max=2, n_threads=1, n_threads_batch=1)
    tokens = text(34, 700)

    def logits(*, draft: int = 0, restore_at: int = -1) -> np.ndarray:
        sequence = 0
        context.truncate(0)
        for begin in range(0, 700, 7):
            part = Rows(sequence, begin, [*tokens[begin : begin + 7], *TOOLS[:draft]], n_logits=draft + 1)
            assert context.decode([part]) == 0
            context.truncate(sequence, begin + 7)
            if begin == restore_at:
                sequence = 1
                assert context.restore(sequence, context.save(0), begin + 7)
        return context.logits(0).copy()

    usual, drafted, restored = logits(), logits(draft=9), logits(restore_at=350)
    context.close()
    model.close()
    assert np.array_equal(usual, drafted) == full
    assert np.array_equal(usual, restored) == full


@pytest.mark.parametrize("rollback", [0, 3])
@pytest.mark.parametrize("name", WRITERS)
def test_a_saved_state_ends_with_its_recurrent_part(name: str, rollback: int, tmp_path: Path) -> None:
    model = llama.Model(WRITERS[name](tmp_path / f"{name}.gguf"), n_gpu_layers=0, use_extra_bufts=True)
    context = Context(model, n_ctx=64, n_batch=32, n_seq_max=3, n_threads=1, n_threads_batch=1, rollback=rollback)
    for slot in (1, 2):
        assert context.decode([Rows(slot, 0, TOOLS[slot : slot + 21], n_logits=3)]) == 0
    if context.rollback:
        assert context.truncate(1, 19)  # llama.cpp keeps a state for each row that can be dropped
    size, state = context.recurrent_bytes(1), context.save(1)
    assert (state.nbytes > size) == (name != "mamba"), "attention has a part too"
    assert np.array_equal(context.recurrent_part(state, size), context.save_recurrent(1))
    assert context.restore(0, state, 19 if context.rollback else 21)
    assert context.recurrent_bytes(0) == size
    context.close()
    model.close()


# -- bounds -------------------------------------------------------------------------------------------------------


def test_checkpoints_are_bounded(tmp_path: Path) -> None:
    model = llama.Model(write_mamba(tmp_path / "mamba.gguf"), n_gpu_layers=0, use_extra_bufts=True)
    context = Context(model, n_ctx=64, n_batch=32, n_seq_max=4, n_threads=1, n_threads_batch=1)
    for slot in range(4):
        assert context.decode([Rows(slot, 0, TOOLS[:20], n_logits=0)]) == 0
    size = context.save_recurrent(0).nbytes
    checkpoints = Checkpoints(context, 10 * size)
    for length in range(10, 100, 10):
        checkpoints.save(0, length)
    assert checkpoints.bytes_in_memory == MAX_CHECKPOINTS * size
    assert [checkpoints.longest(0, limit) for limit in (9, 60, 75, 95)] == [0, 10, 70, 90], "the first one stays"
    for slot in range(1, 4):
        for length in range(10, 60, 10):
            checkpoints.save(slot, length)
    assert checkpoints.bytes_in_memory == 10 * size
    checkpoints.drop(3, 30)
    assert checkpoints.longest(3, 99) == 30

    for slot in range(4):
        checkpoints.drop(slot)
    assert checkpoints.bytes_in_memory == 0
    state = context.save_recurrent(0)
    small, large = (np.concatenate([np.zeros(extra * size, dtype=np.uint8), state]) for extra in (1, 2))
    for slot in range(2):
        checkpoints.save(slot, 10, small)
    assert checkpoints.bytes_in_memory == small.nbytes, "the same array is there once"
    checkpoints.save(2, 10, large)
    assert checkpoints.bytes_in_memory == small.nbytes + size, "a large one is not kept for a part of it"
    checkpoints.drop(2)
    assert checkpoints.restore(0, 10) == 0, "these are made up"
    assert checkpoints.bytes_in_memory == small.nbytes + size
    context.close()
    model.close()


def test_no_row_of_a_prompt_is_computed_alone() -> None:
    for length in range(1, 200):
        for prefix in {0, length // 2, max(length - 5, 0)}:
            begin = 0
            for segment in split_at_checkpoints(length, prefix, ((0, length - 12),)):
                while begin < segment.end:
                    size = chunk_size(segment.end - begin, tiled=False, limit=63, n_batch=512)
                    assert size >= MIN_ROWS or length == 1 or prefix == 1 or length - prefix == 1
                    begin += size
            assert begin == length

"""The workloads: functions that measure and yield rows of the table. benchmarks/README.md describes them."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import child, peer
from benchmarks.cases import Case, story_request
from benchmarks.report import Row
from benchmarks.setting import LARGE, SETTLE_S, TOKENS_PER_WORD, Ask, Setting, in_turns
from benchmarks.sides import Answer, ask_edgefc, ask_server, same

MAX_TOKENS = 320
PREFILL, TEXT = 512, 128  # tokens
COUNTS = ("completion_tokens", "model_steps", "sampled_tokens", "forced_tokens", "accepted_tokens", "drafted_tokens")

Workload = Callable[[Setting], Iterator[Row]]


def one_tool(setting: Setting) -> Iterator[Row]:
    yield _decode(setting, "W1 one tool", setting.plan.one_tool)


def many_tools(setting: Setting) -> Iterator[Row]:
    cases = setting.plan.many_tools
    yield _decode(setting, f"W2 {len(cases[0].tools or ())} tools", cases)


def copying(setting: Setting) -> Iterator[Row]:
    yield _decode(setting, "W3 text copied into an argument", setting.plan.copying)


def _decode(setting: Setting, name: str, cases: Sequence[Case]) -> Row:
    """Measure answers to prompts that are in both caches; the server's own time counts, without HTTP."""
    row, answers = Row(name, "s", 0.6), []
    with setting.both() as (ours, theirs):
        for case in cases[: setting.prompts]:
            in_turns(0, ours, theirs, case, max_tokens=MAX_TOKENS)
            for number in range(setting.rounds):
                one, other = in_turns(number, ours, theirs, case, max_tokens=MAX_TOKENS)
                row.add(one.computed, other.computed)
                _check_answers(row, one, other)
                answers.append(one)
    row.note = _token_counts(answers)
    return row


def agent(setting: Setting) -> Iterator[Row]:
    """Measure conversations whose tools are cached; each turn's prompt is the same for both, whatever they answered."""
    conversations = setting.plan.agent[: setting.prompts]
    row, answers = Row(f"W4 agent, {len(conversations[0])} turns together", "s"), []
    with setting.both() as (ours, theirs):

        def our_turns(turns: Sequence[Case]) -> list[Answer]:
            return [ours(turn, max_tokens=MAX_TOKENS) for turn in turns]

        def their_turns(turns: Sequence[Case]) -> list[Answer]:
            return [theirs(turn, max_tokens=MAX_TOKENS) for turn in turns]

        in_turns(0, our_turns, their_turns, conversations[0][:1])
        for number in range(setting.rounds * len(conversations)):
            turns = [turn.with_ticket(number + 1) for turn in conversations[number // setting.rounds]]
            one, other = in_turns(number, our_turns, their_turns, turns)
            row.add(sum(answer.seconds for answer in one), sum(answer.seconds for answer in other))
            for mine, its in zip(one, other, strict=True):
                _check_answers(row, mine, its)
            answers += one
    row.note = f"a turn: {_token_counts(answers)}"
    yield row


def alternating(setting: Setting) -> Iterator[Row]:
    """Measure whole requests with two sets of tools in turns; both sets were used before."""
    cases = setting.plan.alternating
    for slots, bar in ((1, 0.5), (None, 1.0)):
        row, answers = Row(f"W5 two tool sets in turns, {'one slot' if slots else 'default slots'}", "s", bar), []
        with setting.both(slots) as (ours, theirs):
            for number in range(-2, max(setting.prompts, 2) * setting.rounds // 2 * 2):
                case = cases[number % len(cases)].with_ticket(number + 10)
                one, other = in_turns(number // 2, ours, theirs, case, max_tokens=MAX_TOKENS)
                if number >= 0:
                    row.add(one.seconds, other.seconds)
                    _check_answers(row, one, other)
                    answers.append(one)
        row.note = _cached_share(answers)
        yield row


def restarting(setting: Setting) -> Iterator[Row]:
    """Measure the first call of a fresh process, without its start; edgefc's tools are on disk from an earlier one."""
    load = Row("load, until ready for requests", "s", 1.1)

    def ours(case: Case) -> dict[str, Any]:
        return _in_child(setting, case)

    def theirs(case: Case) -> tuple[float, Answer]:
        with setting.server() as server:
            answer = ask_server(server, setting.requests, case, max_tokens=MAX_TOKENS, stream=True)
            return server.load_s, answer

    for cases in setting.plan.restarting:
        size = len(setting.requests.build(cases[0]).prompt)
        first = Row(f"W6 restart, prompt of {size}: first choice", "s", 0.1)
        whole = Row(f"W6 restart, prompt of {size}: whole call", "s")
        sources, earliest = set(), []
        ours(cases[-1])  # the earlier process
        for number in range(setting.rounds):
            case = cases[number % (len(cases) - 1)].with_ticket(number + 1)
            one, (load_s, other) = in_turns(number, ours, theirs, case)
            first.add(one["first_s"], other.arrivals[setting.requests.forced_start(case)])
            earliest.append(other.arrivals[0])
            whole.add(one["whole_s"], other.seconds)
            load.add(one["load_s"], load_s)
            first.check(one["valid"], other.valid, same(one["message"], other.message))
            sources.add(f"{one['cached_tokens']} tokens from {one['cached_from'] or 'nothing'}")
        first.note = (
            f"edgefc reused {', '.join(sorted(sources))}; the peer's very first token after "
            f"{statistics.median(earliest):.3g} s"
        )
        yield first
        yield whole
    yield load


def parallel(setting: Setting) -> Iterator[Row]:
    """Measure calls per second of all clients together; each requests one call after another."""
    for clients in (4, 8):
        row = Row(f"W7 {clients} clients", "call/s", 1.0, at_least=True)
        each = min(max(1, setting.prompts // 4), len(setting.plan.parallel) // clients)
        with setting.both(clients, min(1024, setting.n_ctx)) as (ours, theirs):
            our_clients, their_clients = _Clients(ours, clients), _Clients(theirs, clients)
            for number in range(-1, setting.rounds):
                cases = [case.with_ticket(number + 2) for case in setting.plan.parallel[: clients * each]]
                for case in cases:
                    setting.requests.build(case)  # before the clock starts
                (rate, one), (its_rate, other) = in_turns(number, our_clients, their_clients, cases)
                if number < 0:
                    continue  # the first round puts the tools into every slot
                row.add(rate, its_rate)
                for mine, its in zip(one, other, strict=True):
                    _check_answers(row, mine, its)
        yield row


class _Clients:
    """Parallel clients, each with its share of the cases; returns calls per second, and the answers."""

    def __init__(self, ask: Ask, count: int) -> None:
        self._ask, self._count = ask, count

    def __call__(self, cases: Sequence[Case]) -> tuple[float, list[Answer]]:
        def client(number: int) -> list[Answer]:
            return [self._ask(case, max_tokens=MAX_TOKENS) for case in cases[number :: self._count]]

        with ThreadPoolExecutor(self._count) as pool:
            started = time.perf_counter()
            answers = [answer for part in pool.map(client, range(self._count)) for answer in part]
            return len(answers) / (time.perf_counter() - started), answers


def thinking(setting: Setting) -> Iterator[Row]:
    """Measure the cost of a token of free text before a call, with 30 tools."""
    row, answers = Row(f"W8 auto, {setting.free} free tokens, then a call", "ms", 1.0), []
    cases = setting.plan.thinking[: setting.prompts]
    prompt = max(len(setting.requests.build(case).prompt) for case in cases)
    max_tokens = round(setting.free * 1.3) + 100
    n_ctx = -(-(prompt + max_tokens) // 256) * 256 if setting.n_ctx >= LARGE else setting.n_ctx
    max_tokens = min(max_tokens, n_ctx - prompt)
    with setting.both(None, n_ctx) as (ours, theirs):

        def theirs_lazy(case: Case, *, max_tokens: int) -> Answer:
            return theirs(case, max_tokens=max_tokens, lazy_grammar=True)

        for case in cases:
            in_turns(0, ours, theirs_lazy, case, max_tokens=1)
            for number in range(setting.rounds):
                one, other = in_turns(number, ours, theirs_lazy, case, max_tokens=max_tokens)
                row.add(1000 * one.computed / one.tokens, 1000 * other.computed / other.tokens)
                _check_answers(row, one, other)
                answers.append(one)
    row.note = _token_counts(answers)
    yield row


def plain(setting: Setting) -> Iterator[Row]:
    """Measure text without tools and long prompts, also against llama-bench, which only computes."""
    text, bare_text, fill, bare_fill = (
        Row(f"W9 {what}, against {whom}", "tok/s", 0.97, at_least=True)
        for what in ("plain text", f"prefill of {PREFILL}")
        for whom in ("llama-server", "llama-bench")
    )
    answers: list[Answer] = []
    assert setting.binary is not None
    with setting.model() as model, setting.server() as server:

        def ours(case: Case, *, max_tokens: int) -> Answer:
            return ask_edgefc(model, case, max_tokens=max_tokens)

        def theirs(case: Case, *, max_tokens: int) -> Answer:
            return ask_server(server, setting.requests, case, max_tokens=max_tokens)

        def our_prefill(case: Case) -> float:
            stats = ours(case, max_tokens=16).stats  # more tokens than a grammar forces at once
            assert stats is not None
            return (stats.prompt_tokens - stats.cached_tokens) / stats.prefill_s

        def their_prefill(case: Case) -> float:
            timings = server.complete(setting.requests.build(case).prompt, max_tokens=1).timings
            return 1000 * timings["prompt_n"] / timings["prompt_ms"]

        for case in setting.plan.plain[: setting.prompts]:
            in_turns(0, ours, theirs, case, max_tokens=2)
            for number in range(setting.rounds):
                one, other = in_turns(number, ours, theirs, case, max_tokens=TEXT)
                rng = random.Random(len(answers))
                long = story_request(rng, "river", 1, prompt_words=round(PREFILL / TOKENS_PER_WORD))
                mine, its = in_turns(number, our_prefill, their_prefill, long.with_ticket(len(answers)))
                time.sleep(SETTLE_S)
                bench = peer.bench(setting.binary, setting.path, prompt=PREFILL, generate=TEXT, threads=setting.threads)
                text.add(one.tokens / one.computed, other.tokens / other.computed)
                text.check(True, True, same(one.message, other.message))
                bare_text.add(one.tokens / one.computed, bench["generate"])
                fill.add(mine, its)
                bare_fill.add(mine, bench["prompt"])
                answers.append(one)
    text.note = _token_counts(answers)
    yield from (text, bare_text, fill, bare_fill)


def memory(setting: Setting) -> Iterator[Row]:
    """Measure the peak memory of each side for one long prompt with the same context, mapped files included."""
    row = Row("memory peak", "MB", 1.1, slack=150)

    def ours(case: Case) -> float:
        return float(_in_child(setting, case)["peak"]) / 1e6

    def theirs(case: Case) -> float:
        with setting.server() as server:
            ask_server(server, setting.requests, case, max_tokens=MAX_TOKENS)
            return server.peak_memory() / 1e6

    for number in range(min(setting.rounds, 3)):
        row.add(*in_turns(number, ours, theirs, setting.plan.many_tools[0]))
    yield row


def _in_child(setting: Setting, case: Case) -> dict[str, Any]:
    return child.run(
        setting.path, setting.family, case, n_ctx=setting.n_ctx, threads=setting.threads, max_tokens=MAX_TOKENS
    )


def _check_answers(row: Row, ours: Answer, theirs: Answer) -> None:
    row.check(ours.valid, theirs.valid, same(ours.message, theirs.message))


def _token_counts(answers: Sequence[Answer]) -> str:
    """Format the averages per answer of edgefc's counters."""
    stats = [answer.stats for answer in answers if answer.stats is not None]
    tokens, steps, *shares = (statistics.mean(getattr(one, name) for one in stats) for name in COUNTS)
    return "{:.0f} tokens in {:.1f} steps: {:.1f} sampled, {:.1f} forced, {:.1f} of {:.1f} drafted".format(
        tokens, steps, *shares
    )


def _cached_share(answers: Sequence[Answer]) -> str:
    stats = [answer.stats for answer in answers if answer.stats is not None]
    share = sum(one.cached_tokens for one in stats) / sum(one.prompt_tokens for one in stats)
    return f"{share:.0%} of prompts from {', '.join(sorted({one.cached_from or 'nothing' for one in stats}))}"


WORKLOADS: dict[str, Workload] = {
    "W1": one_tool, "W2": many_tools, "W3": copying, "W4": agent, "W5": alternating, "W6": restarting,
    "W7": parallel, "W8": thinking, "W9": plain, "memory": memory,
}  # fmt: skip

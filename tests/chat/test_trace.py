"""The trace of an answer: its numbers are those of the statistics, its origins those of the grammar."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import pytest

import edgefc
from edgefc.chat import openai
from edgefc.chat.trace import Trace
from edgefc.engine import selftest
from edgefc.engine.stock_llama import StockEngine
from edgefc.engine.trace import MAX_TOKENS, TokenLog
from edgefc.errors import InvalidCallError
from edgefc.formats import load_family
from edgefc.tools.examples import EXAMPLE_TOOLS
from tests.chat.test_validation import ask as ask_for_numbers
from tests.chat.test_validation import tool

CHAT: Any = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "What is the weather in Paris and in Oslo?"},
]


@pytest.fixture(scope="module")
def model() -> Iterator[edgefc.Model]:
    with edgefc.load("demo", n_threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module", params=["engine", "stock"])
def any_model(request: pytest.FixtureRequest, model: edgefc.Model, demo_path: Path) -> Iterator[edgefc.Model]:
    """A model on edgefc's engine, and one on a stock Llama."""
    if request.param == "engine":
        yield model
        return
    if selftest.verdict() != "fine":
        pytest.skip("this build of llama.cpp crashes on this processor when a stock Llama decodes")
    llama = llama_cpp.Llama(str(demo_path), n_ctx=2048, n_threads=1, verbose=False)
    yield edgefc.Model(StockEngine(llama), load_family("demo"), path=demo_path, name="stock")
    llama.close()


def ask(model: edgefc.Model, **options: Any) -> edgefc.Reply:
    reply: edgefc.Reply = model.chat(CHAT, tools=EXAMPLE_TOOLS, **{"temperature": 0, "trace": True, **options})
    return reply


def trace_of(reply: edgefc.Reply) -> Trace:
    assert reply.trace is not None
    return reply.trace


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_numbers_are_those_of_the_statistics(any_model: edgefc.Model, temperature: float) -> None:
    reply = ask(any_model, temperature=temperature, seed=3)
    trace, stats = trace_of(reply), reply.stats
    origins = [token.origin for token in trace.tokens]
    assert len(origins) == stats.completion_tokens > 20
    assert origins.count("forced") == stats.forced_tokens > 0
    assert origins.count("sampled") + (trace.end is not None) == stats.sampled_tokens
    assert sum(token.is_draft for token in trace.tokens) == stats.accepted_tokens
    assert max(token.step for token in (*trace.tokens, trace.end or trace.tokens[-1])) == stats.model_steps
    for earlier, later in zip(trace.tokens, trace.tokens[1:], strict=False):
        assert earlier.step <= later.step
        assert earlier.ms <= later.ms
    assert trace.earlier == ()
    assert (trace.n_missing, trace.decision) == (0, reply.confidence)
    assert trace.grammar is not None
    assert trace.grammar.masks == stats.masks


def test_a_trace_changes_nothing_and_is_absent_by_default(any_model: edgefc.Model) -> None:
    plain, traced = ask(any_model, trace=None), ask(any_model)
    assert plain.trace is None
    assert [call.arguments for call in plain.calls] == [call.arguments for call in traced.calls]
    for name in ("completion_tokens", "sampled_tokens", "forced_tokens", "drafted_tokens", "masks"):
        assert getattr(plain.stats, name) == getattr(traced.stats, name)
    assert ask(any_model, trace=None).stats.model_steps == traced.stats.model_steps
    with any_model.chat(CHAT, tools=EXAMPLE_TOOLS, temperature=0, stream=True) as stream:
        for _ in stream:
            assert stream.pop_trace() == ()


def test_the_text_is_that_of_the_tokens(any_model: edgefc.Model) -> None:
    """Names and arguments are chosen, what stands around them is forced: the weather needs a city, and no model does."""
    reply = ask(any_model)
    tokens = trace_of(reply).tokens
    text = "".join(token.text for token in tokens)
    assert '"name": "get_weather"' in text
    before = text.index('"name": "')
    position = 0
    for token in tokens:
        if before <= position < before + len('"name": "'):
            assert token.origin == "forced", token
            assert token.probability is None
            assert token.others == ()
        position += len(token.text)
    city = next(token for token in tokens if token.text.startswith("Par"))
    assert city.origin == "sampled"
    assert city.probability is not None
    assert city.probability > 0.5
    assert len(city.others) == 3
    assert [other.probability for other in city.others] == sorted((o.probability for o in city.others), reverse=True)
    assert city.id not in {other.id for other in city.others}


def test_others_say_what_the_grammar_removed(model: edgefc.Model) -> None:
    """A free answer has no forbidden tokens; a call for a model that would rather write text has the text's."""
    free = trace_of(model.chat([{"role": "user", "content": "Hello!"}], trace=True, grammar="root ::= [a-z ]*"))
    assert free.tokens
    first = trace_of(model.chat(CHAT, tools=EXAMPLE_TOOLS, temperature=0, trace=True, tool_choice="roll_dice"))
    chosen = [token for token in first.tokens if token.origin == "sampled"]
    assert any(not other.is_allowed for token in chosen for other in token.others)
    assert all(0 <= other.probability <= 1 for token in chosen for other in token.others)


def test_the_prompt_has_bands_with_their_sources(model: edgefc.Model) -> None:
    question: Any = [*CHAT[:-1], {"role": "user", "content": "What time is it in Lima?"}]
    ask(model)
    reply = model.chat(question, tools=EXAMPLE_TOOLS, temperature=0, trace=True)
    trace, ids = trace_of(reply), model.prompt(question, EXAMPLE_TOOLS).ids
    assert [trace.bands[0].begin, *(band.end for band in trace.bands)] == [
        0, *(band.begin for band in trace.bands[1:]), len(ids)
    ]  # fmt: skip
    texts = dict.fromkeys(("system", "tools", "history", "question"), "")
    for band in trace.bands:
        texts[band.name] += model.engine.tokenizer.decode(ids[band.begin : band.end])
        assert sum(band.sources.values()) == band.end - band.begin
    assert "Be brief." in texts["system"]
    assert "roll_dice" in texts["tools"]
    assert "Hello." in texts["history"]
    assert "Lima" in texts["question"]
    assert not any(word in texts["system"] for word in ("roll_dice", "Hello.", "Lima"))
    cached = sum(count for band in trace.bands for name, count in band.sources.items() if name != "computed")
    assert cached == reply.stats.cached_tokens > 200
    assert all(set(band.sources) <= {reply.stats.cached_from, "computed"} for band in trace.bands)


@pytest.mark.parametrize("family", ["hermes", "mistral", "llama3-json", "functionary-v3.1", "hammer2.1"])
def test_bands_follow_each_familys_own_order(family: str, model: edgefc.Model) -> None:
    other = edgefc.Model(model.engine, load_family(family), path=model.path, name=family)
    trace = trace_of(other.chat(CHAT, tools=EXAMPLE_TOOLS[:2], trace=True, max_tokens=1, temperature=0))
    ids = other.prompt(CHAT, EXAMPLE_TOOLS[:2]).ids
    texts: dict[str, str] = dict.fromkeys((band.name for band in trace.bands), "")
    for band in trace.bands:
        texts[band.name] += model.engine.tokenizer.decode(ids[band.begin : band.end])
    assert sum(band.end - band.begin for band in trace.bands) == len(ids)
    assert "get_weather" in texts["tools"], texts
    assert "Paris and in Oslo?" in texts["question"], texts


def test_attempts_are_traced_that_a_check_refused(model: edgefc.Model) -> None:
    resampled = 0
    for seed in range(24):
        try:
            reply = ask_for_numbers(model, [tool(minimum=0, maximum=9)], temperature=2.0, seed=seed, trace=True)
        except InvalidCallError:
            continue
        trace = trace_of(reply)
        resampled += reply.stats.resamples
        assert len(trace.earlier) == reply.stats.resamples
        assert [finding.path[:2] for finding in trace.unenforced] == [("tools", 0)]
        everything = [token for attempt in (*trace.earlier, trace.tokens) for token in attempt]
        assert sum(token.origin == "forced" for token in everything) == reply.stats.forced_tokens
        assert len(trace.tokens) == reply.stats.completion_tokens
        assert {token.attempt for token in trace.tokens} == {len(trace.earlier)}
        if trace.earlier:
            assert {token.origin for token in trace.tokens} <= {"resampled", "forced", "kept"}
            assert "resampled" in {token.origin for token in trace.tokens}
            kept = [token.id for token in trace.tokens if token.origin == "kept"]
            assert kept == [token.id for token in trace.earlier[-1]][: len(kept)]
    assert resampled > 0


def test_a_declined_call_is_an_earlier_attempt(model: edgefc.Model) -> None:
    other = edgefc.Model(model.engine, load_family("json-list"), path=model.path, name="json-list")
    reply = ask(other, call_bias=-100.0, max_tokens=20)
    trace = trace_of(reply)
    assert not reply.tool_calls
    assert len(trace.earlier) == 1
    assert len(trace.tokens) == reply.stats.completion_tokens
    assert "resampled" not in {token.origin for token in trace.tokens}


def test_a_stream_yields_each_token_once(any_model: edgefc.Model) -> None:
    with any_model.chat(CHAT, tools=EXAMPLE_TOOLS, temperature=0, stream=True, trace=True) as stream:
        popped = [list(stream.pop_trace()) for _ in stream]
        reply = stream.reply
        popped.append(list(stream.pop_trace()))
    tokens = [token for tokens in popped for token in tokens]
    assert [token.id for token in tokens] == [token.id for token in trace_of(reply).tokens]
    assert sum(map(bool, popped)) > 3


def test_its_json_has_the_same_numbers(model: edgefc.Model) -> None:
    trace = trace_of(ask(model))
    data = openai.trace_of(trace)
    assert [token["id"] for token in data["tokens"]] == [token.id for token in trace.tokens]
    assert sum(band["tokens"] for band in data["prompt"]) == trace.bands[-1].end
    assert data["decision"]["calls"][0]["name"] == "get_weather"
    assert data["missing_tokens"] == 0


def test_a_trace_is_bounded() -> None:
    log = TokenLog(0)
    for token in range(MAX_TOKENS + 7):
        log.append(token, 1)
    assert (len(log.tokens), log.n_missing) == (MAX_TOKENS, 7)


def test_raw_prompts_have_no_trace(model: edgefc.Model) -> None:
    with pytest.raises(edgefc.EdgefcError, match="trace"):
        model.complete("Hello", trace=True)

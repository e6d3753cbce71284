"""Where answers end: repeated calls, calls before a cut, loops, and the limit of tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import edgefc
from edgefc import limits
from edgefc.chat.guide import AnswerGuide, GuideSettings
from edgefc.chat.repeats import AnswerReader
from edgefc.engine.loop_guard import MIN_TOKENS, LoopGuard
from edgefc.errors import EdgefcError
from edgefc.formats import load_family
from edgefc.tools.examples import EXAMPLE_TOOLS, get_weather, roll_dice
from edgefc.types import Delta

TWO_CITIES = [{"role": "user", "content": "What is the weather in Paris and in Oslo?"}]
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("f", "g")
]  # only their names matter to a parser


@pytest.fixture(scope="module")
def model() -> Iterator[edgefc.Model]:
    with edgefc.load("demo", n_ctx=1024) as loaded:
        yield loaded


def hermes(*calls: tuple[str, str]) -> str:
    texts = (f'<tool_call>\n{{"name": "{name}", "arguments": {text}}}\n</tool_call>' for name, text in calls)
    return "\n".join(texts)


def read(text: str, *, size: int = 3, **options: Any) -> tuple[list[tuple[str, str]], list[Delta], AnswerReader]:
    """Read an answer in pieces; return its calls, all deltas, and the reader."""
    reader = AnswerReader(load_family("hermes").parser(TOOLS), **options)
    deltas = [delta for start in range(0, len(text), size) for delta in reader.feed(text[start : start + size])]
    parsed = reader.finish("stop")
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in parsed.message["tool_calls"]]
    return calls, [*deltas, *parsed.deltas], reader


def streamed(deltas: list[Delta]) -> list[tuple[str, str]]:
    calls: dict[int, list[str]] = {}
    for delta in deltas:
        for part in delta.get("tool_calls", ()):
            function = part["function"]
            call = calls.setdefault(part["index"], [function.get("name", ""), ""])
            call[1] += function["arguments"]
    return [(name, arguments) for name, arguments in calls.values()]


REPEATS = [
    (("f", '{"a": 1}'), ("f", '{"a": 1}')),
    (("f", "{}"), ("f", "{}")),
    (("f", '{"a": 1}'), ("f", '{"a": 1.0}')),
    (("f", '{"a": [1, {"b": "é"}]}'), ("f", '{"a": [1, {"b": "\\u00e9"}]}')),
    (("f", '{"a": 1, "b": 2}'), ("f", '{"b": 2, "a": 1}')),
    (("f", '{"a": 1}'), ("f", '{"a": 2}'), ("g", '{"a": 1}'), ("f", '{"a": 2}')),
]
DIFFERENT = [
    (("f", '{"a": 1}'), ("g", '{"a": 1}')),
    (("f", '{"a": 1}'), ("f", '{"a": 12}')),
    (("f", '{"a": 12}'), ("f", '{"a": 1}')),
    (("f", '{"a": 1}'), ("f", '{"a": true}')),
    (("f", '{"a": "x"}'), ("f", '{"a": "x "}')),
    (("f", '{"a": [1]}'), ("f", '{"a": [1, 1]}')),
    (("f", '{"a": 1, "b": 2}'), ("f", '{"b": 1, "a": 2}')),
    (("f", '{"a": 1}'), ("f", "{}"), ("f", '{"a": 1, "b": 1}')),
]


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize("calls", REPEATS)
def test_a_repeated_call_is_dropped_and_nothing_of_it_is_streamed(calls: Any, size: int) -> None:
    found, deltas, reader = read(hermes(*calls), size=size)
    assert found == streamed(deltas) == list(calls[:-1])
    assert reader.has_repeat


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize("calls", DIFFERENT)
def test_calls_with_other_values_are_all_told(calls: Any, size: int) -> None:
    found, deltas, reader = read(hermes(*calls), size=size)
    assert found == streamed(deltas) == list(calls)
    assert not reader.has_repeat


def test_a_call_is_streamed_again_as_soon_as_it_differs() -> None:
    text = hermes(("f", '{"a": "x", "b": "tail"}'), ("f", '{"a": "y", "b": "tail"}'))
    reader = AnswerReader(load_family("hermes").parser(TOOLS))
    second = [delta for delta in reader.feed(text[: text.index('"y"') + 3]) if delta.get("tool_calls")]
    assert streamed(second)[1] == ("f", '{"a": "y"')


def test_dice_may_be_rolled_twice() -> None:
    calls = REPEATS[0]
    found, deltas, reader = read(hermes(*calls), allow_repeated=True)
    assert found == streamed(deltas) == list(calls)
    assert not reader.has_repeat


def guide_for(text: str, **options: Any) -> tuple[AnswerGuide, list[Any]]:
    reader = AnswerReader(load_family("hermes").parser(TOOLS))
    guide = AnswerGuide(reader, GuideSettings(("f", "g"), **options), lambda _: b"")
    return guide, [guide.feed(char) for char in text]


@pytest.mark.parametrize(
    ("after", "may_end"),
    [("", True), ("\n", True), ("\n<tool_call>", False), ('\n<tool_call>\n{"name": "f', False)],
)
def test_the_model_itself_decides_after_a_call_until_the_next_has_begun(after: str, may_end: bool) -> None:
    guide, _ = guide_for(hermes(("f", "{}")) + after)
    assert guide.may_end == may_end
    assert not guide_for(hermes(("f", "{}")) + after, parallel=False)[0].may_end


def test_a_repeated_call_ends_the_answer_with_its_last_character() -> None:
    text = hermes(("f", "{}"), ("f", "{}"))
    _, reasons = guide_for(text)
    end = text.rindex("{}") + 1
    assert [number for number, reason in enumerate(reasons) if reason] == list(range(end, len(text)))


def force(model: edgefc.Model, text: str, **options: Any) -> edgefc.Reply:
    """Ask for an answer that begins with a text, as a resampled one does."""
    request = model.request(TWO_CITIES, EXAMPLE_TOOLS, **options)
    start = tuple(model.engine.tokenizer.encode(text, bos="never"))
    submit = request._submit
    request._submit = lambda sampling, answer=(): submit(sampling, answer or start)  # type: ignore[method-assign]
    return model.submit(request).reply


PARIS = '{"name": "get_weather", "arguments": {"location": "Paris"}}'


def test_an_answer_that_repeats_a_call_ends_there(model: edgefc.Model) -> None:
    reply = force(model, f'{{"tool_calls": [{PARIS}, {PARIS}, {PARIS}, ')
    assert [call.arguments for call in reply.calls] == [{"location": "Paris"}]
    assert (reply.outcome, reply.finish_reason, reply.end_reason) == ("call", "tool_calls", "repeated_call")
    assert reply.confidence is not None
    assert len(reply.confidence.calls) == 1
    reply = force(model, f'{{"tool_calls": [{PARIS}, {PARIS}, ', allow_repeated_calls=True)
    assert [call.arguments for call in reply.calls][:2] == [{"location": "Paris"}] * 2


def test_calls_before_a_cut_are_delivered_and_can_be_run(model: edgefc.Model) -> None:
    whole = model.chat(TWO_CITIES, tools=EXAMPLE_TOOLS, temperature=0)
    counts = set()
    for limit in range(1, whole.usage["completion_tokens"]):
        reply = model.chat(TWO_CITIES, tools=EXAMPLE_TOOLS, temperature=0, max_tokens=limit)
        assert (reply.is_cut, reply.finish_reason, reply.end_reason) == (True, "length", "max_tokens")
        assert [call.arguments for call in reply.calls] == [call.arguments for call in whole.calls[: len(reply.calls)]]
        assert reply.outcome == ("call" if reply.calls else "length")
        counts.add(len(reply.calls))
    assert {0, 1} <= counts
    assert (whole.is_cut, whole.end_reason, len(whole.calls)) == (False, "stop", 2)


def test_the_tool_loop_continues_after_a_cut(model: edgefc.Model) -> None:
    ran: list[dict[str, Any]] = []
    limit = next(
        limit for limit in range(20, 60) if model.chat(TWO_CITIES, tools=EXAMPLE_TOOLS, max_tokens=limit).tool_calls
    )
    result = model.run(
        TWO_CITIES, tools=[get_weather], max_tokens=limit, on_call=lambda _, arguments: ran.append(arguments) or True
    )
    assert ran[0] == {"location": "Paris"}
    assert [message["role"] for message in result.messages[:3]] == ["user", "assistant", "tool"]


def test_an_answer_has_a_limit_unless_the_caller_sets_one(model: edgefc.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    bias = {model.engine.tokenizer.encode("a", bos="never")[-1]: 1000.0}
    question = [{"role": "user", "content": "hello"}]
    looping = model.chat(question, logit_bias=bias)
    assert (looping.end_reason, looping.finish_reason, looping.is_cut) == ("loop", "length", True)
    assert looping.usage["completion_tokens"] < MIN_TOKENS + 32
    full = model.chat(question, logit_bias=bias, loop_guard=False)
    assert full.end_reason == "context"
    assert full.usage["total_tokens"] == model.n_ctx
    text = model.complete("hello", logit_bias=bias, temperature=0).completion
    assert (text.end_reason, text.finish_reason) == ("loop", "length")
    monkeypatch.setattr(limits, "MAX_ANSWER_TOKENS", 100)
    limited = model.chat(question, logit_bias=bias, loop_guard=False)
    assert (limited.end_reason, limited.usage["completion_tokens"]) == ("max_tokens", 100)


def guarded(tokens: list[int]) -> int | None:
    """Return the length at which the guard ends an answer that the model chose token by token."""
    guard = LoopGuard()
    return next((size for size in range(1, len(tokens) + 1) if guard.is_loop(tokens[:size])), None)


@pytest.mark.parametrize("period", [1, 2, 7, 64])
def test_a_loop_is_found_soon(period: int) -> None:
    start = list(range(100, 400))
    size = guarded([*start, *(list(range(period)) * 600)])
    assert size is not None
    assert size <= len(start) + max(MIN_TOKENS, 4 * period) + 16


@pytest.mark.parametrize(
    "tokens",
    [
        [1, 2] * 120,  # a list of 120 zeros
        list(range(65)) * 20,  # a longer period
        [token for row in range(60) for token in (1, 2, 3, 4, 100 + row)],  # a table whose rows differ
        list(range(40)) * 6,  # a refrain
        [*[1, 2, 3] * 11, 4, 5] * 10,  # a matrix of zeros
    ],
)
def test_text_with_a_reason_to_repeat_itself_goes_on(tokens: list[int]) -> None:
    assert guarded(tokens) is None


def test_text_that_the_grammar_forces_is_no_loop(model: edgefc.Model) -> None:
    value = [0] * 150
    form = {"type": "json_schema", "json_schema": {"name": "zeros", "schema": {"const": value}}}
    assert json.loads(model.chat([{"role": "user", "content": "zeros"}], response_format=form).content) == value


def test_a_bug_of_a_guide_fails_its_request_alone(model: edgefc.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(AnswerGuide, "feed", lambda *_: 1 / 0)
        with pytest.raises(EdgefcError, match="ZeroDivisionError"):
            model.chat(TWO_CITIES, tools=EXAMPLE_TOOLS)
    assert model.chat(TWO_CITIES, tools=[roll_dice, get_weather]).calls

"""How sure the model was: probabilities that add up, thresholds that hold back, and a bias that moves the decision."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import edgefc
from edgefc.chat.confidence import ArgumentTracker, HeadChoice, tool_shares
from edgefc.engine.choice import Choice
from edgefc.errors import RequestError
from edgefc.tools import ToolSet
from edgefc.tools.examples import EXAMPLE_TOOLS

WEATHER = "What is the weather in Paris and in Oslo?"
GREETING = "hello there"


@pytest.fixture(scope="module")
def model() -> Iterator[edgefc.Model]:
    with edgefc.load("demo", n_ctx=1024) as loaded:
        yield loaded


def ask(model: edgefc.Model, text: str, **options: Any) -> edgefc.Reply:
    options = {"temperature": 0, **options}
    return model.chat([{"role": "user", "content": text}], tools=EXAMPLE_TOOLS, **options)


def first_logprobs(model: edgefc.Model, reply: edgefc.Reply) -> list[tuple[str, float]]:
    """Return text and logprob of each token of an answer."""
    return [(model.engine.tokenizer.piece(one.token).decode(), one.logprob) for one in reply.logprobs]


def test_probabilities_are_those_of_the_logprobs(model: edgefc.Model) -> None:
    reply = ask(model, WEATHER, logprobs=0)
    found = reply.confidence
    assert found is not None
    texts = first_logprobs(model, reply)
    start = next(index for index, (_, logprob) in enumerate(texts) if logprob)  # the first token that was not forced
    assert found.call == pytest.approx(np.exp(texts[start][1]), rel=1e-3)
    assert found.answer == pytest.approx(1 - found.call)
    assert [call.name for call in found.calls] == ["get_weather", "get_weather"]
    name = next(index for index, (text, _) in enumerate(texts[start + 1 :], start + 1) if text.startswith("get"))
    for call in found.calls:
        assert sum(call.tools.values()) == pytest.approx(1)
        assert set(call.tools) == set(ToolSet.of(EXAMPLE_TOOLS).names)
        assert call.arguments["location"].probability <= call.arguments["location"].allowed <= 1
    assert found.tools["get_weather"] == pytest.approx(np.exp(texts[name][1]), rel=1e-3)
    paris = next(index for index, (text, _) in enumerate(texts) if "Par" in text or text == "P")
    assert found.calls[0].arguments["location"].probability <= np.exp(texts[paris][1]) * 1.001


def test_a_text_has_a_low_probability_of_a_call(model: edgefc.Model) -> None:
    found = ask(model, GREETING).confidence
    assert found is not None
    assert found.call is not None
    assert found.call < 0.01
    assert not found.calls
    assert not found.candidates
    assert model.chat([{"role": "user", "content": GREETING}]).confidence is None


def test_a_call_below_the_threshold_is_not_delivered(model: edgefc.Model) -> None:
    sure = ask(model, WEATHER)
    assert sure.confidence is not None
    least = min(call.probability for call in sure.confidence.calls)
    above = ask(model, WEATHER, min_confidence=least - 1e-6)
    assert [call.arguments for call in above.calls] == [call.arguments for call in sure.calls]
    messages = [{"role": "user", "content": WEATHER}]
    with model.chat(messages, tools=EXAMPLE_TOOLS, temperature=0, stream=True, min_confidence=0.99999) as stream:
        assert list(stream) == [{"role": "assistant"}], "nothing of an unsure call is told"
        reply = stream.reply
    assert (reply.outcome, reply.finish_reason, reply.end_reason) == ("unsure", "stop", "unsure")
    assert not reply.tool_calls
    assert reply.message["content"] == ""
    assert reply.confidence is not None
    assert reply.confidence.candidates[0] == ("get_weather", sure.confidence.calls[0].probability)
    assert len(reply.confidence.candidates) == len(EXAMPLE_TOOLS)


def test_a_later_call_below_the_threshold_leaves_those_before_it(model: edgefc.Model) -> None:
    first, second = ask(model, WEATHER).confidence.calls  # type: ignore[union-attr]
    assert first.probability > second.probability, "or choose another question"
    reply = ask(model, WEATHER, min_confidence=(first.probability + second.probability) / 2)
    assert (reply.outcome, reply.finish_reason, reply.end_reason) == ("call", "tool_calls", "unsure")
    assert [call.arguments for call in reply.calls] == [{"location": "Paris"}]
    assert reply.confidence is not None
    assert len(reply.confidence.calls) == 2


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_bias_moves_the_decision(model: edgefc.Model, temperature: float) -> None:
    options = {"temperature": temperature, "seed": 1}
    assert ask(model, GREETING, call_bias=30.0, **options).outcome == "call"
    assert ask(model, WEATHER, call_bias=-30.0, **options).outcome != "call"
    assert ask(model, WEATHER, call_bias=0.0, **options).calls[0].name == "get_weather"


def test_the_threshold_of_a_bias_is_the_probability_of_a_call(model: edgefc.Model) -> None:
    found = ask(model, GREETING).confidence
    assert found is not None
    assert found.call
    odds = math.log(found.call / (1 - found.call))
    assert ask(model, GREETING, call_bias=-odds - 0.1).outcome == "answer"
    assert ask(model, GREETING, call_bias=-odds + 0.1).outcome == "call"


def test_a_family_can_bring_a_bias_and_a_request_has_the_last_word(model: edgefc.Model) -> None:
    shy = edgefc.Model(model.engine, replace(model.family, call_bias=-100.0), path=model.path, name="shy")
    assert not ask(shy, WEATHER, max_tokens=20).calls
    assert len(ask(shy, WEATHER, call_bias=0).calls) == 2


@pytest.mark.parametrize("option", [{"min_confidence": 1.5}, {"min_confidence": True}, {"call_bias": "1"}])
def test_other_values_are_refused(model: edgefc.Model, option: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=next(iter(option))):
        ask(model, GREETING, **option)


PIECES = ["get", "get_", "get_time", "get_weather", "weather", "time", "_", "roll", ' "', '"', 'roll"', "x"]


def choice_of(offset: int, chosen: str, **probabilities: float) -> HeadChoice:
    tokens = np.array([PIECES.index(piece) for piece in probabilities])
    return HeadChoice(offset, PIECES.index(chosen), tokens, np.array(list(probabilities.values())))


def shares_of(head: str, name: str, *choices: HeadChoice) -> dict[str, float]:
    names = ("get_time", "get_weather", "roll")
    return tool_shares(head, name, names, choices, lambda token: PIECES[token].encode())


def test_names_share_a_branch_until_they_differ() -> None:
    head = '{"name": "get_weather", "arguments": '
    first = choice_of(10, "get_", get_=0.6, get=0.2, roll=0.1, x=0.1)
    second = choice_of(14, "weather", weather=0.45, time=0.05)
    shares = shares_of(head, "get_weather", first, second)
    # "x" begins no name; "get" is another way to begin both, so they share it.
    assert shares == {
        "get_weather": pytest.approx((0.6 * 0.9 + 0.1) / 0.9),
        "get_time": pytest.approx((0.6 * 0.1 + 0.1) / 0.9),
        "roll": pytest.approx(0.1 / 0.9),
    }


def test_a_token_may_begin_before_the_name_and_end_after_it() -> None:
    head = '{"name": "roll", "arguments": '
    shares = shares_of(
        head, "roll", choice_of(8, ' "', **{' "': 1.0}), choice_of(10, 'roll"', **{'roll"': 0.5, "get": 0.5})
    )
    assert shares == {"roll": 0.5, "get_time": 0.25, "get_weather": 0.25}


def test_a_name_without_a_choice_is_certain() -> None:
    assert shares_of('{"name": "roll", "arguments": ', "roll")["roll"] == 1.0


def test_the_least_likely_choice_of_each_argument_counts() -> None:
    def record(tracker: ArgumentTracker, text: str, probability: float, *, n_allowed: int = 3) -> None:
        rest = (1 - probability) / 3
        logits = np.log(np.array([probability, rest, rest, rest], dtype=np.float32))
        choice = Choice(logits, None, frozenset())
        choice._allowed = np.arange(4) < n_allowed
        tracker.record(choice, 0, text)
        tracker.feed(text)

    tracker = ArgumentTracker()
    tracker.feed("{")
    record(tracker, '"ci', 0.7)  # the key, chosen among others
    tracker.feed('ty": ')
    record(tracker, ' "', 0.01)  # marks say nothing
    record(tracker, "Par", 0.4)
    record(tracker, "is", 0.05, n_allowed=1)  # forced
    record(tracker, '"', 0.9)
    record(tracker, ", ", 0.1)
    tracker.feed('"n": ')
    record(tracker, "1", 0.8)
    record(tracker, "2", 0.6)
    record(tracker, "}", 0.97)
    record(tracker, "\n", 0.2)
    allowed = 0.4 / (0.4 + 2 * 0.2)
    assert tracker.least["city"].probability == pytest.approx(0.4)
    assert tracker.least["city"].allowed == pytest.approx(allowed)
    assert tracker.least["n"].probability == pytest.approx(0.6)
    assert set(tracker.least) == {"city", "n"}

"""The packaged demo model keeps its promises, and is what its pipeline says."""

from __future__ import annotations

import json
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgefc
from demo import concepts, generate, procedural
from demo.paraphrases import PARAPHRASES, README_EXAMPLES
from edgefc.formats import load_family
from edgefc.tools.examples import EXAMPLE_TOOLS


@pytest.fixture(scope="module")
def model() -> Iterator[edgefc.Model]:
    with edgefc.load("demo") as loaded:
        yield loaded


def ask(model: edgefc.Model, question: str) -> edgefc.Reply:
    return model.chat([{"role": "user", "content": question}], tools=EXAMPLE_TOOLS, temperature=0, max_tokens=256)


def test_the_package_stays_small(demo_path: Path) -> None:
    assert sum(path.stat().st_size for path in demo_path.parent.iterdir()) < 25 * 10**6


@pytest.mark.parametrize(("question", "calls"), README_EXAMPLES)
def test_the_readmes_examples_get_the_right_calls(model: edgefc.Model, question: str, calls: list[object]) -> None:
    told = [c["function"] for c in ask(model, question).tool_calls]
    assert [{"name": f["name"], "arguments": json.loads(f["arguments"])} for f in told] == calls


def test_at_least_twenty_held_back_paraphrases_get_the_right_call(model: edgefc.Model) -> None:
    right = []
    for question, calls in PARAPHRASES:
        told = [c["function"] for c in ask(model, question).tool_calls]
        if [{"name": f["name"], "arguments": json.loads(f["arguments"])} for f in told] == calls:
            right.append(question)
    assert len(right) >= 20, right


def test_the_paraphrases_are_held_back() -> None:
    trained = {template for concept in generate.CONCEPTS for template in concept.say}
    for question, calls in PARAPHRASES:
        for template in trained:
            filled = template
            for call in calls:
                for name, value in call["arguments"].items():
                    filled = filled.replace("{" + name + "}", str(value))
            assert filled.strip("?. ").lower() != question.strip("?. ").lower(), question


def test_no_held_back_word_is_in_the_training_conversations() -> None:
    """The words that only the evaluation may use: objects of made-up tools, and hand-written tools' names."""
    held_back = {*procedural.HELD_BACK_OBJECTS, *(name for concept in generate.HELD_BACK for name in concept.names)}
    trained = {*procedural.TRAINED_OBJECTS, *(name for concept in generate.SEEN for name in concept.names)}
    assert len(procedural.HELD_BACK_OBJECTS) > 30
    assert len(generate.HELD_BACK) > 14
    assert not held_back & trained
    for number in range(300):
        for tool in generate.conversation(number)[1]:
            assert tool["function"]["name"] not in held_back


def test_the_concept_bank_is_sound() -> None:
    """A request with an unknown slot would teach braces; a name of two tools, either."""
    names = Counter(name for concept in generate.CONCEPTS for name in concept.names)
    assert not [name for name, times in names.items() if times > 1]
    assert set(concepts.MODULES) == {m.name for m in pkgutil.iter_modules(concepts.__path__)}
    writer = generate.Writer(0, held_back=False)
    for concept in generate.CONCEPTS:
        parameters = {p.name: p for p in concept.params}
        required = {p.name for p in concept.params if p.required}
        slots = [set(re.findall(r"{(\w+)}", request)) for request in concept.say]
        assert all(s <= parameters.keys() for s in slots), concept.name
        assert any(required <= s for s in slots), concept.name
        for parameter in concept.params:
            assert writer.value(parameter)[1], (concept.name, parameter.name)
        writer.result(generate.Ask(generate.show(writer.rng, concept, exact=True), "", {}, []))


def test_a_tool_never_has_two_parameters_that_could_be_said_alike() -> None:
    """Which is which would be left to chance, in training and in the evaluation."""
    import random

    rng = random.Random(5)
    for _ in range(500):
        params = procedural.concept(rng, held_back=True).params
        places = [p for p in params if p.kind in {"city", "country", "language", "colour", "company", "room"}]
        assert len(places) <= 1
        assert len({name for p in params for name in p.names}) == sum(len(p.names) for p in params)


def test_the_tools_it_was_trained_on_are_the_ones_that_ship() -> None:
    import random

    shown = [generate.show(random.Random(0), concept, exact=True).schema for concept in generate.EXAMPLES]
    assert shown == [tool.schema for tool in EXAMPLE_TOOLS]


def test_training_and_edgefc_render_the_same_prompt() -> None:
    family = load_family("demo")
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [{"name": "roll_dice", "arguments": {"count": 2}}]},
        {"role": "tool", "name": "roll_dice", "content": '{"total": 7}'},
        {"role": "assistant", "content": "Seven."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "Which city?", "required_functions": ["get_weather"]},
        {"role": "user", "content": "Rome"},
    ]
    sent = [dict(message) for message in messages]
    call = {"id": "1", "type": "function", "function": {"name": "roll_dice", "arguments": '{"count": 2}'}}
    sent[2] = {"role": "assistant", "content": None, "tool_calls": [call]}
    sent[3]["tool_call_id"] = "1"
    tools = [tool.schema for tool in EXAMPLE_TOOLS]
    assert family.render(sent, tools).text == generate.render(messages, tools, prompt=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["required", "none", "get_time"])
def test_a_choice_holds_against_what_the_model_would_do(model: edgefc.Model, mode: str) -> None:
    choice = {"type": "function", "function": {"name": mode}} if mode == "get_time" else mode
    reply = model.chat(
        [{"role": "user", "content": "What's the weather like?"}],
        tools=EXAMPLE_TOOLS,
        tool_choice=choice,
        max_tokens=120,
    )
    assert (reply.outcome == "call") == (mode != "none")
    if mode == "get_time":
        assert {call["function"]["name"] for call in reply.tool_calls} == {"get_time"}


def test_run_stops_a_model_that_goes_round_in_circles(model: edgefc.Model) -> None:
    """Forced to call first, given a useless result every time, it must still end."""
    seen = []

    def get_weather(location: str) -> str:
        """Get the current weather for a city"""
        seen.append(location)
        return "ask again"

    result = model.run("What is the weather in Oslo?", tools=[get_weather], max_rounds=4, max_tokens=100)
    assert result.rounds <= 4
    assert result.reply.outcome != "call"
    assert seen
    assert [message["role"] for message in result.messages[:3]] == ["user", "assistant", "tool"]


def test_a_refused_call_is_told_to_the_model(model: edgefc.Model) -> None:
    result = model.run("What's 17*23?", tools=EXAMPLE_TOOLS, on_call=lambda *_: False, max_tokens=100)
    assert "did not allow" in next(m["content"] for m in result.messages if m["role"] == "tool")  # type: ignore[operator]


def test_a_stream_that_is_left_early_is_cancelled(model: edgefc.Model) -> None:
    stream = model.chat([{"role": "user", "content": "hello"}], stream=True)
    next(stream)
    stream.close()
    with pytest.raises(edgefc.EdgefcError):
        _ = stream.reply
    assert ask(model, "What's 2+2?").tool_calls


def test_a_misspelt_option_is_a_type_error(model: edgefc.Model) -> None:
    with pytest.raises(TypeError, match="temprature"):
        model.chat([{"role": "user", "content": "hi"}], temprature=0)  # type: ignore[call-arg]

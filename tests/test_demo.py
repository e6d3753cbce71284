"""Behaviour of the packaged demo model, and soundness of the data it is trained on."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgefc
from demo import concepts, generate, procedural, tools
from demo.paraphrases import PARAPHRASES, README_EXAMPLES
from demo.writer import Request, Writer
from edgefc.formats import load_family
from edgefc.tools.examples import EXAMPLE_TOOLS


@pytest.fixture(scope="module")
def model() -> Iterator[edgefc.Model]:
    with edgefc.load("demo") as loaded:
        yield loaded


def ask(model: edgefc.Model, question: str) -> edgefc.Reply:
    return model.chat([{"role": "user", "content": question}], tools=EXAMPLE_TOOLS, temperature=0, max_tokens=256)


def called(reply: edgefc.Reply) -> list[dict[str, object]]:
    functions = [call["function"] for call in reply.tool_calls]
    return [{"name": f["name"], "arguments": json.loads(f["arguments"])} for f in functions]


def test_the_package_stays_small(demo_path: Path) -> None:
    assert sum(path.stat().st_size for path in demo_path.parent.iterdir()) < 25 * 10**6


@pytest.mark.parametrize(("question", "calls"), README_EXAMPLES)
def test_the_readmes_examples_get_the_right_calls(model: edgefc.Model, question: str, calls: list[object]) -> None:
    assert called(ask(model, question)) == calls


def test_at_least_twenty_held_back_paraphrases_get_the_right_call(model: edgefc.Model) -> None:
    right = []
    for question, calls in PARAPHRASES:
        if called(ask(model, question)) == calls:
            right.append(question)
    assert len(right) >= 20, right


def test_the_paraphrases_are_held_back() -> None:
    trained = {template for concept in tools.CONCEPTS for template in concept.requests}
    for question, calls in PARAPHRASES:
        for template in trained:
            filled = template
            for call in calls:
                for name, value in call["arguments"].items():
                    filled = filled.replace("{" + name + "}", str(value))
            assert filled.strip("?. ").lower() != question.strip("?. ").lower(), question


def test_no_held_back_word_is_in_the_training_conversations() -> None:
    """Only the evaluation may use these objects of made-up tools and names of hand-written ones."""
    held_back = {*procedural.HELD_BACK_OBJECTS, *(name for concept in tools.HELD_BACK for name in concept.names)}
    trained = {*procedural.TRAINED_OBJECTS, *(name for concept in tools.TRAINED for name in concept.names)}
    assert len(procedural.HELD_BACK_OBJECTS) > 30
    assert len(tools.HELD_BACK) > 14
    assert not held_back & trained
    for number in range(300):
        for tool in generate.conversation(number)[1]:
            assert tool["function"]["name"] not in held_back


def test_the_concept_bank_is_sound() -> None:
    """An unknown slot in a request would teach braces; a name that two tools share would be ambiguous."""
    names = Counter(name for concept in tools.CONCEPTS for name in concept.names)
    assert not [name for name, times in names.items() if times > 1]
    assert set(concepts.DOMAINS) == {path.stem for path in (concepts.DATA / "tools").iterdir()}
    writer = Writer(0, held_back=False)
    for concept in tools.CONCEPTS:
        parameters = {p.name: p for p in concept.params}
        required = {p.name for p in concept.params if p.required}
        slots = [set(re.findall(r"{(\w+)}", request)) for request in concept.requests]
        assert all(s <= parameters.keys() for s in slots), concept.name
        assert any(required <= s for s in slots), concept.name
        for parameter in concept.params:
            assert writer.value(parameter)[1], (concept.name, parameter.name)
        writer.result(Request(tools.make_tool(writer.rng, concept, exact=True), "", {}, []))


def test_the_split_of_hand_written_tools_is_the_one_the_packaged_model_was_trained_with() -> None:
    """Change these figures only together with the model: a tool that moves over was in its training data."""
    names = sorted(concept.name for concept in tools.HELD_BACK)
    assert (len(tools.CONCEPTS), len(tools.TRAINED), len(names)) == (1604, 1404, 200)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    assert digest == "af5769b1c27899647cbca8e2ba634ded33c0f8d221d10298be4a2dd21e46c539"
    assert not any(concept.held_back for concept in tools.EXAMPLES)
    assert sum(len(concept.requests) for concept in tools.CONCEPTS) == 15345


TOOL = """\
[[tool]]
names = ["lock_door", "door.lock"]
about = ["Lock a door"]
requests = [
  "lock the door",
  "lock the {door} door",
]
result = { state = "status" }
  [[tool.params]]
  names = ["door", "which"]
  type = "string"
  enum = ["front", "back"]

[[tool]]
names = ["open_door"]
about = ["Open a door"]
requests = ["open it"]
"""


def test_a_file_of_tools_is_read(tmp_path: Path) -> None:
    (tmp_path / "home.toml").write_text(TOOL)
    lock, unlock = concepts.load_bank(tmp_path, ("home",))["home"]
    assert (lock.name, unlock.params, unlock.held_back) == ("lock_door", [], False)
    assert lock.params[0].enum == {"front": "front", "back": "back"}


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("about", "abuot", 3, "unknown key 'abuot'"),
        ("  type =", "  kind =", 11, "unknown key 'kind'"),
        ("{door}", "{gate}", 6, "slot 'gate' without a parameter"),
        ('"open_door"', '"door.lock"', 15, "duplicate name 'door.lock', first used at home.toml:1"),
        ('about = ["Open a door"]\n', "", 14, "missing key 'about'"),
        ('["open it"]', '"open it"', 17, "requests must be of type list[str]"),
        ('["open it"]', "[1]", 17, "requests must be of type list[str]"),
        ('names = ["open_door"]', "names = []", 15, "names must not be empty"),
        ("[[tool]]", "[tools]\n[[tool]]", 1, "unknown key 'tools'"),
    ],
)
def test_an_error_in_a_file_of_tools_names_file_and_line(
    tmp_path: Path, old: str, new: str, line: int, reason: str
) -> None:
    path = tmp_path / "home.toml"
    path.write_text(TOOL.replace(old, new, 1))
    with pytest.raises(concepts.DataError) as error:
        concepts.load_bank(tmp_path, ("home",))
    assert str(error.value).startswith(f"{path}:{line}: {reason}")


def test_broken_toml_and_unlisted_files_are_errors(tmp_path: Path) -> None:
    (tmp_path / "home.toml").write_text("[[tool]]\nnames = lock_door")
    with pytest.raises(concepts.DataError, match=r"home\.toml: .*line 2"):
        concepts.load_bank(tmp_path, ("home",))
    with pytest.raises(concepts.DataError, match=r"unknown domain 'home'"):
        concepts.load_bank(tmp_path, ())


def test_a_tool_never_has_two_parameters_that_the_same_words_could_fill() -> None:
    """Training and evaluation would leave it to chance which one is meant."""
    rng = random.Random(5)
    for _ in range(500):
        params = procedural.concept(rng, held_back=True).params
        places = [p for p in params if p.value in {"city", "country", "language", "colour", "company", "room"}]
        assert len(places) <= 1
        assert len({name for p in params for name in p.names}) == sum(len(p.names) for p in params)


def test_the_tools_it_was_trained_on_are_the_ones_that_ship() -> None:
    schemas = [tools.make_tool(random.Random(0), concept, exact=True).schema for concept in tools.EXAMPLES]
    assert schemas == [tool.schema for tool in EXAMPLE_TOOLS]


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
    """Useless results must not keep the loop running."""
    cities = []

    def get_weather(location: str) -> str:
        """Get the current weather for a city"""
        cities.append(location)
        return "ask again"

    result = model.run("What is the weather in Oslo?", tools=[get_weather], max_rounds=4, max_tokens=100)
    assert result.rounds <= 4
    assert result.reply.outcome != "call"
    assert cities
    assert [message["role"] for message in result.messages[:3]] == ["user", "assistant", "tool"]


def test_a_refused_call_is_reported_to_the_model(model: edgefc.Model) -> None:
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

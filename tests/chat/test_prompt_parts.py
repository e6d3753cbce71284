"""What conversations share and where earlier answers lie is found in every family's prompts, as the engine needs it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgefc
from edgefc import inspection
from edgefc.chat import prompt_parts
from edgefc.chat.prompt_parts import PartFinder, PromptParts, occurrences
from edgefc.engine import Tokenizer
from edgefc.formats import Family, family_names, load_family
from edgefc.formats.canonical import canonicalize
from edgefc.formats.family import parse_declaration
from edgefc.formats.write import write_assistant
from edgefc.tools import parse_tool_choice
from edgefc.tools.examples import EXAMPLE_TOOLS
from edgefc.types import Message, Tool
from tests.tool_sets import TOOL_SETS

FAMILIES = family_names()
# Their prompts hold earlier turns as text within one message, so there is nothing to find.
ONE_MESSAGE = {"hammer1", "hammer2.0", "xlam-fc-v1", "xlam-r"}
# Their tools stand before the last question, wherever that is.
MOVES_TOOLS = {"mistral", "mistral-small-3.2"}
# Their prompts end with the beginning of thoughts, which is not what stands before an answer in the history; or llama.cpp
# takes the marks of turns for ordinary text, and the history has other headers.
UNLIKE_HISTORY = {"gpt-oss", "granite4.2", "nemotron-3-nano", "qwen3.5"}
EXACT = ("hermes", "qwen3", "llama3-json", "demo", "xlam2-llama")
TOOLS: list[Tool] = TOOL_SETS[3]
SYSTEM: Message = {"role": "system", "content": "Speak of nothing but <|im_end|> ships"}
QUESTIONS = (
    "What is the weather in Oslo?", "\nWell?", "\n\n", " spaced ", "\tTab\n", "\r\n7 lines", "'s it?", "7 of them.",
    "!?", '"Quoted"', "élan", "日本語", "🙂", "<|im_end|>", "a",
)  # fmt: skip


def call(number: int, place: str) -> list[Message]:
    """An answer that calls a tool, and the result."""
    function: Any = {"name": TOOLS[0]["function"]["name"], "arguments": json.dumps({"where": place})}
    return [
        {"role": "assistant", "content": None, "tool_calls": [{"id": f"c{number}", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": f'{{"at": "{place}"}}'},
    ]  # fmt: skip


CONVERSATION: list[Message] = [
    SYSTEM,
    {"role": "user", "content": "Where is the first ship?"},
    *call(1, "Oslo"),
    {"role": "assistant", "content": "The first one is in Oslo."},
    {"role": "user", "content": "And the second?"},
    {"role": "assistant", "content": "Which fleet?"},
    {"role": "user", "content": "The red one, all of its ships please."},
    *call(2, "Lima"),
]


class Prompts:
    """A family's prompts as token ids, with their parts."""

    def __init__(self, family: Family, tokenizer: Tokenizer) -> None:
        self.family, self.tokenizer = family, tokenizer
        self.finder = PartFinder(family, tokenizer)

    def ids(self, messages: list[Message], tools: list[Tool] | None, thinking: bool | None = None) -> list[int]:
        choice = parse_tool_choice("auto", tools or [])
        special = self.tokenizer.special_tokens
        prompt = self.family.render(messages, tools, choice=choice, thinking=thinking, special_tokens=special)
        return self.tokenizer.encode(prompt, bos=self.family.bos)

    def parts(
        self, messages: list[Message], tools: list[Tool] | None = TOOLS, thinking: bool | None = None
    ) -> tuple[list[int], PromptParts]:
        ids = self.ids(messages, tools, thinking)
        choice = parse_tool_choice("auto", tools or [])
        return ids, self.finder.find(ids, messages, tools, choice, thinking=thinking)


@pytest.fixture(scope="module")
def prompts(family_tokenizer: Callable[[str], Tokenizer]) -> Callable[[str], Prompts]:
    return lambda family: Prompts(load_family(family), family_tokenizer(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_whatever_is_asked_the_prefix_is_the_same_and_holds_the_tools(
    family: str, prompts: Callable[[str], Prompts]
) -> None:
    made = prompts(family)
    for system in ([], [SYSTEM]):
        found = [made.parts([*system, {"role": "user", "content": text}]) for text in QUESTIONS]
        sizes = {parts.prefix for _, parts in found}
        assert len(sizes) == 1, "it must not depend on the question"
        size = sizes.pop()
        assert len({tuple(ids[:size]) for ids, _ in found}) == 1
        assert all(parts.answers == () for _, parts in found)
        shown = made.tokenizer.decode(found[0][0][:size])
        assert all(tool["function"]["name"] in shown for tool in TOOLS)
        assert "weather in Oslo" not in shown
        # What a question begins with is at most a few tokens away: no more could be shared.
        rest = made.tokenizer.decode(found[0][0][size : size + 12])
        assert "What is" in rest


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - MOVES_TOOLS))
def test_a_conversation_that_goes_on_keeps_its_prefix(family: str, prompts: Callable[[str], Prompts]) -> None:
    made = prompts(family)
    sizes = {made.parts(CONVERSATION[:end])[1].prefix for end in (2, 4, 6, 8, 10)}
    assert len(sizes) == 1
    assert sizes != {0}


@pytest.mark.parametrize("family", sorted(MOVES_TOOLS))
def test_tools_that_stand_before_the_last_question(family: str, prompts: Callable[[str], Prompts]) -> None:
    made = prompts(family)
    first, later = (made.parts(CONVERSATION[:end])[1].prefix for end in (2, 6))
    assert later < first, "the tools are no part of what the prompts share"


@pytest.mark.parametrize("family", EXACT)
def test_answers_are_exactly_the_tokens_of_the_assistants_messages(
    family: str, prompts: Callable[[str], Prompts]
) -> None:
    made = prompts(family)
    ids, parts = made.parts(CONVERSATION)
    said = [number for number, message in enumerate(CONVERSATION) if message["role"] == "assistant"]
    assert len(parts.answers) == len(said)
    ends = {token for text in made.family.stop if (token := made.tokenizer.special_id(text)) is not None}
    for number, (begin, end) in zip(said, parts.answers, strict=True):
        asked, before = made.parts(CONVERSATION[:number])
        assert ids[: begin + 1] == asked, "an answer follows the prompt that it was the answer to"
        assert before.answers == tuple(span for span in parts.answers if span[1] <= begin)
        assert ids[end - 1] in ends | made.tokenizer.eog
        written = write_assistant(made.family.history, canonicalize(CONVERSATION)[number])
        assert made.tokenizer.decode(ids[begin + 1 : end - 1]) == written


@pytest.mark.parametrize("family", FAMILIES)
def test_every_answer_is_found_or_none_where_a_prompt_is_one_message(
    family: str, prompts: Callable[[str], Prompts]
) -> None:
    made = prompts(family)
    ids, parts = made.parts(CONVERSATION)
    shown = [made.tokenizer.decode(ids[begin:end]) for begin, end in parts.answers]
    if family in ONE_MESSAGE | UNLIKE_HISTORY:
        # Where each line break is a token of its own, Qwen3.5's last answer follows the prompt that asked for it.
        is_found = family == "qwen3.5" and len(made.tokenizer.encode_text("\n\n")) == 2
        assert ["Lima" in text for text in shown] == [True] * is_found
        return
    wanted = ["Oslo", "The first one", "Which fleet", "Lima"]
    said = [number for number, message in enumerate(CONVERSATION) if message["role"] == "assistant"]
    if family == "hermes-2-pro":  # writes a result otherwise once it is not the last message any more
        wanted.remove("The first one")
    if family == "json-list":  # calls and results are facts below the question
        wanted = ["The first one", "Which fleet"]
        said = [number for number in said if CONVERSATION[number]["content"]]
    assert len(shown) == len(wanted)
    if family not in {*MOVES_TOOLS, "hermes-2-pro"}:  # these write what came before otherwise as a conversation goes on
        for number, (begin, _) in zip(said, parts.answers, strict=True):
            assert ids[: begin + 1] == made.ids(CONVERSATION[:number], TOOLS), "the prompt that it is the answer to"
    for text, words in zip(shown, wanted, strict=True):
        assert words in text
        assert not any(other in text for other in ("Where is", "And the", "The red", '"at"'))


def test_whether_a_model_may_think_changes_nothing_of_what_it_said_before(prompts: Callable[[str], Prompts]) -> None:
    made = prompts("qwen3")
    talk = CONVERSATION[:6]
    free, silent = made.parts(talk), made.parts(talk, thinking=False)
    assert silent[0][: len(free[0])] == free[0], "empty thoughts are written for it"
    assert len(silent[0]) > len(free[0])
    assert silent[1].answers[: len(free[1].answers)] == free[1].answers
    # They are the beginning of the answer, as they will be when this is history.
    assert silent[1].answers[len(free[1].answers) :] == ((len(free[0]) - 1, len(silent[0])),)


def test_without_tools_and_with_a_choice_of_none(prompts: Callable[[str], Prompts]) -> None:
    made = prompts("hermes")
    ids, parts = made.parts(CONVERSATION[5:8], tools=None)
    assert len(parts.answers) == 1
    assert 0 < parts.prefix < len(ids)
    shown = made.tokenizer.decode(made.finder.head(CONVERSATION, TOOLS, parse_tool_choice("none", TOOLS)).tolist())
    assert "ships" in shown
    assert TOOLS[0]["function"]["name"] not in shown


def declared(template: str) -> Family:
    syntax = {"prompt": {"template": "t.jinja", "stop": ["<|im_end|>"]}, "calls": {"each": "CALL {name} {arguments}"}}
    return parse_declaration("made-up", {**syntax, "calls": {**syntax["calls"], "marker": "CALL "}}, template)


@pytest.fixture
def tokenizer(demo_path: Path) -> Tokenizer:
    return inspection.tokenizer_of(str(demo_path))


TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


@pytest.mark.parametrize(
    "template",
    [
        "{% if messages[-1].content == 'Question' %}{{ raise_exception('no') }}{% endif %}" + TURNS,
        "<|im_start|>assistant\n",
    ],
    ids=["refuses", "hides what is said"],
)
def test_a_template_that_takes_no_probe_costs_the_prefix_and_nothing_else(template: str, tokenizer: Tokenizer) -> None:
    made = Prompts(declared(template), tokenizer)
    ids, parts = made.parts([{"role": "user", "content": "Hi"}], tools=None)
    assert ids
    assert parts == PromptParts(0, ())


def test_answers_without_an_end_run_on_and_an_answer_may_say_what_opens_answers(tokenizer: Tokenizer) -> None:
    made = Prompts(declared(TURNS.replace("{{ m.content }}<|im_end|>", "{{ m.content }}")), tokenizer)
    # Nothing ends a message here, so all that follows the first answer's beginning belongs to it, once.
    messages: list[Message] = [
        {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, {"role": "user", "content": "three"},
        {"role": "assistant", "content": "four"}, {"role": "user", "content": "five"},
    ]  # fmt: skip
    ids, parts = made.parts(messages, tools=None)
    assert parts.answers == ((len(made.ids(messages[:1], None)) - 1, len(ids)),)


def test_heads_are_rendered_once_for_each_set_of_tools(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    made, rendered = Prompts(load_family("demo"), tokenizer), list[Any]()
    render = PartFinder._render_head
    monkeypatch.setattr(PartFinder, "_render_head", lambda *args: rendered.append(args) or render(*args))
    for text in QUESTIONS:
        made.parts([SYSTEM, {"role": "user", "content": text}])
    made.parts(CONVERSATION)
    assert len(rendered) == 1
    made.parts(CONVERSATION, tools=TOOLS[:1])
    made.parts(CONVERSATION[1:])
    assert len(rendered) == 3


def test_heads_that_are_kept_are_bounded(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_parts, "MAX_TOKENS", 2000)
    made = Prompts(load_family("demo"), tokenizer)
    for number in range(100):
        made.parts([{"role": "system", "content": f"Number {number}"}, {"role": "user", "content": "Hi"}])
        assert made.finder._heads.total <= 2000
    assert made.finder._heads.total > 0


def test_occurrences_are_those_of_whole_tokens() -> None:
    rng = random.Random(0)
    values = [0, 1, 256, 1 << 16, 1 << 24, 257]  # whose bytes are easily mistaken for one another's
    for _ in range(500):
        ids = [rng.choice(values) for _ in range(rng.randrange(30))]
        part = [rng.choice(values) for _ in range(rng.randrange(1, 4))]
        found = occurrences(np.array(ids, dtype=np.int32), np.array(part, dtype=np.int32))
        assert found == [place for place in range(len(ids)) if ids[place : place + len(part)] == part]


@pytest.fixture(scope="module")
def model() -> Iterator[edgefc.Model]:
    with edgefc.load("demo") as loaded:
        yield loaded


def test_a_conversation_that_goes_on_is_not_computed_again(model: edgefc.Model) -> None:
    """Answers were computed token by token; a prompt that did not say so would have to be computed anew."""
    done = model.run("What is the weather in Paris and in Oslo?", tools=EXAMPLE_TOOLS)
    assert done.rounds > 1
    told = done.reply.stats
    following = model.chat([*done.messages, {"role": "user", "content": "And in Lima?"}], tools=EXAMPLE_TOOLS)
    assert following.stats.cached_tokens >= told.prompt_tokens
    assert following.stats.cached_from == "slot"
    assert following.usage["prompt_tokens_details"] == {"cached_tokens": following.stats.cached_tokens}

"""The counterpart of `test_text_is_no_call`: what does call a tool is read as a call, however it is spelled."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

import edgefc
from edgefc.formats import load_family
from edgefc.grammar import compile_output
from edgefc.tools import ToolSet, parse_tool_choice
from edgefc.types import Call
from tests.formats.answer_corpus import TOOLS, pieces
from tests.grammar.executors import Guidance, reach

FAMILIES = ["generic", "hermes", "qwen3"]
NAMES = ("get_weather", "search.products", "create-ticket", "db:query", "list_files")
TOOLSET = ToolSet.of([tool for tool in TOOLS if tool["function"]["name"] in NAMES])
WEATHER = ("get_weather", {"city": "Oslo", "unit": "celsius"})
PRODUCTS = ("search.products", {"query": 'blue "mug" {x}', "max_price": 12.5, "in_stock": True})
TICKET = ("create-ticket", {"title": "Née\n日本 ```", "labels": ["a", "b"], "priority": "high"})
QUERY = ("db:query", {"sql": "select '</tool_call>' from t", "timeout": 30})
FILES: tuple[str, dict[str, Any]] = ("list_files", {})
ONE_BY_ONE = (WEATHER, PRODUCTS, TICKET, QUERY, FILES)
Spelled = tuple[str, list[tuple[str, dict[str, Any]]]]


def dump(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def bare(call: tuple[str, dict[str, Any]], key: str = "arguments") -> dict[str, Any]:
    return {"name": call[0], key: call[1]}


def single_calls() -> Iterator[Spelled]:
    """Each spelling around one call, in several layouts."""
    for number, call in enumerate(ONE_BY_ONE):
        value = bare(call, "parameters" if number % 2 else "arguments")
        compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        yield from ((text, [call]) for text in (dump(value), compact, f"\n {dump(value, 2)}\n", f"[{dump(value)}]"))
        yield f"```json\n{dump(value, 4)}\n```", [call]
        yield f"```\n{dump(value)}\n```", [call]
        yield f"```tool_call\n{compact}\n```\n", [call]
        yield f"<tool_call>\n{dump(bare(call))}\n</tool_call>", [call]
        yield f"<tools>\n{dump(value)}\n</tools>", [call]
        yield f"<function_call>{dump(value)}</function_call>", [call]
        yield f"<function={call[0]}>{dump(call[1])}</function>", [call]
        yield dump({"type": "function", "function": bare(call)}), [call]
        yield dump({"function": bare(call)}, 2), [call]
    yield f"```xml\n<function=get_weather>\n{dump(WEATHER[1])}\n</function>\n```", [WEATHER]


def several_calls() -> Iterator[Spelled]:
    """Several calls one after another, and in one list."""
    both, three = [WEATHER, PRODUCTS], [TICKET, WEATHER, WEATHER]
    for calls in (both, three, [FILES, QUERY]):
        texts = [dump(bare(call)) for call in calls]
        yield dump([bare(call) for call in calls]), calls
        yield f"```json\n{dump([bare(call) for call in calls], 2)}\n```", calls
        yield "\n".join(texts), calls
        yield "```json\n{}\n```".format("\n".join(texts)), calls
        yield "\n\n".join(f"```json\n{text}\n```" for text in texts), calls
        yield "\n".join(f"<tool_call>\n{text}\n</tool_call>" for text in texts), calls
        yield "<tools>\n{}\n</tools>".format("\n".join(texts)), calls
        yield "<function_calls>\n[{}]\n</function_calls>".format(", ".join(texts)), calls
        yield "".join(f"<function={name}>{dump(arguments)}</function>\n" for name, arguments in calls), calls
        yield dump({"tool_calls": [{"type": "function", "function": bare(call)} for call in calls]}), calls
        yield "; ".join(texts), calls
        yield ", ".join(texts), calls


def in_python(call: tuple[str, dict[str, Any]], quote: str = "'") -> str:
    """Write a call as Python does."""
    words = {True: "True", None: "None"}

    def value(item: Any) -> str:
        if isinstance(item, str):
            return quote + item.replace("\\", "\\\\").replace(quote, "\\" + quote).replace("\n", "\\n") + quote
        return "[{}]".format(", ".join(map(value, item))) if isinstance(item, list) else words.get(item, str(item))

    return f"{call[0]}({', '.join(f'{name}={value(item)}' for name, item in call[1].items())})"


def python_calls() -> Iterator[Spelled]:
    """Calls as Python has them: in a list, in a code fence, in both; never as plain text."""
    for call in ONE_BY_ONE:
        text = in_python(call)
        yield f"[{text}]", [call]
        yield f"```python\n[{text}]\n```", [call]
        yield f"```tool_code\n{in_python(call, chr(34))}\n```", [call]
        yield f"\n```\n[ {text} ]\n```\n", [call]
    for calls in ([WEATHER, PRODUCTS], [TICKET, FILES, QUERY]):
        texts = list(map(in_python, calls))
        yield "[{}]".format(", ".join(texts)), calls
        yield "```python\n[\n    {}\n]\n```".format(",\n    ".join(texts)), calls
        yield "```py\n{}\n```".format("\n".join(texts)), calls


def own_mark_in_other_words() -> Iterator[Spelled]:
    """The families' own mark around a call that the grammar would spell in another way."""
    for call in (WEATHER, PRODUCTS, TICKET, FILES):
        for value in (bare(call), bare(call, "parameters"), {"type": "function", **bare(call)}, [bare(call)]):
            yield f"<tool_call>\n{dump(value, 2)}\n</tool_call>", [call]
        yield f"```json\n<tool_call>\n{dump(bare(call))}\n</tool_call>\n```", [call]


SPELLED = [*single_calls(), *several_calls(), *python_calls()]


def read(family: str, cut: list[str]) -> tuple[list[tuple[str, dict[str, Any]]], str, list[str]]:
    """Return the calls of an answer, its text, and the calls as the deltas have them."""
    parser = load_family(family).parser(TOOLSET, parse_tool_choice("auto", TOOLSET))
    deltas = [delta for piece in cut for delta in parser.feed(piece)]
    parsed = parser.finish("stop")
    streamed: dict[int, str] = {}
    for delta in (*deltas, *parsed.deltas):
        for part in delta.get("tool_calls", ()):
            function = part["function"]
            streamed[part["index"]] = (
                streamed.get(part["index"], "") + function.get("name", "") + function.get("arguments", "")
            )
    calls = [Call.parse(call) for call in parsed.message.get("tool_calls", ())]
    return [(call.name, call.arguments) for call in calls], parsed.message["content"] or "", list(streamed.values())


def test_there_are_enough_of_them() -> None:
    assert len(SPELLED) > 60
    assert len({text for text, _ in SPELLED}) == len(SPELLED)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_is_a_call_however_it_is_spelled(family: str) -> None:
    rng, wrong = random.Random(2), []
    for text, calls in SPELLED:
        for cut in ([text], list(text), pieces(rng, text)):
            found, content, streamed = read(family, cut)
            if found != calls or content or len(streamed) != len(calls):
                wrong.append((text, found, content))
                break
            for whole, (name, arguments) in zip(streamed, calls, strict=True):
                assert whole.startswith(name)
                assert json.loads(whole.removeprefix(name)) == arguments
    assert wrong == []


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_without_a_grammar_spell_the_own_mark_freely(family: str) -> None:
    for text, calls in [*SPELLED, *own_mark_in_other_words()]:
        parsed = [Call.parse(call) for call in load_family(family).parse(text, TOOLSET).message.get("tool_calls", ())]
        assert [(call.name, call.arguments) for call in parsed] == calls, text


@pytest.mark.parametrize("family", FAMILIES)
def test_what_follows_a_call_is_no_part_of_it(family: str) -> None:
    for text, calls in SPELLED:
        found, content, _ = read(family, pieces(random.Random(3), f"{text}\nThat is all."))
        assert (found, content.strip()) == (calls, "That is all."), text


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_the_grammar_allows_every_spelling(choice: str) -> None:
    syntax = load_family("generic").syntax_for(TOOLSET, parse_tool_choice(choice, TOOLSET))
    grammar = compile_output(syntax, TOOLSET, parse_tool_choice(choice, TOOLSET), any_spelling=True)
    refused = []
    with edgefc.load("demo", n_ctx=512, n_parallel=1) as model:
        for text, _ in SPELLED:
            constraint, ids = model.engine.constraint(grammar), model.engine.tokenizer.encode(text)
            if (count := constraint.count_allowed(ids)) < len(ids):
                refused.append((model.engine.tokenizer.decode(ids[:count]), text))
    assert refused == []


def test_a_call_of_no_tool_is_text() -> None:
    for text, calls in SPELLED:
        for name, _ in calls:
            text = text.replace(f'"{name}"', f'"{name}_of_others"').replace(f"={name}>", f"={name}_of_others>")
            text = text.replace(f"{name}(", f"{name}_of_others(")
        found, content, _ = read("generic", list(text))
        assert (found, content) == ([], text)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(get_weather(city='Oslo'))\n```",
        "```python\nfrom tools import get_weather\n\nget_weather(city='Oslo')\n```",
        "get_weather(city='Oslo') is how you would call it.",
        "The call is:\n```python\n[get_weather(city='Oslo')]\n```",
        "[get_weather] needs a city.",
        "[1] get_weather(city='Oslo')",
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_python_that_only_shows_a_call_is_text(family: str, text: str) -> None:
    for cut in ([text], list(text)):
        assert read(family, cut)[:2] == ([], text)
    grammar = compile_output(load_family(family).syntax_for(TOOLSET), TOOLSET, parse_tool_choice("auto", TOOLSET))
    assert reach(Guidance(grammar.lark), text) == -1

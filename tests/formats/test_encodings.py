"""Encodings of arguments: what their grammars allow is read as valid JSON, at every cut, whatever the schema."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefc.errors import FormatError, RequestError, SchemaError
from edgefc.formats import load_family
from edgefc.formats.encodings import arguments_reader
from edgefc.formats.encodings.writing import write_arguments
from edgefc.formats.parse import ParsedReply, StreamParser
from edgefc.formats.write import write_assistant
from edgefc.grammar import compile_output
from edgefc.grammar.argument_types import ArgumentTypes
from edgefc.grammar.tags import tags_of
from edgefc.types import OutputSyntax, ToolChoice
from tests.formats.test_loop import random_calls
from tests.grammar.executors import Guidance, accepts, reach, walk
from tests.grammar.syntaxes import ENCODINGS
from tests.property_settings import property_settings
from tests.tool_sets import TOOL_SETS

# Text of the arguments, as models write it, and their JSON.
LITERALS = [
    ("city='Oslo', n=5)", '{"city": "Oslo", "n": 5}'),
    (")", "{}"),
    ('a="it\'s", b=\'say "hi"\')', '{"a": "it\'s", "b": "say \\"hi\\""}'),
    (r"a='\'\\\n\t\x41\u00e9\U0001F642\d')", '{"a": "\'\\\\\\n\\tAé🙂\\\\d"}'),
    (r"a='\ud83d\ude42 \ud83d')", '{"a": "🙂 \ufffd"}'),
    ("a=True, b=None, c=false, d=null)", '{"a": true, "b": null, "c": false, "d": null}'),
    ("a=-1.5e3, b=1_000, c=0x10, d=.5, e=+3)", '{"a": -1.5e3, "b": 1000, "c": 16, "d": 0.5, "e": 3}'),
    ("a=[1, 'x', [], {}], b={'k': (1, 2)})", '{"a": [1, "x", [], {}], "b": {"k": [1, 2]}}'),
    ("\n  a = 1,\n  b = [1, 2,],\n)", '{"a": 1, "b": [1, 2]}'),
    ('a={"k": [true, null, "é"]})', '{"a": {"k": [true, null, "é"]}}'),
    ("a='line 1\nline 2')", '{"a": "line 1\\nline 2"}'),
    ("a='),(')", '{"a": "),("}'),
]
BROKEN = ["'x')", "a=x)", "a=1 b=2)", "a={1: 2})", "a={'x'})", "a=f(1))", "a=b'x')", "a=]", "a=,b=1)", "a=[1 2])"]
GEMMA = [
    ('b:<|"|>x, {y}: "z"\n<|"|>,n:5}', '{"b": "x, {y}: \\"z\\"\\n", "n": 5}'),
    ("}", "{}"),
    ('a:{k:[true,null,<|"|><|"|>],m:{}}}', '{"a": {"k": [true, null, ""], "m": {}}}'),
    ('a:["x", 1]}', '{"a": ["x", 1]}'),
]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "number": {"type": "integer"},
        "flag": {"type": "boolean"},
        "items": {"type": "array", "items": {"type": "integer"}},
        "maybe": {"type": ["string", "null"]},
        "either": {"anyOf": [{"type": "integer", "minimum": 10}, {"type": "string"}]},
        "any": {},
    },
}
TAGGED = [
    ("text", "5", '"5"'),
    ("text", "true", '"true"'),
    ("text", '{"a": 1}', r'"{\"a\": 1}"'),
    ("text", "", '""'),
    ("text", "\na\n\nb\n", '"\\na\\n\\nb\\n"'),
    ("text", "x</parameter>y", '"x</parameter>y"'),
    ("number", "5", "5"),
    ("flag", "True", "true"),
    ("flag", "false", "false"),
    ("items", "[1, 2]", "[1, 2]"),
    ("maybe", "None", "null"),
    ("maybe", "nothing", '"nothing"'),
    ("either", "12", "12"),
    ("either", "9", '"9"'),
    ("any", "5", "5"),
    ("any", '{"a": [True, None]}', '{"a": [true, null]}'),
    ("any", '{"a": ', '"{\\"a\\": "'),
    ("undeclared", "7", "7"),
]


def read(syntax: OutputSyntax, text: str, types: ArgumentTypes | None = None) -> tuple[str, bool, str]:
    """Read arguments character by character: their JSON, whether they are complete, and what is left of the text.

    At every cut, the JSON so far is the beginning of all of it.
    """
    reader, pieces, rest = arguments_reader(syntax, types), [""], ""
    for char in text:
        rest = reader.read(rest + char, pieces.append)
    whole: list[str] = []
    left = (at_once := arguments_reader(syntax, types)).read(text, whole.append)
    assert ("".join(whole), left, at_once.is_complete) == ("".join(pieces), rest, reader.is_complete)
    return "".join(pieces), reader.is_complete, rest


@pytest.mark.parametrize(("text", "expected"), LITERALS)
def test_python_s_literals_become_json(text: str, expected: str) -> None:
    assert read(ENCODINGS["pythonic"], text) == (expected, True, ")")
    json.loads(expected)


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_keyword_argument_is_never_complete(text: str) -> None:
    assert not read(ENCODINGS["pythonic"], text)[1]


@pytest.mark.parametrize(("text", "expected"), GEMMA)
def test_gemma_s_values_become_json(text: str, expected: str) -> None:
    assert read(ENCODINGS["gemma"], text) == (expected, True, "}")


@pytest.mark.parametrize(("name", "text", "expected"), TAGGED)
def test_a_parameter_in_tags_is_read_by_its_schema(name: str, text: str, expected: str) -> None:
    arguments = f"<parameter={name}>\n{text}\n</parameter>\n</function>"
    assert read(ENCODINGS["tagged"], arguments, ArgumentTypes(SCHEMA)) == (
        f'{{"{name}": {expected}}}',
        True,
        "</function>",
    )


PARAMS = [
    ("text", "5", '"5"'),
    ("text", "", '""'),
    ("text", "<![CDATA[a < b\n&]]>", '"a < b\\n&"'),
    ("text", "<![CDATA[]]>", '""'),
    ("text", "<![CDATA[a]b]]c]]]>", '"a]b]]c]"'),
    ("number", "5", "5"),
    ("number", "<![CDATA[5]]>", "5"),
    ("flag", "True", "true"),
    ("items", "[1, 2]", "[1, 2]"),
    ("maybe", "None", "null"),
    ("maybe", "<![CDATA[None]]>", '"None"'),
    ("either", "12", "12"),
    ("either", "<![CDATA[12]]>", '"12"'),
    ("any", "{'a': [True, None, '</param>']}", '{"a": [true, null, "</param>"]}'),
]


@pytest.mark.parametrize(("name", "text", "expected"), PARAMS)
def test_a_string_with_markup_stands_in_cdata(name: str, text: str, expected: str) -> None:
    arguments = f'<param name="{name}">{text}</param></function>'
    assert read(ENCODINGS["params"], arguments, ArgumentTypes(SCHEMA)) == (
        f'{{"{name}": {expected}}}',
        True,
        "</function>",
    )


def test_tags_without_line_breaks_are_read_too() -> None:
    text = "<parameter=text>a</parameter><parameter=number>5</parameter></function>"
    assert read(ENCODINGS["tagged"], text, ArgumentTypes(SCHEMA))[:2] == ('{"text": "a", "number": 5}', True)


LISTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "cities": {"type": "array", "items": {"type": "string"}},
        "kinds": {"type": "array", "items": {"enum": ["a b", "c"]}, "minItems": 2, "maxItems": 2},
        "mixed": {"type": "array", "items": {"type": ["string", "integer"]}},
        "fixed": {"enum": [["x"], ["y"]]},
        "text": {"type": "string"},
    },
}
LISTED = [
    ("cities", " Paris† New York†", '["Paris", "New York"]'),
    ("cities", " Paris†", '["Paris"]'),
    ("cities", "  Paris†  Oslo ]†", '[" Paris", " Oslo ]"]'),
    ("cities", " - text: x† a, b†", '["- text: x", "a, b"]'),
    ("cities", " []†", "[]"),
    ("cities", ' ["†", "", "[x"]†', '["†", "", "[x"]'),
    ("kinds", " a b† c†", '["a b", "c"]'),
    ("kinds", ' ["a b", "c"]†', '["a b", "c"]'),
    ("mixed", ' ["a", 1]†', '["a", 1]'),
    ("mixed", " a† 1†", '["a", "1"]'),
    ("fixed", ' ["y"]†', '["y"]'),
    ("text", " a†", '"a"'),
]


@pytest.mark.parametrize(("name", "text", "expected"), LISTED)
def test_the_texts_of_an_array_end_as_values_do(name: str, text: str, expected: str) -> None:
    """Only arrays of strings are written so, and those of them that cannot be are JSON; each is read and accepted."""
    syntax = ENCODINGS["lines"]
    arguments = f"- {name}:{text}"
    assert read(syntax, f"{arguments};", ArgumentTypes(LISTS)) == (f'{{"{name}": {expected}}}', True, ";")
    followed = read(syntax, f"{arguments}- other: b†;", ArgumentTypes(LISTS))
    assert followed == (f'{{"{name}": {expected}, "other": "b"}}', True, ";")
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": LISTS}}]
    assert accepts(compile_output(syntax, tools, ToolChoice("required", ("f",))), f"<tool_call>f\n{arguments};")


@pytest.mark.parametrize("text", ["- cities: †;", "- kinds: a b†;", "- kinds: a b† d†;", "- fixed: y†;"])
def test_no_other_array_is_accepted_without_brackets(text: str) -> None:
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": LISTS}}]
    grammar = compile_output(ENCODINGS["lines"], tools, ToolChoice("required", ("f",)))
    assert not accepts(grammar, f"<tool_call>f\n{text}")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["Paris", "New York"], "Paris† New York†"),
        ([], "[]†"),
        (["a†"], '["a†"]†'),
        ([""], '[""]†'),
        (["[1]"], '["[1]"]†'),
        ([1, 2], "[1, 2]†"),
        (["a", None], '["a", null]†'),
    ],
)
def test_arrays_of_history_are_written_as_answers_are(value: list[Any], text: str) -> None:
    assert write_arguments(ENCODINGS["lines"], {"x": value}) == f"- x: {text}"


def test_history_lists_the_arrays_that_answers_list() -> None:
    """An array that may have anything is JSON in answers, also when it has only strings."""
    family = load_family("edgefc-mini")
    properties = {"cities": {"type": "array", "items": {"type": "string"}}, "values": {"type": "array"}, "any": {}}
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": {"properties": properties}}}]
    arguments = {name: ["a", "b"] for name in properties}
    call = {"function": {"name": "f", "arguments": json.dumps(arguments)}}
    turns = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "y"}]
    conversation: Any = [{"role": "user", "content": "x"}, *turns]
    written = '<tool_call>f\n- cities: a† b†- values: ["a", "b"]†- any: ["a", "b"]†;'
    assert written in family.render(conversation, tools).text
    assert accepts(compile_output(family.syntax, tools, ToolChoice("required", ("f",))), written)
    assert "- values: a† b†" in family.render(conversation).text  # nobody knows its schema


def test_an_argument_that_is_an_array_in_one_of_two_schemas_is_json() -> None:
    """The text alone would not tell which of them it satisfies."""
    ways = [
        {"properties": {"x": {"type": "array", "items": {"type": "string"}}}, "required": ["x"]},
        {"properties": {"x": {"type": "integer"}}, "required": ["x"]},
    ]
    schema: Any = {"type": "object", "anyOf": ways}
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    grammar = compile_output(ENCODINGS["lines"], tools, ToolChoice("required", ("f",)))
    for text, value in (('["a", "b"]', ["a", "b"]), ("5", 5)):
        assert accepts(grammar, f"<tool_call>f\n- x: {text}†;")
        [(_, arguments)] = arguments_of(parse(ENCODINGS["lines"], f"<tool_call>f\n- x: {text}†;", tools))
        assert arguments == {"x": value}
    assert not accepts(grammar, "<tool_call>f\n- x: a† b†;")


def test_an_impossible_argument_is_named_and_no_array_before_it() -> None:
    """What cannot be listed, such as the number here, can be written as JSON: nothing is wrong with it."""
    mixed = {"type": "array", "items": {"type": ["string", "integer"]}}
    pair = {"type": "array", "prefixItems": [{"enum": [1, 2]}, {"type": "string"}]}
    empty = {"type": "string", "minLength": 2, "maxLength": 1}
    schema: Any = {"type": "object", "properties": {"mixed": mixed, "pair": pair, "x": empty}, "required": ["x"]}
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    with pytest.raises(SchemaError) as caught:
        compile_output(ENCODINGS["lines"], tools, ToolChoice("required", ("f",)))
    assert caught.value.path[-2:] == ("properties", "x")


@pytest.mark.parametrize(
    ("separator", "parameter", "cdata"),
    [(", ", "- {name}: {value}†", ""), ("\n", "\n- {name}: {value}†", ""), (" ", "<{name}>{value}</>", "<")],
)
def test_a_list_separator_that_could_not_be_told_apart_is_refused(separator: str, parameter: str, cdata: str) -> None:
    with pytest.raises(FormatError, match=r"calls\.list_separator"):
        tags_of(replace(ENCODINGS["lines"], list_separator=separator, parameter=parameter, cdata=cdata))


def parse(syntax: OutputSyntax, text: str, tools: Any, *, cut: int | None = None, reason: Any = "stop") -> ParsedReply:
    types = {tool["function"]["name"]: ArgumentTypes(tool["function"]["parameters"]) for tool in tools}
    parser = StreamParser(syntax, names=list(types), types=types)
    parser.feed(text[:cut])
    if cut is not None:
        parser.feed(text[cut:])
    return parser.finish(reason)


def arguments_of(parsed: ParsedReply) -> list[tuple[str, Any]]:
    functions = [call["function"] for call in parsed.message.get("tool_calls", ())]
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


@pytest.mark.parametrize("number", range(0, len(TOOL_SETS), 2))
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_calls_are_written_accepted_and_read_in_any_order_and_at_any_cut(encoding: str, number: int) -> None:
    syntax, tools, rng = ENCODINGS[encoding], TOOL_SETS[number], random.Random(number)
    names = tuple(tool["function"]["name"] for tool in tools)
    for any_order in (False, True):
        grammar = compile_output(syntax, tools, ToolChoice("required", names), any_order=any_order)
        calls = random_calls(tools, rng)
        if any_order:
            for call in calls:
                call["arguments"] = dict(rng.sample(sorted(call["arguments"].items()), len(call["arguments"])))
        text = write_assistant(syntax, {"role": "assistant", "content": "", "tool_calls": calls})
        assert accepts(grammar, text), text
        expected = [(call["name"], call["arguments"]) for call in calls]
        for cut in rng.sample(range(len(text)), min(12, len(text))):
            assert arguments_of(parse(syntax, text, tools, cut=cut)) == expected
            kept = arguments_of(parse(syntax, text[:cut], tools, reason="length"))
            assert kept == expected[: len(kept)]


@pytest.mark.parametrize("number", range(1, len(TOOL_SETS), 3))
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_random_sentences_of_the_grammar_are_valid_calls(encoding: str, number: int) -> None:
    syntax, tools = ENCODINGS[encoding], TOOL_SETS[number]
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    grammar = compile_output(syntax, tools, ToolChoice("required", tuple(schemas)))
    assert not grammar.unenforced
    for seed in range(3):
        text = walk(grammar, random.Random(seed), limit=300, patience=0.5)
        if text is None:
            continue
        calls = arguments_of(parse(syntax, text, tools))
        assert calls, text
        for name, arguments in calls:
            jsonschema.validate(arguments, schemas[name])


def values() -> st.SearchStrategy[dict[str, Any]]:
    """Generate schemas of one argument, with every kind of bound."""
    small, text = st.integers(-20, 200), st.text("ab'\"\\\n<>é🙂5", max_size=4)
    scalars = st.one_of(
        st.builds(lambda a, b: {"type": "string", "minLength": a, "maxLength": a + b}, st.integers(0, 3), st.integers(0, 5)),
        st.sampled_from(["^a+$", "b", "^[^<]*$", "^\\d{2}-\\d{2}$", "'", "\\\\"]).map(lambda p: {"type": "string", "pattern": p}),
        st.sampled_from(["date", "uuid", "email", "ipv4"]).map(lambda f: {"type": "string", "format": f}),
        st.builds(lambda a, b: {"type": "integer", "minimum": min(a, b), "maximum": max(a, b)}, small, small),
        st.builds(lambda a: {"type": "number", "exclusiveMinimum": a / 4, "maximum": a}, st.integers(1, 90)),
        st.builds(lambda n: {"type": "integer", "multipleOf": n, "minimum": 0, "maximum": 99}, st.integers(2, 9)),
        st.lists(st.one_of(st.none(), st.booleans(), small, text), min_size=1, max_size=4).map(lambda v: {"enum": v}),
        st.just({"type": ["boolean", "null"]}),
        st.just({"type": ["string", "null"], "maxLength": 3}),
        st.just({"anyOf": [{"type": "integer", "minimum": 5}, {"type": "string", "maxLength": 2}]}),
    )  # fmt: skip
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.builds(lambda s: {"type": "array", "items": s, "maxItems": 2}, inner),
            st.builds(lambda s: {"type": "object", "properties": {"k": s}, "required": ["k"]}, inner),
            st.builds(lambda s: {"type": "object", "additionalProperties": s, "maxProperties": 2}, inner),
            st.lists(inner, min_size=1, max_size=2).map(lambda s: {"anyOf": s}),
        ),
        max_leaves=4,
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
@property_settings(40)
@given(st.dictionaries(st.sampled_from(["a", "B", "c d", "é"]), values(), min_size=1, max_size=3), st.integers(0, 999))
def test_sentences_of_random_schemas_grammars_are_valid(encoding: str, properties: dict[str, Any], seed: int) -> None:
    schema = {"type": "object", "properties": properties, "required": sorted(properties)[:1]}
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    syntax = ENCODINGS[encoding]
    try:
        grammar = compile_output(syntax, tools, ToolChoice("required", ("f",)), parallel=False)
    except SchemaError:
        return  # a refusal is an answer
    text = walk(grammar, random.Random(seed), limit=200, patience=0.5)
    if text is None:
        return
    ((_, arguments),) = arguments_of(parse(syntax, text, tools))
    if not grammar.unenforced:
        jsonschema.validate(arguments, schema, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("encoding", "control"),
    [
        ("gemma", {'<|"|>': 300, "<|tool_call>": 301, "<tool_call|>": 302}),
        ("params", {"<param": 300, "</param>": 301, "<function": 302, "</function>": 303}),
    ],
)
def test_control_tokens_around_values_are_required_by_id(encoding: str, control: dict[str, int]) -> None:
    """The text of the token, spelled in other tokens, is no delimiter."""
    tools: Any = TOOL_SETS[2]
    names = tuple(tool["function"]["name"] for tool in tools)
    syntax = ENCODINGS[encoding]
    text = write_assistant(syntax, {"tool_calls": random_calls(tools, random.Random(1))})
    assert reach(Guidance(compile_output(syntax, tools, ToolChoice("required", names)).lark), text) == -1
    with_tokens = compile_output(syntax, tools, ToolChoice("required", names), control=control)
    assert all(f"<[{token}]>" in with_tokens.lark for token in control.values())
    assert with_tokens.control == frozenset(control.values())


@pytest.mark.parametrize("text", ["a\n</parameter>\nb", "</parameter>"])
def test_a_string_of_history_that_contains_its_own_end_is_refused(text: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"q": text})}}
    messages: Any = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "y"},
    ]
    with pytest.raises(RequestError, match="end a string at a mark") as caught:
        load_family("qwen3.5").render(messages)
    assert "tool_calls" in str(caught.value)
    assert text in load_family("minicpm5").render(messages).text
    with pytest.raises(RequestError, match="end a string at a mark"):
        load_family("minicpm5").render(json.loads(json.dumps(messages).replace("parameter", "]]")))


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("pythonic", "a=b"), ("tagged", "a>b"), ("params", 'a"b'), ("lines", "a: b"), ("gemma", "a:b")],
)
def test_a_name_that_the_encoding_cannot_spell_is_refused(encoding: str, name: str) -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"}}}
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    with pytest.raises(SchemaError, match="cannot spell the name"):
        compile_output(ENCODINGS[encoding], tools, ToolChoice("auto", ("f",)))

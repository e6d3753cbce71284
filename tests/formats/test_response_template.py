"""Models that no family declares get the spelling of their calls from tokenizer_config.json, exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefc import inspection
from edgefc.errors import FormatError
from edgefc.formats import Family, family_of, load_family
from edgefc.formats.linear_patterns import read_pattern
from edgefc.formats.response_template import NAME, family_from
from edgefc.tools import ToolSet
from edgefc.types import Tool
from tests.bounded import run_edgefc
from tests.conformance import upstream
from tests.formats.test_families import check_loop, conversations
from tests.gguf_edit import edit_metadata
from tests.property_settings import property_settings

TURNS = """
{%- macro turn(role, text) %}<|{{ role }}|>{{ text }}<|over|>
{% endmacro %}
{%- if tools %}{{ turn('tools', tools | tojson) }}{% endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}<|assistant|>
{%- if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}
{{- message.content }}{{ '\n' if message.content and message.tool_calls }}CALLS<|over|>
{% else %}{{ turn(message.role, message.content) }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""
EACH = "{%- for call in message.tool_calls %}{% set f = call.function %}"
CONTENT = {"close": "<|over|>"}
THOUGHTS = {"open": "<think>", "close_pattern": r"</think>\s*"}


def template(calls: str) -> str:
    return TURNS.replace("CALLS", calls)


def spec(calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a response template with calls of this form."""
    return {
        "version": 1,
        "defaults": {"role": "assistant"},
        "start_anchor": "<|assistant|>",
        "fields": {"tool_calls": {"repeats": True, **calls}, "content": CONTENT, **fields},
    }


NAMED = {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}}
WHOLE = {"type": "function", "function": "{content}"}
# Name → chat template, response template, one call as it must be written, and two.
EXAMPLES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "JSON between tags": (
        template(EACH + "[CALL]\n{{ f | tojson }}\n[/CALL]{{ '\n' if not loop.last }}{% endfor %}"),
        spec({"open": "[CALL]", "close_pattern": r"\[/CALL\]\s*", "content": "json", "transform": WHOLE}),
        '[CALL]\n{"name": "f", "arguments": {"q": "x"}}\n[/CALL]',
        '[CALL]\n{"name": "f", "arguments": {"q": "x"}}\n[/CALL]\n[CALL]\n{"name": "f", "arguments": {"q": "y"}}\n[/CALL]',
    ),
    "a name in the open pattern": (
        template(EACH + "<|call|>{{ f.name }}: {{ f.arguments | tojson(separators=(',', ':')) }}{% endfor %}"),
        spec({"open_pattern": r"<\|call\|>(?P<name>\w+):\s+", "content": "json", "transform": NAMED}),
        '<|call|>f: {"q":"x"}',
        '<|call|>f: {"q":"x"}<|call|>f: {"q":"y"}',
    ),
    "a list": (
        template("{% if message.tool_calls %}<calls>[" + EACH + "{{ f | tojson }}{{ ', ' if not loop.last }}"
                 "{% endfor %}]</calls>{% endif %}"),
        spec({"open": "<calls>", "close": "</calls>", "content": "json", "transform_each": True, "repeats": False,
              "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{arguments}"}}}),
        '<calls>[{"name": "f", "arguments": {"q": "x"}}]</calls>',
        '<calls>[{"name": "f", "arguments": {"q": "x"}}, {"name": "f", "arguments": {"q": "y"}}]</calls>',
    ),
    "arguments as JSON text, and ids": (
        template(EACH + "{{ raise_exception('text') if f.arguments is not string }}"
                 "<|call|>{{ f.name }} {{ f.arguments }}#{{ call.id }}{% endfor %}"),
        spec({"open_pattern": r"<\|call\|>(?P<name>\S+) ", "close_pattern": r"#(?P<id>\w{9})", "content": "json",
              "transform": {"id": "{id}", **NAMED}}),
        '<|call|>f {"q": "x"}#callcall1',
        '<|call|>f {"q": "x"}#callcall1<|call|>f {"q": "y"}#callcall2',
    ),
    "parameters in tags": (
        template(EACH + "<invoke name={{ f.name }}>\n{% for k, v in f.arguments | items %}<p {{ k }}>"
                 "{{ v if v is string else v | tojson }}</p>\n{% endfor %}</invoke>{{ '\n' if not loop.last }}{% endfor %}"),
        spec({"open_pattern": r"<invoke name=(?P<name>[^>\n]+)>", "close_pattern": r"</invoke>\s*",
              "content": "xml-inline", "content_args": {"tag_pattern": r"<p (?P<key>[^>\n]+)>(?P<value>.*?)</p>"},
              "transform": NAMED}),
        "<invoke name=f>\n<p q>x</p>\n</invoke>",
        "<invoke name=f>\n<p q>x</p>\n</invoke>\n<invoke name=f>\n<p q>y</p>\n</invoke>",
    ),
    "Python's calls": (
        template("{% if message.tool_calls %}<|calls|>[" + EACH + "{{ f.name }}({% for k, v in f.arguments | items %}"
                 "{{ k }}='{{ v }}'{{ ', ' if not loop.last }}{% endfor %}){{ ', ' if not loop.last }}{% endfor %}]<|end|>"
                 "{% endif %}"),
        spec({"open": "<|calls|>", "close": "<|end|>", "content": "python-call-list", "transform_each": True,
              "transform": NAMED, "repeats": False}),
        "<|calls|>[f(q='x')]<|end|>",
        "<|calls|>[f(q='x'), f(q='y')]<|end|>",
    ),
    "JSON with delimiters of its own": (
        template(EACH + "<|call|>{{ f.name }}{ {%- for k, v in f.arguments | items %}{{ k }}:<|'|>{{ v }}<|'|>"
                 "{{ ',' if not loop.last }}{% endfor %} }<|done|>{% endfor %}").replace("%} }", "%}}"),
        spec({"open_pattern": r"<\|call\|>(?P<name>\w+)", "close": "<|done|>", "content": "json", "transform": NAMED,
              "content_args": {"string_delims": [["<|'|>", "<|'|>"]], "unquoted_keys": True}}),
        "<|call|>f{q:<|'|>x<|'|>}<|done|>",
        "<|call|>f{q:<|'|>x<|'|>}<|done|><|call|>f{q:<|'|>y<|'|>}<|done|>",
    ),
}  # fmt: skip
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
TOOLS: list[Tool] = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]


def family(name: str, **fields: Any) -> Family:
    chat_template, declared, *_ = EXAMPLES[name]
    return family_from({**declared, "fields": {**declared["fields"], **fields}}, chat_template, eos="<|over|>")


def called(*values: str) -> dict[str, Any]:
    calls = [
        {"id": f"callcall{n + 1}", "type": "function", "function": {"name": "f", "arguments": json.dumps({"q": value})}}
        for n, value in enumerate(values)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


@pytest.mark.parametrize("name", EXAMPLES)
def test_calls_are_spelled_as_the_chat_template_writes_them(name: str) -> None:
    found = family(name)
    *_, one, two = EXAMPLES[name]
    question: dict[str, Any] = {"role": "user", "content": "?"}
    for text, values in ((one, ("x",)), (two, ("x", "y"))):
        results = [{"role": "tool", "tool_call_id": f"callcall{n + 1}", "content": "r"} for n in range(len(values))]
        prompt = found.render([question, called(*values), *results], ToolSet.of(TOOLS)).text
        assert f"<|assistant|>{text}<|over|>" in prompt
        message = found.parse(text, ToolSet.of(TOOLS)).message
        arguments = [json.loads(call["function"]["arguments"]) for call in message.get("tool_calls", [])]
        assert arguments == [{"q": value} for value in values]
    assert found.stop == ("<|over|>",)


@pytest.mark.parametrize("name", EXAMPLES)
@property_settings(40, share=0.1)
@given(conversations(), st.sampled_from(["", "Let me see.", "naïve 🙂\n\nok"]), st.integers(0, 1 << 30))
def test_the_loop_closes(
    name: str, conversation: tuple[list[Tool], list[dict[str, Any]]], text_beside: str, seed: int
) -> None:
    check_loop(FOUND[name], conversation, text_beside, seed)


FOUND = {name: family(name) for name in EXAMPLES}


@pytest.mark.parametrize("field", ["reasoning_content", "thinking", "reasoning"])
def test_thoughts_are_those_of_the_template(field: str) -> None:
    found = family("JSON between tags", **{field: THOUGHTS})
    assert (found.syntax.think_begin, found.syntax.think_end) == ("<think>\n", "\n</think>\n\n")
    reply = found.parse("<think>\nHm.\n</think>\n\nYes.")
    assert reply.message.get("reasoning_content") == "Hm."
    assert reply.message["content"] == "Yes."


def test_thoughts_that_the_prompt_begins() -> None:
    """The field begins with nothing but a look ahead where the prompt has written its begin."""
    chat_template, declared, *_ = EXAMPLES["JSON between tags"]
    opened = chat_template.replace("%}<|assistant|>{% endif %}", "%}<|assistant|><think>\n{% endif %}")
    thoughts = {"open_pattern": r"(?=[\s\S]*?</think>)", "close_pattern": r"</think>\s*"}
    found = family_from({**declared, "fields": {**declared["fields"], "thinking": thoughts}}, opened)
    assert found.opens_thoughts == {None, True}
    assert found.syntax.think_begin == "<think>\n"


TAGS = {
    "open_pattern": r"<tool_call>\s*<function=(?P<name>[^>\n]+)>",
    "close": "</tool_call>",
    "content": "xml-inline",
    "content_args": {"tag_pattern": r"<parameter=(?P<key>[^>\n]+)>\s*(?P<value>.*?)\s*</parameter>"},
}
IM_END, JSON = {"close": "<|im_end|>"}, {"content": "json"}
# Family → a vendor's chat template, and where its calls and answers end.
VENDORS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "qwen3": ("Qwen-Qwen3-0.6B", {"open": "<tool_call>", "close": "</tool_call>", **JSON}, IM_END),
    "qwen3.5": ("Qwen3.5-4B", TAGS, IM_END),
    "lfm2.5": (
        "LFM2.5-8B-A1B",
        {"open": "<|tool_call_start|>", "close": "<|tool_call_end|>", "content": "python-call-list"},
        IM_END,
    ),
    "gemma4": (
        "google-gemma-4-31B-it",
        {
            "open_pattern": r"<\|tool_call>call:(?P<name>\w+)",
            "close": "<tool_call|>",
            "content_args": {"string_delims": [['<|"|>', '<|"|>']], "unquoted_keys": True},
            **JSON,
        },
        {"close": ["<turn|>", "<|tool_response>"]},
    ),
    "llama3-json": (
        "meta-llama-Llama-3.2-3B-Instruct",
        {"open_pattern": r'\{"name":\s*"(?P<name>[^"]+)",\s*"parameters":\s*', **JSON},
        {"close": "<|eot_id|>"},
    ),
    "granite4": (
        "ibm-granite-granite-4.0",
        {"open": "<tool_call>", "close": "</tool_call>", **JSON},
        {"close": "<|end_of_text|>"},
    ),
    "mistral": ("mistralai-Mistral-Nemo-Instruct-2407", {"open": "[TOOL_CALLS]", **JSON}, {"close": "</s>"}),
    "ministral3": (
        "mistralai-Ministral-3-14B-Reasoning-2512",
        {"open_pattern": r"\[TOOL_CALLS\](?P<name>\w+)\[ARGS\]", **JSON},
        {"close": "</s>"},
    ),
    "mistral-small-3.2": (
        "Mistral-Small-3.2-24B-Instruct-2506",
        {"open_pattern": r"\[TOOL_CALLS\](?P<name>\w+)\[CALL_ID\](?P<id>\w+)\[ARGS\]", **JSON},
        {"close": "</s>"},
    ),
}


@pytest.mark.parametrize("name", VENDORS)
def test_vendors_templates_give_the_spellings_of_declared_families(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEFC_CACHE_DIR")
    try:
        folder = upstream.source() / upstream.TEMPLATES
    except SystemExit as reason:
        pytest.skip(f"the templates could not be downloaded: {reason}")
    file, calls, content = VENDORS[name]
    chat_template = (folder / f"{file}.jinja").read_text(encoding="utf-8")
    fields = {"reasoning_content": THOUGHTS} if name == "qwen3.5" else {}
    found = family_from(spec(calls, content=content, **fields), chat_template, eos="</s>").syntax
    declared = load_family(name).syntax
    for field in ("call", "calls_begin", "calls_separator", "calls_end", "parallel", "arguments", "quote", "parameter"):
        assert getattr(found, field) == getattr(declared, field), field


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no calls": ({"fields": {"content": CONTENT}}, "no tool_calls"),
    "another version": ({**EXAMPLES["a list"][1], "version": 2}, "unknown version 2"),
    "fields that are none": ({"fields": [1]}, "must be objects"),
    "another content": (spec({"open": "[CALL]", "content": "kv-lines"}), "kv-lines"),
    "another begin": (spec({"open": "<other>", "content": "json"}), "begin in another way"),
    "another end": (spec({"open": "[CALL]", "close": "<other>", "content": "json"}), "end in another way"),
    "another encoding": (spec({"open": "[CALL]", "content": "python-call-list"}), "arguments are not where"),
    "a pattern that takes forever": (spec({"open_pattern": "(a+)+b", "content": "json"}), "a pattern that is not"),
    "a long pattern": (spec({"open_pattern": "a" * 9000, "content": "json"}), "at most 2,000"),
    "an end that is no text": (spec({"open": "[CALL]", "close": [1], "content": "json"}), "a text or a list"),
    "channels": (spec({"open": "[CALL]", "content": "json"}, content={"open": "<|final|>"}), "channel of its own"),
    "no begin": (spec({"content": "json"}), "begin in another way"),
    "two delimiters": (
        spec({"open": "[CALL]", "content": "json", "content_args": {"string_delims": [["<", ">"]]}}),
        "string_delims",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_template_that_does_not_fit_is_refused(name: str) -> None:
    declared, reason = BAD[name]
    with pytest.raises(FormatError, match=reason):
        family_from(declared, EXAMPLES["JSON between tags"][0], eos="<|over|>")


def test_calls_that_nothing_tells_from_text_are_refused() -> None:
    with pytest.raises(FormatError, match="nothing tells them from text"):
        family_from(
            spec({"open_pattern": r"(?P<name>\w+)\(", "content": "json"}),
            template(EACH + "{{ f.name }}({{ f.arguments | tojson }}){% endfor %}"),
            eos="<|over|>",
        )


@pytest.mark.parametrize("pattern", ["a+", ".", "(a", "[a", "(?i)a", "\\", "(" * 99, "(a|b)?" * 9, r"\d", "a{2}"])
def test_other_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(FormatError):
        read_pattern(pattern)


@pytest.fixture
def model(demo_path: Path, tmp_path: Path) -> Path:
    path = tmp_path / "stranger.gguf"
    chat_template = EXAMPLES["JSON between tags"][0]
    return edit_metadata(demo_path, path, {"general.name": "stranger", "tokenizer.chat_template": chat_template})


def write_config(model: Path, content: Any) -> None:
    model.with_name("tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")


def test_show_says_where_the_calls_come_from(model: Path, tmp_path: Path) -> None:
    assert inspection.family_of(str(model))[0].name == "generic"
    write_config(model, {"response_template": EXAMPLES["JSON between tags"][1]})
    shown = run_edgefc("show", model, folder=tmp_path)
    assert NAME in shown
    assert "response_template" in shown


def test_a_named_family_and_a_declared_one_come_first(model: Path) -> None:
    write_config(model, {"response_template": EXAMPLES["JSON between tags"][1]})
    assert inspection.family_of(str(model), "hermes")[0].name == "hermes"
    assert inspection.family_of(str(model), NAME)[0].name == NAME
    assert family_of({"general.name": "Hammer2.1-1.5b"}, model)[0].name == "hammer2.1"


@pytest.mark.parametrize("content", [[], {"response_template": 1}, {}, {"response_template": BAD["channels"][0]}])
def test_a_file_that_says_nothing_changes_nothing(model: Path, content: Any) -> None:
    write_config(model, content)
    found, detection = inspection.family_of(str(model))
    assert found.name == "generic"
    assert bool(detection.note) == (content == {"response_template": BAD["channels"][0]})

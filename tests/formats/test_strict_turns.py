"""No conversation that the APIs accept is refused for a template's sake, and none loses a turn."""

from __future__ import annotations

from typing import Any

import pytest

from edgefc.errors import FormatError
from edgefc.formats import Family, family_names, family_of, load_family
from edgefc.formats.strict_turns import RULES, Turn, apply, no_system, system_in_last_question
from tests.conformance import upstream

TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "probe",
            "description": "d",
            "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
        },
    }
]


def turns(roles: str) -> list[Turn]:
    """Return a conversation with a distinct text in each turn; C is a call, T a call with text, E an empty answer."""
    names = {"S": "system", "D": "developer", "U": "user", "A": "assistant", "R": "tool"}
    conversation: list[Turn] = []
    for number, letter in enumerate(roles):
        message: Turn = {"role": names.get(letter, "assistant"), "content": f"text {number}."}
        if letter in "CE":
            message["content"] = None if letter == "C" else ""
        if letter in "CT":
            message["tool_calls"] = [
                {"id": f"c{number}", "type": "function", "function": {"name": "probe", "arguments": "{}"}}
            ]
        if letter == "R":
            message["tool_call_id"] = f"c{number - 1}"
        conversation.append(message)
    return conversation


SHAPES = (
    "U", "SU", "DU", "SSU", "SDU", "S", "UASU", "SUASU", "UU", "UUU", "UAAU", "A", "AU", "SAU", "AAU", "UA", "UE", "E",
    "UEU", "SUEU", "UCR", "UCRA", "UCRU", "UCRUA", "UCRUAU", "UCRCR", "UCRCRAU", "UCRSU", "UCRSUAU", "UCRAAU", "UACR",
    "UACRA", "UACRAU", "UTRAU", "SUTRU", "CR", "CRA", "ACRU", "SCRAU", "UCREU", "SUCR", "SUAUCR",
)  # fmt: skip

# The checks of vendors' templates: Mistral's, Gemma's, Qwen3.5's, Llama 3's; and one that shows turns as it likes.
MISTRAL = """
{%- set ns = namespace(i=0) %}
{%- for m in messages %}
  {%- if m.role == 'system' and not loop.first %}{{ raise_exception('Only user and assistant roles') }}{% endif %}
  {%- if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) %}
    {%- if (m.role == 'user') != (ns.i % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
    {%- if not m.content and m.role == 'assistant' %}{{ raise_exception('no content') }}{% endif %}
    {%- set ns.i = ns.i + 1 %}
  {%- endif %}
{%- endfor %}"""
GEMMA = """
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for m in messages %}
  {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{%- endfor %}"""
QWEN = """
{%- set ns = namespace(found=false) %}
{%- for m in messages %}
  {%- if m.role == 'system' and not loop.first %}{{ raise_exception('System message must be first') }}{% endif %}
  {%- if m.role == 'user' %}{% set ns.found = true %}{% endif %}
{%- endfor %}
{%- if not ns.found %}{{ raise_exception('No user query') }}{% endif %}"""
NEMO = """
{%- for m in messages if m.role != 'system' %}[{{ m.role }}]
  {{- messages[0].content if loop.last and m.role == 'user' and messages[0].role == 'system' }}{{ m.content }}
  {%- for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}
{%- endfor %}{{ tools | tojson if tools }}[assistant]"""
LLAMA = "{{- raise_exception('no first user message') if messages[-1].role == 'system' and tools }}"
INDEX = "{{- messages[1].role.upper()[:0] if messages[0].role == 'system' }}"
TURNS = """
{%- for m in messages %}[{{ m.role }}]
  {{- m.content }}
  {%- for c in m.tool_calls %}<tool_call>
{{ c.function | tojson }}
</tool_call>{% endfor %}
{%- endfor %}{{ tools | tojson if tools }}[assistant]"""
DROPS = """
{%- for m in messages if m.role != 'system' or loop.first %}[{{ m.role }}]{{ m.content }}{% endfor %}"""
TEMPLATES = {
    "mistral": ("hermes", MISTRAL + TURNS),
    "llama": ("hermes", LLAMA + TURNS),
    "qwen": ("hermes", QWEN + TURNS),
    "system message in the last question": ("hermes", NEMO),
    "index": ("hermes", INDEX + TURNS),
    "mistral, no tools": ("generic", MISTRAL + TURNS),
    "gemma": ("generic", GEMMA + DROPS),
    "qwen, no tools": ("generic", QWEN + DROPS),
    "drops": ("generic", DROPS),
}


def check(family: Family, shape: str) -> None:
    """Render a conversation with and without tools; every text but that beside calls must be in the prompt."""
    for tools in (TOOLS, None):
        prompt = family.render(turns(shape), tools).text
        shown = [turn["content"] for turn in turns(shape) if turn["content"] and "tool_calls" not in turn]
        assert [text for text in shown if text not in prompt] == [], (family.name, bool(tools), prompt)


@pytest.mark.parametrize("name", family_names())
def test_families_show_every_conversation(name: str) -> None:
    for shape in SHAPES:
        check(load_family(name), shape)


@pytest.mark.parametrize("name", TEMPLATES)
def test_strict_templates_show_every_conversation(name: str) -> None:
    family, template = TEMPLATES[name]
    adapted, _ = family_of({"tokenizer.chat_template": template}, name=family)
    assert adapted.adapt is not None, "the model's template is not in use"
    for shape in SHAPES:
        check(adapted, shape)


def test_the_vendors_templates_refuse_no_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEFC_CACHE_DIR")
    try:
        folder = upstream.source() / upstream.TEMPLATES
    except SystemExit as reason:
        pytest.skip(f"the templates could not be downloaded: {reason}")
    refused = []
    for path in sorted(folder.glob("*.jinja")):
        if path.name.startswith("fireworks"):  # takes the tools in a variable of its own
            continue
        family, _ = family_of({"tokenizer.chat_template": path.read_text(encoding="utf-8")})
        for number, shape in enumerate(SHAPES):
            try:
                family.render(turns(shape), None if number % 2 else TOOLS)
            except FormatError as error:
                refused.append((path.name, shape, str(error)))
    assert refused == []


@pytest.mark.parametrize("shape", ["SU", "UAU", "SUAU", "UA", "SUCRAU"])
def test_turns_that_keep_the_rules_stay_as_they_are(shape: str) -> None:
    messages = turns(shape)
    rules = [rule for rule in RULES if "S" not in shape or rule not in (no_system, system_in_last_question)]
    assert apply(rules, messages) == messages


def test_a_template_without_demands_gets_the_turns_as_they_are() -> None:
    family, _ = family_of({"tokenizer.chat_template": TURNS}, name="hermes")
    assert family.turn_rules == ()


def test_a_growing_conversation_keeps_its_beginning() -> None:
    """The form of earlier turns does not depend on later ones, so that their KV cache can be used again."""
    family, _ = family_of({"tokenizer.chat_template": MISTRAL + TURNS}, name="hermes")
    for shape in ("SSUAUUA", "UAASUAU", "SUACRAUCRUA"):
        before = ""
        for length in range(1, len(shape) + 1):
            if shape[length - 1] != "A" or shape[length : length + 1] in ("A", "C", ""):
                continue
            prompt = family.render(turns(shape[:length]), None).text.removesuffix("[assistant]")
            assert prompt.startswith(before)
            before = prompt


def test_text_of_a_result_never_becomes_the_user_s() -> None:
    form = apply(RULES, turns("UCRU"))
    assert [turn["role"] for turn in form] == ["user", "assistant", "tool"]
    assert form[2]["content"] == "text 2.\n\ntext 3."

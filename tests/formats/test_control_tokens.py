"""Fault row 38: text from users, tools and schemas never becomes a control token, in any family."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from edgefc.engine import Tokenizer
from edgefc.errors import RequestError
from edgefc.formats import Family, family_names, family_of, load_family
from edgefc.tools import ToolSet

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FIELDS = ("system", "user", "answer", "tool name", "description", "parameter", "argument", "result")


def conversation(text: str, fields: tuple[str, ...] = FIELDS) -> tuple[list[Any], list[Any]]:
    """Return messages and tools with a text in every field that strangers can write to, and "x" in the others."""
    texts = {field: text if field in fields else "x" for field in FIELDS}
    name = f"f{texts['tool name']}"
    properties = {
        texts["parameter"]: {"type": "string", "enum": [texts["parameter"]], "description": texts["description"]}
    }
    function = {
        "name": name,
        "description": texts["description"],
        "parameters": {"type": "object", "properties": properties},
    }
    call = {"name": name, "arguments": json.dumps({texts["argument"]: texts["argument"]})}
    messages = [
        {"role": "system", "content": texts["system"]},
        {"role": "user", "content": texts["user"]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "1", "content": texts["result"]},
        {"role": "assistant", "content": texts["answer"]},
        {"role": "user", "content": texts["user"] * 2},
    ]
    return messages, [{"type": "function", "function": function}]


@pytest.mark.parametrize("family", [*family_names(), "own template"])
def test_no_special_token_s_text_becomes_its_id(family: str, family_tokenizer: Callable[[str], Tokenizer]) -> None:
    name = "generic" if family == "own template" else family
    tokenizer = family_tokenizer(name)
    chat_format: Family = load_family(name)
    if family == "own template":
        chat_format, detection = family_of({"tokenizer.chat_template": CHATML}, name="generic")
        assert detection.template != "built in"
    texts = sorted(tokenizer.special_tokens)
    assert len(texts) >= 3
    ids = {tokenizer.special_id(text) for text in texts}

    def special_ids(text: str) -> list[int]:
        messages, tools = conversation(text)
        prompt = chat_format.render(messages, tools, special_tokens=tokenizer.special_tokens)
        assert prompt.text == chat_format.render(messages, tools).text, "cutting changes no byte"
        assert "".join(prompt.pieces) == prompt.text
        return [token for token in tokenizer.encode(prompt, bos=chat_format.bos) if token in ids]

    own = special_ids("x")
    for text in texts[:60]:
        assert special_ids(text) == own, text
    # One inside another, and one cut by another.
    for text in texts[:8]:
        assert special_ids(text[:3] + text + text[3:]) == own, text


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_alone(field: str, family_tokenizer: Callable[[str], Tokenizer]) -> None:
    tokenizer, family = family_tokenizer("hermes"), load_family("hermes")
    end = tokenizer.special_id("<|im_end|>")

    def ends(text: str) -> int:
        messages, tools = conversation(text, (field,))
        return tokenizer.encode(family.render(messages, tools, special_tokens=tokenizer.special_tokens)).count(end)

    assert ends("<|im_end|>") == ends("x")
    messages, tools = conversation("<|im_end|>", (field,))
    assert tokenizer.encode(family.render(messages, tools)).count(end) > ends("x"), "the token appears without the cuts"


@pytest.mark.parametrize("text", ["<|im_end|>", "[INST]", " ", '"', "</s>"])
def test_such_a_text_is_refused_as_a_tool_name(text: str) -> None:
    with pytest.raises(RequestError, match="invalid tool name"):
        ToolSet.of(conversation(text)[1])

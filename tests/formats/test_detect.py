"""A model file's family is told from its metadata."""

from __future__ import annotations

import pytest

from edgefc.errors import FormatError
from edgefc.formats import detect

CASES = [
    ({"general.name": "Arch Function Chat 3B", "tokenizer.chat_template": "<tool_call>"}, "hermes"),
    ({"general.name": "Arch-Function-Chat-3B", "tokenizer.chat_template": "<tool_call>"}, "arch-chat"),
    ({"general.name": "Arch-Function-3B", "tokenizer.chat_template": "<tool_call>"}, "arch-function"),
    ({"general.name": "arch_agent_1.5b"}, "arch-agent"),
    ({"general.name": "Qwen2.5 7B Instruct", "tokenizer.chat_template": "… <tool_call> …"}, "hermes"),
    ({"general.name": "anything", "tokenizer.chat_template": "<|im_start|>"}, "hermes"),
    ({"general.name": "Arch-Agent", "tokenizer.chat_template": "{# edgefc family=demo #}"}, "demo"),
]


@pytest.mark.parametrize(("metadata", "family"), CASES)
def test_a_family_is_recognised(metadata: dict[str, object], family: str) -> None:
    found = detect(metadata)
    assert found.family == family
    assert found.reason


def test_an_unknown_model_is_not_guessed() -> None:
    with pytest.raises(FormatError, match="--family"):
        detect({"general.name": "gpt-2", "tokenizer.chat_template": "{{ x }}"})

"""A model file's family is told from its metadata."""

from __future__ import annotations

import pytest

from edgefc.errors import FormatError
from edgefc.formats import detect

CASES = [
    ({"general.name": "Arch Function Chat 3B", "tokenizer.chat_template": "<|im_start|><tool_call>"}, "arch-chat"),
    ({"general.name": "Arch-Function-Chat-3B", "tokenizer.chat_template": "<|im_start|> <tool_call>"}, "arch-chat"),
    ({"general.name": "Arch-Function-3B", "tokenizer.chat_template": "<|im_start|> <tool_call>"}, "arch-function"),
    ({"general.name": "arch_agent_1.5b"}, "arch-agent"),
    ({"general.name": "Qwen2.5 7B Instruct", "tokenizer.chat_template": "<|im_start|> <tool_call> …"}, "hermes"),
    ({"general.name": "anything", "tokenizer.chat_template": "<|im_start|>"}, "hermes"),
    ({"general.name": "Arch-Agent", "tokenizer.chat_template": "{# edgefc family=demo #}"}, "demo"),
]


@pytest.mark.parametrize(("metadata", "family"), CASES)
def test_a_family_is_recognised(metadata: dict[str, object], family: str) -> None:
    found = detect(metadata)
    assert found.family == family
    assert found.reason


STRANGERS = [
    {"general.name": "Llama 3", "tokenizer.chat_template": "<|start_header_id|> <tool_call>"},
    {"general.name": "Nous Hermes Llama2 13B", "tokenizer.chat_template": "### Instruction:"},
]


@pytest.mark.parametrize("metadata", STRANGERS)
def test_what_is_not_chatml_is_not_taken_for_it(metadata: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        detect(metadata)


def test_a_file_name_counts_when_the_file_says_nothing() -> None:
    assert detect({}, "Arch-Agent-1.5B.Q4_K_M.gguf").family == "arch-agent"


def test_an_unknown_model_is_not_guessed() -> None:
    with pytest.raises(FormatError, match="--family"):
        detect({"general.name": "gpt-2", "tokenizer.chat_template": "{{ x }}"})

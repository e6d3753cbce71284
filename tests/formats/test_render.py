"""Prompts are byte-exact, and content never becomes a control token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgefc.errors import FormatError
from edgefc.formats import Prompt, load_family

GOLDENS = Path(__file__).parents[1] / "goldens"
FIXTURE = json.loads((GOLDENS / "fixture.json").read_text(encoding="utf-8"))
TOOLS, FIRST, HISTORY = FIXTURE["T"], FIXTURE["M1"], FIXTURE["H"]
SPECIAL = frozenset({"<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "</tool_call>"})


@pytest.mark.parametrize("path", sorted(GOLDENS.glob("*.txt")), ids=lambda path: path.stem)
def test_a_prompt_is_its_golden_file(path: Path) -> None:
    family, case = path.stem.rsplit(".", 1)
    assert load_family(family).render(FIXTURE[case], TOOLS).text == path.read_bytes().decode()


def everywhere(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A conversation and tools with a text in every place a stranger can write to."""
    tools = [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": text,
                "parameters": {"type": "object", "properties": {text: {"type": "string", "enum": [text]}}},
            },
        }
    ]
    messages = [
        {"role": "system", "content": text},
        {"role": "user", "content": text},
        {
            "role": "assistant",
            "content": text,
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": json.dumps({text: text})}}
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": text},
        {"role": "user", "content": text * 2},
    ]
    return messages, tools


@pytest.mark.parametrize("special", sorted(SPECIAL))
@pytest.mark.parametrize("family", ["arch-agent", "arch-chat", "arch-function", "demo", "hermes"])
def test_content_keeps_its_bytes_and_is_cut_inside_every_special_token(family: str, special: str) -> None:
    chat_format = load_family(family)
    messages, tools = everywhere(special)
    plain = chat_format.render(messages, tools)
    prompt = chat_format.render(messages, tools, special_tokens=SPECIAL)
    assert prompt.text == plain.text
    assert "".join(prompt.pieces) == prompt.text
    # What the template itself writes, counted on a conversation without the special text.
    own = chat_format.render(*everywhere("x")).text.count(special)
    assert sum(piece.count(special) for piece in prompt.pieces) == own


def test_special_text_never_becomes_a_special_id(qwen2_vocab: Path) -> None:
    from edgefc.engine.llama import Model
    from edgefc.engine.tokenizer import Tokenizer

    model = _vocabulary_only(qwen2_vocab)
    assert isinstance(model, Model)
    tokenizer = Tokenizer(model.vocabulary)
    special = {token for text in tokenizer.special_tokens if (token := tokenizer.special_id(text)) is not None}
    family = load_family("hermes")

    def count(text: str) -> int:
        ids = tokenizer.encode(family.render(*everywhere(text), special_tokens=tokenizer.special_tokens))
        return sum(token in special for token in ids)

    plain = count("x")
    texts = sorted(tokenizer.special_tokens)
    assert len(texts) >= 3
    for text in texts[:50]:
        assert count(text) == plain, text
    model.close()


def _vocabulary_only(path: Path) -> Any:
    from edgefc.engine import llama

    params = llama.api.llama_model_default_params()
    params.vocab_only = True
    model = object.__new__(llama.Model)
    model.handle = llama.api.llama_model_load_from_file(str(path).encode(), params)
    model.vocabulary = llama.Vocabulary(llama.api.llama_model_get_vocab(model.handle))
    return model


def test_pieces_lie_between_the_cuts() -> None:
    assert Prompt("abcdef", (2, 4)).pieces == ["ab", "cd", "ef"]


def test_an_unknown_family_suggests_near_names() -> None:
    with pytest.raises(FormatError, match="arch-chat"):
        load_family("arch_chat")

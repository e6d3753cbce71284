"""A server with llguidance reads added tokens in angle brackets as control tokens: every family's answers fit it so."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path

import pytest
import tokenizers
from llguidance import LLMatcher, LLTokenizer

from edgefc.cache import TextCache
from edgefc.engine import Tokenizer
from edgefc.engine.constraint import Constraint
from edgefc.engine.remote.grammars import LarkGrammar, with_open_tokens
from edgefc.engine.tokenizer_files import TOKENIZER, FileVocabulary
from edgefc.formats import family_names, load_family
from edgefc.formats.write import write_assistant
from edgefc.grammar import compile_output, compile_schema
from edgefc.types import OutputSyntax, ToolChoice
from tests.formats.test_loop import random_calls
from tests.tool_sets import TOOL_SETS

TOOLS = TOOL_SETS[2]
NAMES = tuple(tool["function"]["name"] for tool in TOOLS)
BOUNDED = [
    {
        "type": "function",
        "function": {
            "name": "f",
            "parameters": {
                "type": "object",
                "properties": {
                    "text": {"type": "string", "maxLength": 5},
                    "other": {"type": "string", "not": {"const": "x"}},
                    "half": {"type": "number", "multipleOf": 0.5},
                },
            },
        },
    }
]
CALL = {"name": "f", "arguments": {"text": "abcde", "other": "y", "half": 1.5}}


def texts_in_brackets(syntax: OutputSyntax) -> list[str]:
    """Return the texts of a syntax that a model of its family has as one token."""
    values = [value for field in fields(syntax) if isinstance(value := getattr(syntax, field.name), str)]
    return sorted({text for value in values for text in re.findall(r"<[^<>\s={}]+>", value)})


def vocabulary_with(texts: Collection[str], demo_path: Path, folder: Path) -> FileVocabulary:
    """Return the demo model's vocabulary with these texts as added tokens, as Qwen's `<tool_call>` is one."""
    found = tokenizers.Tokenizer.from_file(str(demo_path.with_name(TOKENIZER)))
    found.add_tokens([tokenizers.AddedToken(text, special=False, normalized=False) for text in texts])
    found.save(str(folder / TOKENIZER))
    return FileVocabulary(folder / TOKENIZER, eos=["<|im_end|>"])


def fits(tokenizer: Tokenizer, guidance: LLTokenizer, syntax: OutputSyntax, choice: str, text: str) -> bool:
    mode = ToolChoice(choice, NAMES)  # type: ignore[arg-type]
    constraint = Constraint(guidance, compile_output(syntax, TOOLS, mode, control=tokenizer.control))
    return constraint.try_consume(tokenizer.encode(text)) and constraint.is_accepting


@pytest.mark.parametrize("family", family_names())
def test_answers_fit_the_grammar_token_by_token(family: str, demo_path: Path, tmp_path: Path) -> None:
    syntax = load_family(family).syntax
    texts = texts_in_brackets(syntax)
    vocabulary = vocabulary_with(texts, demo_path, tmp_path)
    plain, marked = Tokenizer(vocabulary), Tokenizer(vocabulary)
    guidance = vocabulary.guidance(), vocabulary.guidance(marked.add_markers())
    assert set(texts) <= set(marked.control)
    calls = random_calls(TOOLS, random.Random(family))[: None if syntax.parallel else 1]
    # gpt-oss has a token amid its answers that ends those of other models.
    thinks = syntax.think_begin and not {plain.special_id(text) for text in texts} & vocabulary.eog
    thoughts = [f"{syntax.think_begin}Hm.{syntax.think_end}"] if thinks else []
    for message in ({"content": "", "tool_calls": calls}, {"content": "Hello there."}):
        for before in ("", *thoughts):
            text = before + write_assistant(syntax, {"role": "assistant", **message})
            for choice in ("auto", "required"):
                here = fits(plain, guidance[0], syntax, choice, text)
                there = fits(marked, guidance[1], syntax, choice, text)
                assert there == here == (choice == "auto" or "tool_calls" in message), (choice, text)


@pytest.mark.parametrize("family", family_names())
def test_the_only_way_to_go_on_is_known_at_every_token(family: str, demo_path: Path, tmp_path: Path) -> None:
    """llguidance panics where a control token must follow a lexeme that it takes for unfinished."""
    syntax = load_family(family).syntax
    message = {"role": "assistant", "content": "", "tool_calls": [{"id": "abcdefgh1", **CALL}]}
    thought = f"{syntax.think_begin}A\nB</thi C.{syntax.think_end}" if syntax.think_begin else ""
    texts = [text for text in texts_in_brackets(syntax) if text not in (syntax.think_end or "")]
    for number, some in enumerate([texts, *([text] for text in texts)] if texts else ()):
        folder = tmp_path / str(number)
        folder.mkdir()
        vocabulary = vocabulary_with(some, demo_path, folder)
        tokenizer = Tokenizer(vocabulary)
        guidance = vocabulary.guidance(tokenizer.add_markers())
        for before in dict.fromkeys(("", thought)):
            grammar = compile_output(syntax, BOUNDED, ToolChoice("required", ("f",)), control=tokenizer.control)
            constraint = Constraint(guidance, grammar)
            for token in tokenizer.encode(before + write_assistant(syntax, message)):
                constraint.consume(token)
                constraint.fork().consume_forced()
            assert constraint.is_accepting


def test_a_marker_is_one_token_there(demo_path: Path, tmp_path: Path) -> None:
    syntax = load_family("hermes").syntax
    vocabulary = vocabulary_with(["<tool_call>", "</tool_call>"], demo_path, tmp_path)
    tokenizer = Tokenizer(vocabulary)
    guidance, token = vocabulary.guidance(tokenizer.add_markers()), tokenizer.special_id("<tool_call>")
    grammar = compile_output(syntax, TOOLS, ToolChoice("required", NAMES), control=tokenizer.control)
    assert token in grammar.control
    assert Constraint(guidance, grammar).mask().nonzero()[0].tolist() == [token]
    assert tokenizer.piece(token) == b"<tool_call>", "it is text in an answer all the same"


@pytest.mark.parametrize(
    "value", ["<|im_end|>", "a <|im_end|> b", "<tool_call>", {"<|im_end|>": 3}, {"tool": "</tool_call>"}]
)
def test_a_text_that_is_a_control_tokens_can_be_demanded(value: object, demo_path: Path, tmp_path: Path) -> None:
    vocabulary = vocabulary_with(["<tool_call>", "</tool_call>"], demo_path, tmp_path)
    tokenizer = Tokenizer(vocabulary)
    guidance = vocabulary.guidance(tokenizer.add_markers())
    server = LLTokenizer((tmp_path / TOKENIZER).read_text(encoding="utf-8"))
    grammar = with_open_tokens({"grammar": compile_schema({"const": value})}, tokenizer, TextCache(len))["grammar"]
    assert grammar is not None
    lark, constraint = LarkGrammar(grammar.lark, grammar, tokenizer), Constraint(guidance, grammar)
    matcher = LLMatcher(server, lark.text)
    left, answer = json.dumps(value).encode(), list[int]()
    while left:
        bias = matcher.compute_logit_bias()
        allowed = [
            token for token in range(tokenizer.n_vocab) if bias[token] and token not in tokenizer.control.values()
        ]
        token = max((t for t in allowed if left.startswith(tokenizer.piece(t))), key=lambda t: len(tokenizer.piece(t)))
        assert matcher.consume_token(token)
        assert constraint.mask()[token]
        assert constraint.try_consume([token])
        answer.append(token)
        left = left[len(tokenizer.piece(token)) :]
        assert not LLMatcher(server, lark.rest(answer)).is_error()
    assert matcher.is_accepting()
    assert constraint.is_accepting


def test_other_texts_are_forced_in_their_own_tokens(demo_path: Path, tmp_path: Path) -> None:
    vocabulary = vocabulary_with(["<tool_call>", "</tool_call>"], demo_path, tmp_path)
    for family in ("json-list", "hermes", "llama3-json"):
        tokenizer = Tokenizer(vocabulary)
        tokenizer.add_markers()
        for choice in (ToolChoice("auto", NAMES), ToolChoice("required", NAMES)):
            grammar = compile_output(load_family(family).syntax, TOOLS, choice, control=tokenizer.control)
            assert with_open_tokens({"grammar": grammar}, tokenizer, TextCache(len)) == {"grammar": grammar}

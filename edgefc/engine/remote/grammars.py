"""Grammars in the notation of a remote engine, whole and amid an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

from edgefc.cache import TextCache
from edgefc.engine.sequence import RequestOptions
from edgefc.engine.tokenizer import Tokenizer
from edgefc.errors import ConstraintError, GrammarError
from edgefc.grammar import CompiledGrammar
from edgefc.grammar.lark import leave_tokens_open
from edgefc.grammar.portable import portable_rest


class RemoteGrammar(ABC):
    """A grammar as an engine reads it.

    text            the whole grammar
    spells_control  a control token is its text in this notation, which other tokens can spell
    """

    spells_control: ClassVar[bool]

    def __init__(self, text: str, grammar: CompiledGrammar, tokenizer: Tokenizer) -> None:
        self.text = text
        self._grammar, self._tokenizer = grammar, tokenizer

    @abstractmethod
    def rest(self, tokens: Sequence[int]) -> str:
        """Return the grammar of what may follow the tokens of an answer.

        Raises ConstraintError if the grammar forbids them, UnicodeDecodeError if they end amid a character, or
        GrammarError if the grammar cannot be continued there.
        """

    def allows(self, tokens: Sequence[int]) -> bool:
        """Return True if these tokens begin an answer."""
        try:
            self.rest(tokens)
        except (UnicodeDecodeError, ConstraintError, GrammarError):
            return False
        return True


class GbnfGrammar(RemoteGrammar):
    """A grammar in portable GBNF, or in a caller's own."""

    spells_control = True

    def rest(self, tokens: Sequence[int]) -> str:
        piece, control = self._tokenizer.piece, self._grammar.control
        answer = b"".join(piece(token, show_control=token in control) for token in tokens)
        return portable_rest(self.text, answer.decode())


class LarkGrammar(RemoteGrammar):
    """A grammar in llguidance's Lark, as edgefc's own engine executes it."""

    spells_control = False

    def rest(self, tokens: Sequence[int]) -> str:
        rest = self._grammar.lark_after(_parts(tokens, self._grammar.control, self._tokenizer))
        return leave_tokens_open(rest, self._tokenizer.control)


def with_open_tokens(options: RequestOptions, tokenizer: Tokenizer, cache: TextCache[str]) -> RequestOptions:
    """Return the options with grammars that force no token in place of a control token's text."""

    def opened(grammar: CompiledGrammar) -> CompiledGrammar:
        lark = cache.get(f"open tokens\n{grammar.lark}", lambda: leave_tokens_open(grammar.lark, tokenizer.control))
        return replace(grammar, lark=lark)

    result = options.copy()
    if (grammar := options.get("grammar")) is not None:
        result["grammar"] = opened(grammar)
    if (calls := options.get("call_grammar")) is not None:
        result["call_grammar"] = opened(calls)
    return result


def _parts(tokens: Sequence[int], control: Collection[int], tokenizer: Tokenizer) -> Iterator[str | int]:
    """Yield the texts of an answer, and the control tokens between them. Raises UnicodeDecodeError."""
    text = b""
    for token in tokens:
        if token in control:
            yield text.decode()
            yield token
            text = b""
        else:
            text += tokenizer.piece(token)
    yield text.decode()

"""Proves at the start that a remote engine does what its answers depend on; what cannot be proven is refused."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from edgefc.engine.remote.api import N_TOP, RemoteApi, RemoteEnd, RemoteFacts, RemoteRequest, RemoteToken, read_answer
from edgefc.engine.remote.client import Client
from edgefc.engine.sampler import SamplingOptions
from edgefc.engine.tokenizer import Tokenizer
from edgefc.errors import RemoteEngineBusyError, RemoteEngineError
from edgefc.grammar.lark import LarkWriter
from edgefc.grammar.rules import And, Choice, ControlToken, Literal, Not, Sequence

PROMPT = "Say hello."
# Nothing that a model writes by itself, with characters of one to four bytes.
TEXT = 'edgefc {"probe": [7, "naïve 日本 🎉"]}'
MORE_TOKENS = 8  # than the text has bytes: room for a model that goes on
FAVOUR = 100.0  # added to the logits of tokens: vLLM's limit
# GBNF in which xgrammar reads one character of three digits; llguidance reads two characters or, up to 1.7, refuses it.
THREE_DIGITS, BY_XGRAMMAR = 'root ::= "\\x22a"\n', "\u022a"
POSSIBLE = -50.0  # logprob above which a token was not ruled out
MOST = 1.01  # that probabilities may add up to
# TEXT alone, as an intersection, which GBNF does not have.
ONLY_LARK = And((Choice((Literal(TEXT), Literal("~"))), Not(Literal("~"))))


class Proven(NamedTuple):
    """Facts that the probe has proven of an engine.

    takes_lark    it reads llguidance's Lark, else GBNF
    own_logprobs  its logprobs are the model's own under a grammar, too, else those among what the grammar allows
    """

    takes_lark: bool
    own_logprobs: bool


class Probe:
    """Asks an engine for texts that only a grammar can produce."""

    def __init__(self, client: Client, api: RemoteApi, facts: RemoteFacts, tokenizer: Tokenizer) -> None:
        self._client, self._api, self._facts, self._tokenizer = client, api, facts, tokenizer

    async def run(self) -> Proven:
        """Prove that grammars are enforced, that ids mean the same there and here, and that there are logprobs.

        Raises RemoteEngineError.
        """
        answer = await self._answer_to_lark() if self._api.may_take_lark else None
        takes_lark = answer is not None
        found, end = answer or await self._ask_text(_forcing_gbnf(TEXT))
        self._check_text(found, end)
        if not (own_logprobs := self._has_own_logprobs(found)):
            await self._prove_logprobs()
        return Proven(takes_lark, own_logprobs)

    async def _answer_to_lark(self) -> tuple[list[RemoteToken], RemoteEnd] | None:
        """Return the answer to Lark that only llguidance reads; None if it is not the only text that it allows.

        xgrammar is never asked: in its mode `auto`, vLLM checks such a request with llguidance and then gives it to the
        backend of the first request, where it may end the engine.
        """
        if (answer := await self._ask_if_taken(THREE_DIGITS)) is not None and self._text(answer[0]) == BY_XGRAMMAR:
            return None
        answer = await self._ask_if_taken(LarkWriter({"root": ONLY_LARK}).text())
        return answer if answer is not None and self._text(answer[0]) == TEXT else None

    async def _ask_if_taken(self, grammar: str) -> tuple[list[RemoteToken], RemoteEnd] | None:
        """Return an answer of at most TEXT's length; None if the engine refuses the grammar."""
        try:
            return await self._ask_text(grammar)
        except RemoteEngineBusyError:
            raise
        except RemoteEngineError:
            return None

    async def _ask_text(self, grammar: str) -> tuple[list[RemoteToken], RemoteEnd]:
        """Return an answer, against a token that is favoured beyond all others."""
        wrong = self._tokenizer.encode_text("~")[0]
        return await self._ask(grammar, {wrong: FAVOUR}, len(TEXT.encode()) + MORE_TOKENS)

    def _text(self, found: list[RemoteToken]) -> str:
        """Return the text of an answer."""
        known = [item.token for item in found if item.token not in self._tokenizer.eog]
        tokens = [token for token in known if 0 <= token < self._tokenizer.n_vocab]
        return b"".join(map(self._tokenizer.piece, tokens)).decode("utf-8", "replace")

    def _check_text(self, found: list[RemoteToken], end: RemoteEnd) -> None:
        """Refuse an engine whose answer is not TEXT, or not as it must be."""
        tokens = [item.token for item in found if item.token not in self._tokenizer.eog]
        if outside := [token for token in tokens if not 0 <= token < self._tokenizer.n_vocab]:
            raise self._refused(f"sent the token {outside[0]}, which is not in the vocabulary of {self._facts.n_vocab}")
        if (text := self._text(found)) != TEXT:
            hint = f"{self._api.grammar_hint} Its model must be the one that is loaded here."
            reason = f"does not enforce grammars, or has another tokenizer: {text[:60]!r} instead of {TEXT!r}"
            raise self._client.error(reason, hint)
        if end.reason != "stop":
            raise self._refused("does not end an answer where its grammar ends")
        if end.prompt_tokens not in {None, len(self._prompt)}:
            reason = f"changes prompts: it read {end.prompt_tokens} tokens instead of {len(self._prompt)}"
            raise self._refused(reason)

    def _has_own_logprobs(self, found: list[RemoteToken]) -> bool:
        """Return True if tokens that the grammar forbids have a probability at some place in the text."""
        rest = TEXT.encode()
        for item in found:
            for token, logprob in item.top if rest else ():
                piece = self._tokenizer.piece(token, show_control=True) if token < self._tokenizer.n_vocab else b""
                if logprob > POSSIBLE and not rest.startswith(piece):
                    return True
            rest = rest.removeprefix(self._tokenizer.piece(item.token))
        return False

    async def _prove_logprobs(self) -> None:
        """Refuse an engine that does not tell logprobs without a grammar, either."""
        found, _ = await self._ask("", {}, 1)
        values = [logprob for _, logprob in found[0].top] if found else []
        is_likely = sum(value > POSSIBLE for value in values) > 1
        if not is_likely or math.fsum(math.exp(min(value, 1.0)) for value in values) > MOST:
            raise self._client.error("does not tell the model's logprobs", self._api.logprobs_hint)

    async def prove_control(self, tokens: Collection[int], *, takes_lark: bool) -> None:
        """Let a grammar force control tokens, which must not be spelled by others. Raises RemoteEngineError."""
        if not (control := sorted(set(tokens) - self._tokenizer.eog)):
            return
        text = "".join(self._tokenizer.piece(token, show_control=True).decode("utf-8", "replace") for token in control)
        tokens_alone = Sequence(tuple(ControlToken("", token) for token in control))
        grammar = LarkWriter({"root": tokens_alone}).text() if takes_lark else _forcing_gbnf(text)
        found, _ = await self._ask(grammar, dict.fromkeys(control, FAVOUR), len(control) + MORE_TOKENS)
        answer = [item.token for item in found if item.token not in self._tokenizer.eog]
        if answer != control:
            raise self._refused(f"does not let a grammar demand control tokens: {text!r} became {answer}")

    @property
    def _prompt(self) -> list[int]:
        return self._tokenizer.encode(PROMPT, bos="vocabulary")

    async def _ask(
        self, grammar: str, bias: Mapping[int, float], max_tokens: int
    ) -> tuple[list[RemoteToken], RemoteEnd]:
        """Return the tokens, and the end, of an answer that this grammar forces."""
        request = RemoteRequest(
            self._prompt,
            max_tokens,
            grammar,
            SamplingOptions(logit_bias=bias),
            n_top=N_TOP,
            end_tokens=self._tokenizer.eog,
        )
        items = [item async for item in read_answer(self._client, self._api, self._facts, request)]
        tokens = [item for item in items if isinstance(item, RemoteToken)]
        return tokens, next(item for item in items if isinstance(item, RemoteEnd))

    def _refused(self, reason: str) -> RemoteEngineError:
        return self._client.error(reason, self._api.grammar_hint)


def _forcing_gbnf(text: str) -> str:
    """Return GBNF of this text alone."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'root ::= "{quoted}"\n'

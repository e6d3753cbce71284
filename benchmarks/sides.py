"""The same case put to edgefc and to its peers: the same token ids, the same grammar, both answers read alike."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
from llguidance import LLTokenizer

from benchmarks.peer import Completion, Server
from benchmarks.workloads import Case, answer_text
from edgefc.engine import GenerationStats, Tokenizer
from edgefc.engine.constraint import Constraint, guidance_tokenizer
from edgefc.formats import Family
from edgefc.grammar import CompiledGrammar
from edgefc.model import Model
from edgefc.types import Message, Tool


@dataclass(frozen=True, slots=True)
class Request:
    """What `Model.chat` sends to the engine for a case, and the grammar as a peer reads it."""

    prompt: list[int]
    grammar: CompiledGrammar
    stop: tuple[str, ...]
    gbnf: str


class _SubmittedError(Exception):
    def __init__(self, request: Request) -> None:
        self.request = request


class _Listener:
    """Stands where an engine would, and ends a chat where the engine would begin."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.n_ctx = tokenizer, 1 << 20

    def submit(self, prompt: list[int], **options: Any) -> NoReturn:
        raise _SubmittedError(Request(prompt, options["grammar"], options["stop"], options["grammar"].gbnf))

    def save_prefixes(self) -> list[Path]:
        return []

    def close(self) -> None:
        pass


class Asker:
    """Makes requests of cases, as a model with this family and tokenizer would, and keeps them; loads no weights."""

    def __init__(self, family: Family, tokenizer: Tokenizer) -> None:
        self.family, self.tokenizer = family, tokenizer
        self._model = Model(_Listener(tokenizer), family, path=Path(), name="")
        self._kept: dict[str, Request] = {}
        self._guidance: LLTokenizer | None = None

    def request(self, case: Case, *, choice: str | None = None) -> Request:
        key = json.dumps([case.messages, case.tools, choice or case.choice])
        if key not in self._kept:
            try:
                self._model.chat(case.messages, tools=case.tools, tool_choice=choice or case.choice)
            except _SubmittedError as submitted:
                self._kept[key] = submitted.request
        return self._kept[key]

    def opening(self, case: Case) -> int:
        """How many tokens the grammar gives before the first that a model chooses."""
        self._guidance = self._guidance or guidance_tokenizer(self.tokenizer.vocabulary)
        return len(Constraint(self._guidance, self.request(case).grammar).consume_forced())

    def scripts(self, cases: Sequence[Case], guidance: LLTokenizer) -> list[tuple[list[int], list[int]]]:
        """Prompts and right answers, in tokens: cut as the tokenizer does, and as forced tokens cut them."""
        (end,) = (token for text in self.family.stop[:1] if (token := self.tokenizer.special_id(text)) is not None)
        made = []
        for case in cases:
            request, text = self.request(case), answer_text(case, self.family.syntax)
            plain = self.tokenizer.encode(text)
            forced = _forced(self.tokenizer, Constraint(guidance, request.grammar), text)
            made += [(request.prompt, [*answer, end]) for answer in ([plain] if forced == plain else [plain, forced])]
        return made


def _forced(tokenizer: Tokenizer, constraint: Constraint, text: str) -> list[int]:
    """The tokens of a text where the grammar's forced tokens come as it gives them."""
    answer: list[int] = []
    rest = text.encode()
    while rest:
        following = constraint.consume_forced()
        if not following:
            following = tokenizer.encode(rest.decode())[:1]
            constraint.consume(following[0])
        for token in following:
            piece = tokenizer.piece(token)
            if not piece or not rest.startswith(piece):  # what is forced is not what is said
                return [*answer, *tokenizer.encode(rest.decode())]
            answer.append(token)
            rest = rest[len(piece) :]
    return answer


@dataclass(frozen=True, slots=True)
class Answer:
    """What a side said, and how long it took.

    seconds   the whole request, as its caller waits
    computed  the same without what is between the caller and the program: HTTP, for a server
    first     of edgefc, until the first token that the model chose, behind those that the grammar gave
    arrivals  of a server that streams, until each token
    """

    message: Message
    tokens: int
    valid: bool
    seconds: float
    computed: float
    first: float = 0.0
    arrivals: Sequence[float] = ()
    stats: GenerationStats | None = None


def ask_edgefc(model: Model, case: Case, *, max_tokens: int) -> Answer:
    started = time.perf_counter()
    reply = model.chat(case.messages, tools=case.tools, tool_choice=case.choice, temperature=0, max_tokens=max_tokens)
    seconds = time.perf_counter() - started
    stats = reply.stats
    return Answer(
        reply.message,
        stats.completion_tokens,
        is_valid(reply.message, case) and reply.outcome != "length",
        seconds,
        seconds,
        seconds - stats.decode_s,
        stats=stats,
    )


def ask_server(
    server: Server,
    asker: Asker,
    case: Case,
    *,
    max_tokens: int,
    stream: bool = False,
    lazily: bool = False,
) -> Answer:
    """Put a case to llama-server; what it is sent is made before the clock starts."""
    request = asker.request(case)
    marker = asker.family.syntax.marker if lazily else ""
    grammar = asker.request(case, choice="required").gbnf if marker else request.gbnf
    done = server.complete(
        request.prompt,
        max_tokens=max_tokens,
        grammar="" if case.tools is None else grammar,
        trigger=marker,
        stop=tuple(text for text in request.stop if asker.tokenizer.special_id(text) is None),
        stream=stream,
    )
    return answered(asker, case, done)


def answered(asker: Asker, case: Case, done: Completion) -> Answer:
    message = read(asker.family, case, done.text, stopped=done.stopped)
    return Answer(
        message,
        len(done.tokens),
        is_valid(message, case) and done.stopped,
        done.seconds,
        done.own_seconds,
        arrivals=done.arrivals,
    )


def read(family: Family, case: Case, text: str, *, stopped: bool) -> Message:
    """An answer's message, by the parser that edgefc uses."""
    parser = family.parser(case.tools or ())
    parser.feed(text)
    return parser.finish("stop" if stopped else "length").message


def is_valid(message: Message, case: Case) -> bool:
    """Whether calls are of the case's tools and their arguments fit, where calls were asked for."""
    calls = message.get("tool_calls") or []
    offered: Sequence[Tool] = case.tools or ()
    schemas = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in offered}
    for call in calls:
        try:
            jsonschema.validate(json.loads(call["function"]["arguments"]), schemas[call["function"]["name"]])
        except (KeyError, ValueError, jsonschema.ValidationError):
            return False
    return bool(calls) if case.choice == "required" else bool(calls or message.get("content"))


def same(one: Message, other: Message) -> bool:
    """Whether two answers say the same; calls have random ids."""

    def said(message: Message) -> Any:
        return message.get("content") or "", [call["function"] for call in message.get("tool_calls") or []]

    return bool(said(one) == said(other))

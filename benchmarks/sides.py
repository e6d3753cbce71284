"""Puts a case to edgefc and to a peer: the same token ids and grammar, and one parser for both answers."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
from llguidance import LLTokenizer

from benchmarks.cases import Case, answer_text
from benchmarks.peer import Completion, Server
from edgefc.engine import GenerationStats, Tokenizer
from edgefc.engine.constraint import Constraint, guidance_tokenizer
from edgefc.formats import Family
from edgefc.grammar import CompiledGrammar
from edgefc.model import Model
from edgefc.types import Message, Tool


@dataclass(frozen=True, slots=True)
class Request:
    """The engine's request for a case, as `Model.chat` submits it, and the grammar in GBNF for a peer."""

    prompt: list[int]
    grammar: CompiledGrammar
    stop: tuple[str, ...]
    gbnf: str


class _SubmittedError(Exception):
    def __init__(self, request: Request) -> None:
        self.request = request


class _RecordingBackend:
    """A backend that raises each submitted request instead of computing it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.n_ctx, self.cached_bytes = tokenizer, 1 << 20, dict[str, int]()

    @property
    def setup(self) -> NoReturn:
        raise NotImplementedError("nothing is computed here")

    def submit(self, prompt: list[int], **options: Any) -> NoReturn:
        raise _SubmittedError(Request(prompt, options["grammar"], options["stop"], options["grammar"].gbnf))

    def save_prefixes(self) -> list[Path]:
        return []

    def close(self) -> None:
        pass


class RequestBuilder:
    """Builds and caches the requests of cases for a family and a tokenizer; loads no weights."""

    def __init__(self, family: Family, tokenizer: Tokenizer) -> None:
        self.family, self.tokenizer = family, tokenizer
        self._model = Model(_RecordingBackend(tokenizer), family, path=Path(), name="")
        self._cache: dict[str, Request] = {}
        self._guidance: LLTokenizer | None = None

    def build(self, case: Case, *, choice: str | None = None) -> Request:
        key = json.dumps([case.messages, case.tools, choice or case.choice])
        if key not in self._cache:
            try:
                self._model.chat(case.messages, tools=case.tools, tool_choice=choice or case.choice, tool_budget=0)
            except _SubmittedError as submitted:
                self._cache[key] = submitted.request
        return self._cache[key]

    def forced_start(self, case: Case) -> int:
        """Count the tokens that the grammar forces before the first sampled one."""
        self._guidance = self._guidance or guidance_tokenizer(self.tokenizer.vocabulary)
        return len(Constraint(self._guidance, self.build(case).grammar).consume_forced())

    def scripts(self, cases: Sequence[Case], guidance: LLTokenizer) -> list[tuple[list[int], list[int]]]:
        """Return prompts and right answers as tokens: as the tokenizer splits them, and as forced tokens do."""
        (end,) = (token for text in self.family.stop[:1] if (token := self.tokenizer.special_id(text)) is not None)
        scripts = []
        for case in cases:
            request, text = self.build(case), answer_text(case, self.family.syntax)
            plain = self.tokenizer.encode(text)
            forced = _encode_with_forced(self.tokenizer, Constraint(guidance, request.grammar), text)
            answers = [plain] if forced == plain else [plain, forced]
            scripts += [(request.prompt, [*answer, end]) for answer in answers]
        return scripts


def _encode_with_forced(tokenizer: Tokenizer, constraint: Constraint, text: str) -> list[int]:
    """Tokenize a text, using the grammar's forced tokens where there are any."""
    answer: list[int] = []
    rest = text.encode()
    while rest:
        following = constraint.consume_forced()
        if not following:
            following = tokenizer.encode(rest.decode())[:1]
            constraint.consume(following[0])
        for token in following:
            piece = tokenizer.piece(token)
            if not piece or not rest.startswith(piece):  # the grammar forces another text
                return [*answer, *tokenizer.encode(rest.decode())]
            answer.append(token)
            rest = rest[len(piece) :]
    return answer


@dataclass(frozen=True, slots=True)
class Answer:
    """One side's answer, and its times in seconds.

    seconds   the whole request, as the caller sees it
    computed  the same without HTTP, for a server
    first     edgefc only: until the first sampled token, after those that the grammar forces
    arrivals  a streaming server only: until each token
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
    reply = model.chat(case.messages, tools=case.tools, tool_choice=case.choice, temperature=0, max_tokens=max_tokens,
                       tool_budget=0)  # fmt: skip
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
    requests: RequestBuilder,
    case: Case,
    *,
    max_tokens: int,
    stream: bool = False,
    lazy_grammar: bool = False,
) -> Answer:
    """Put a case to llama-server; its request is built before the clock starts."""
    request = requests.build(case)
    marker = requests.family.syntax.marker if lazy_grammar else ""
    grammar = requests.build(case, choice="required").gbnf if marker else request.gbnf
    completion = server.complete(
        request.prompt,
        max_tokens=max_tokens,
        grammar="" if case.tools is None else grammar,
        trigger=marker,
        stop=tuple(text for text in request.stop if requests.tokenizer.special_id(text) is None),
        stream=stream,
    )
    return _to_answer(requests.family, case, completion)


def _to_answer(family: Family, case: Case, completion: Completion) -> Answer:
    message = parse_message(family, case, completion.text, stopped=completion.stopped)
    return Answer(
        message,
        len(completion.tokens),
        is_valid(message, case) and completion.stopped,
        completion.seconds,
        completion.computed_seconds,
        arrivals=completion.arrivals,
    )


def parse_message(family: Family, case: Case, text: str, *, stopped: bool) -> Message:
    """Parse an answer with edgefc's parser."""
    parser = family.parser(case.tools or ())
    parser.feed(text)
    return parser.finish("stop" if stopped else "length").message


def is_valid(message: Message, case: Case) -> bool:
    """Return True if all calls name tools of the case, their arguments fit, and a required call is there."""
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
    """Return True if two answers are equal but for the random ids of calls."""

    def content(message: Message) -> Any:
        return message.get("content") or "", [call["function"] for call in message.get("tool_calls") or []]

    return bool(content(one) == content(other))

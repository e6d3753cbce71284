"""The interface of a kind of remote engine: requests out, tokens in. One module for each implements it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from edgefc.engine.remote.client import Client
from edgefc.engine.sampler import SamplingOptions
from edgefc.errors import RequestError

N_TOP = 20  # logprobs that are enough to measure how sure the model is; vLLM's default limit


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """Facts about a remote engine's model.

    n_ctx    context of one request, in tokens
    n_vocab  size of its vocabulary, if it says so
    model    its name, which some engines want in requests
    """

    n_ctx: int
    n_vocab: int | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class RemoteRequest:
    """A request for tokens after a prompt.

    grammar     GBNF, or Lark where the engine reads it, that the tokens must follow; "": none
    seed        of the sampling; used if the temperature is not 0
    n_top       logprobs of this many tokens are needed at each position; None: of none
    end_tokens  tokens that end the answer
    forbidden   control tokens that are not part of the grammar, although their text may fit it
    """

    prompt: Sequence[int]
    max_tokens: int
    grammar: str = ""
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    seed: int = 0
    n_top: int | None = None
    end_tokens: frozenset[int] = frozenset()
    forbidden: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class RemoteToken:
    """A token that a remote engine chose.

    logprob  by the model alone; None: unknown
    top      the likeliest tokens with their logprobs
    """

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteEnd:
    """The end of an answer. `length`: max_tokens or its context ended it.

    prompt_tokens  as the engine counted them; None: it does not say
    """

    reason: Literal["stop", "length"]
    cached_tokens: int = 0
    prompt_tokens: int | None = None


class EventReader(Protocol):
    """Reads the events of one answer."""

    def read(self, event: Mapping[str, Any]) -> list[RemoteToken | RemoteEnd]:
        """Return what an event adds. Raises KeyError, TypeError or ValueError for one that is malformed."""


class RemoteApi(Protocol):
    """A kind of remote engine.

    path           where requests go
    grammar_hint   what to do if it does not enforce grammars
    logprobs_hint  what to do if it does not tell the model's own logprobs, before the grammar
    may_take_lark  it may read llguidance's Lark, beside or instead of GBNF
    """

    path: str
    grammar_hint: str
    logprobs_hint: str
    may_take_lark: bool

    async def facts(self, client: Client) -> RemoteFacts: ...

    def body(self, request: RemoteRequest, facts: RemoteFacts) -> dict[str, Any]:
        """Return the body of a request. Raises RequestError for an option that the engine does not have."""

    def reader(self) -> EventReader: ...


async def read_answer(
    client: Client, api: RemoteApi, facts: RemoteFacts, request: RemoteRequest
) -> AsyncGenerator[RemoteToken | RemoteEnd, None]:
    """Send a request, and yield the tokens of its answer and its end. Raises RemoteEngineError or RequestError."""
    reader = api.reader()
    async with aclosing(client.events(api.path, api.body(request, facts))) as events:
        async for event in events:
            for item in _read_event(client, reader, event):
                yield item
                if isinstance(item, RemoteEnd):
                    return
    raise client.error("broke off amid an answer", "See its log, and try again.")


def _read_event(client: Client, reader: EventReader, event: Mapping[str, Any]) -> list[RemoteToken | RemoteEnd]:
    """Return what an event adds to an answer. Raises RemoteEngineError for one that is malformed."""
    try:
        return reader.read(event)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        reason = f"sent an event that is not its own: {type(error).__name__}: {error}"
        raise client.error(reason, f"Is it a {client.target.kind}?") from None


def shared_fields(request: RemoteRequest, engine: str, never: float) -> dict[str, Any]:
    """Return the fields that vLLM and SGLang name alike; `never` is the bias of a forbidden token.

    Raises RequestError for a window of penalties: theirs cover the whole answer.
    """
    sampling = request.sampling
    if sampling.penalty_last_n != SamplingOptions().penalty_last_n:
        raise RequestError("penalty_last_n", f"{engine} has no such window", "Omit it: penalties cover all tokens.")
    fields: dict[str, Any] = {
        "stop_token_ids": sorted(request.end_tokens),
        "skip_special_tokens": False,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repeat_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
    }
    biases = {str(token): never for token in request.forbidden}
    biases |= {str(token): float(bias) for token, bias in sampling.logit_bias.items()}
    if biases:
        fields["logit_bias"] = biases
    return fields

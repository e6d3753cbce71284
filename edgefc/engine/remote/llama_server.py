"""llama-server, llama.cpp's own: `/completion` with token ids and GBNF."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgefc.engine.remote.api import RemoteEnd, RemoteFacts, RemoteRequest, RemoteToken
from edgefc.engine.remote.client import Client
from edgefc.engine.vocabulary import Vocabulary

# In the order of edgefc's own sampler.
SAMPLERS = ("penalties", "temperature", "top_k", "top_p", "min_p")
MAX_LOST = 8  # tokens between two events: more than the bytes of a character


class LlamaServer:
    """llama-server's `/completion`. Source of the fields: its README and `server-schema.cpp`."""

    path = "/completion"
    grammar_hint = "Use llama-server of llama.cpp, without a proxy that changes requests."
    logprobs_hint = "Use llama-server of llama.cpp, without --backend-sampling."
    may_take_lark = False

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ids: dict[bytes, int] = {}

    async def facts(self, client: Client) -> RemoteFacts:
        """Ask for the context of a slot and the size of the vocabulary."""
        props = await client.get("/props")
        models = await client.get("/v1/models")
        try:
            n_ctx = int(props["default_generation_settings"]["n_ctx"])
            data = models["data"][0]
            n_vocab = data.get("meta", {}).get("n_vocab")
            return RemoteFacts(n_ctx, None if n_vocab is None else int(n_vocab), str(data.get("id", "")))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise client.error("does not describe its model as llama-server does", "Is the URL right?") from None

    def body(self, request: RemoteRequest, facts: RemoteFacts) -> dict[str, Any]:
        """Return the body of a request; the model's name is not needed."""
        del facts
        sampling, is_greedy = request.sampling, request.sampling.temperature == 0
        body: dict[str, Any] = {
            "prompt": list(request.prompt),
            "n_predict": request.max_tokens,
            "stream": True,
            "cache_prompt": True,
            "return_tokens": True,
            "temperature": sampling.temperature,
            # The cheapest greedy chain; the grammar is applied beside it.
            "samplers": ["penalties", "top_k"] if is_greedy else list(SAMPLERS),
            "top_k": 1 if is_greedy else sampling.top_k,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "repeat_penalty": sampling.repeat_penalty,
            "repeat_last_n": min(sampling.penalty_last_n, 1 << 20),
            "frequency_penalty": sampling.frequency_penalty,
            "presence_penalty": sampling.presence_penalty,
            "seed": request.seed & 0xFFFFFFFF,
        }
        # In its grammars, the text of a control token is text like any other.
        biases: list[list[float | bool]] = [[token, False] for token in request.forbidden]
        biases += [[token, bias] for token, bias in sampling.logit_bias.items()]
        if biases:
            body["logit_bias"] = biases
        if request.grammar:
            body["grammar"] = request.grammar
        if request.n_top is not None:
            body["n_probs"] = max(request.n_top, 1)
        return body

    def reader(self) -> LlamaServerReader:
        return LlamaServerReader(self._piece, self._id_of)

    def _piece(self, token: int) -> bytes:
        return b"" if token in self._vocabulary.control else self._vocabulary.piece(token)

    def _id_of(self, piece: bytes) -> int | None:
        if not self._ids:
            self._ids = {piece: token for token, piece in reversed(list(enumerate(self._vocabulary.pieces)))}
        return self._ids.get(piece)


class LlamaServerReader:
    """Reads events of `/completion`.

    While a character is incomplete, llama-server sends no event: its tokens are known by their number and by the
    event's text alone.
    """

    def __init__(self, piece: Callable[[int], bytes], id_of: Callable[[bytes], int | None]) -> None:
        self._piece, self._id_of = piece, id_of
        self._n_read = 0

    def read(self, event: Mapping[str, Any]) -> list[RemoteToken | RemoteEnd]:
        """Return the token of an event, after those that no event had; or the end."""
        found: list[RemoteToken | RemoteEnd] = []
        if event.get("stop"):
            cached = event.get("timings", {}).get("cache_n", 0)
            is_cut = event.get("stop_type") == "limit"
            return [RemoteEnd("length" if is_cut else "stop", int(cached), int(event["tokens_evaluated"]))]
        tokens = [int(token) for token in event.get("tokens", ())]
        if not tokens:
            return []
        n_lost = int(event["tokens_predicted"]) - self._n_read - len(tokens)
        self._n_read += n_lost + len(tokens)
        if n_lost:
            found += map(RemoteToken, self._lost(str(event["content"]).encode(), n_lost, tokens))
        details = event.get("completion_probabilities") or [{}] * len(tokens)
        for token, detail in zip(tokens, details, strict=True):
            top = tuple((int(other["id"]), float(other["logprob"])) for other in detail.get("top_logprobs", ()))
            found.append(RemoteToken(token, float(detail["logprob"]) if detail else None, top))
        return found

    def _lost(self, text: bytes, count: int, after: list[int]) -> list[int]:
        """Find `count` tokens that spell the text before those of the event. Raises ValueError."""
        size = len(text) - sum(len(self._piece(token)) for token in after)
        found = self._spelled(text[:size], count) if 0 < count <= MAX_LOST and size > 0 else None
        if found is None:
            raise ValueError(f"{count} tokens before {after[0]} are missing")
        return found

    def _spelled(self, text: bytes, count: int) -> list[int] | None:
        if count == 1:
            token = self._id_of(text)
            return None if token is None else [token]
        for size in range(len(text) - count + 1, 0, -1):
            token = self._id_of(text[:size])
            if token is not None and (rest := self._spelled(text[size:], count - 1)) is not None:
                return [token, *rest]
        return None

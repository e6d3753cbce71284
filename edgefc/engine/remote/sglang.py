"""SGLang: `/generate` with `input_ids` and `sampling_params.ebnf`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgefc.engine.remote.api import RemoteEnd, RemoteFacts, RemoteRequest, RemoteToken, shared_fields
from edgefc.engine.remote.client import Client
from edgefc.engine.remote.openai_facts import model_facts

NEVER = -1e4


class Sglang:
    """SGLang's `/generate`. Source of the fields: `srt/managers/io_struct.py` and `srt/sampling/sampling_params.py`."""

    path = "/generate"
    grammar_hint = "Start SGLang with --grammar-backend llguidance."
    logprobs_hint = "Start SGLang with SGLANG_RETURN_ORIGINAL_LOGPROB=1 in its environment."
    may_take_lark = True

    async def facts(self, client: Client) -> RemoteFacts:
        return await model_facts(client)

    def body(self, request: RemoteRequest, facts: RemoteFacts) -> dict[str, Any]:
        """Return the body of a request. Raises RequestError for penalties of a window."""
        del facts
        sampling = request.sampling
        params: dict[str, Any] = {
            "max_new_tokens": request.max_tokens,
            "no_stop_trim": True,
            "top_k": sampling.top_k or -1,
            **shared_fields(request, "SGLang", NEVER),
        }
        if sampling.temperature > 0:
            params["sampling_seed"] = request.seed & 0x7FFFFFFF
        if request.grammar:
            params["ebnf"] = request.grammar
        body: dict[str, Any] = {"input_ids": list(request.prompt), "sampling_params": params, "stream": True}
        if request.n_top is not None:
            body |= {"return_logprob": True, "logprob_start_len": -1, "top_logprobs_num": max(request.n_top, 1)}
        return body

    def reader(self) -> SglangReader:
        return SglangReader()


class SglangReader:
    """Reads the events of `/generate`, which repeat all tokens so far, unless the server streams increments."""

    def __init__(self) -> None:
        self._n_read = 0

    def read(self, event: Mapping[str, Any]) -> list[RemoteToken | RemoteEnd]:
        """Return the new tokens of an event, and the end."""
        meta = event["meta_info"]
        tokens, count = [int(token) for token in event.get("output_ids") or ()], int(meta["completion_tokens"])
        if len(tokens) == count:
            tokens = tokens[self._n_read :]
        elif self._n_read + len(tokens) != count:
            raise ValueError(f"{len(tokens)} tokens, but {count - self._n_read} are new")
        self._n_read = count
        found: list[RemoteToken | RemoteEnd] = [*_with_logprobs(tokens, meta)]
        if (finish := meta.get("finish_reason")) is not None:
            if finish["type"] not in {"stop", "length"}:
                raise ValueError(f"finish_reason {finish['type']!r}: {finish.get('message', '')}")
            cached, prompt = int(meta.get("cached_tokens") or 0), int(meta["prompt_tokens"])
            found.append(RemoteEnd("length" if finish["type"] == "length" else "stop", cached, prompt))
        return found


def _with_logprobs(tokens: list[int], meta: Mapping[str, Any]) -> list[RemoteToken]:
    """Join the last tokens with the last logprobs, of which each is [logprob, id, text]."""
    chosen, tops = meta.get("output_token_logprobs"), meta.get("output_top_logprobs")
    if not tokens or not chosen or not tops:
        return [RemoteToken(token) for token in tokens]
    found: list[RemoteToken] = []
    for token, (logprob, other, *_), top in zip(tokens, chosen[-len(tokens) :], tops[-len(tokens) :], strict=True):
        if int(other) != token:
            raise ValueError(f"the logprob of {other} for the token {token}")
        likely = tuple((int(item[1]), float(item[0])) for item in top or () if item[0] is not None)
        found.append(RemoteToken(token, None if logprob is None else float(logprob), likely))
    return found

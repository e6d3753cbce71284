"""vLLM: `/v1/completions` with token ids and `structured_outputs.grammar`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgefc.engine.remote.api import RemoteEnd, RemoteFacts, RemoteRequest, RemoteToken, shared_fields
from edgefc.engine.remote.client import Client
from edgefc.engine.remote.openai_facts import model_facts

NEVER = -100.0  # vLLM's lowest bias
_ID = "token_id:"


class Vllm:
    """vLLM's completions. Source of the fields: `vllm/entrypoints/openai/completion/protocol.py` and `serving.py`."""

    path = "/v1/completions"
    grammar_hint = "Start vLLM with --structured-outputs-config.backend guidance."
    logprobs_hint = "Start vLLM with --logprobs-mode raw_logprobs --max-logprobs 20."
    may_take_lark = True

    async def facts(self, client: Client) -> RemoteFacts:
        return await model_facts(client)

    def body(self, request: RemoteRequest, facts: RemoteFacts) -> dict[str, Any]:
        """Return the body of a request. Raises RequestError for penalties of a window."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": facts.model,
            "prompt": list(request.prompt),
            "max_tokens": request.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "add_special_tokens": False,
            "return_token_ids": True,
            "top_k": sampling.top_k,
            **shared_fields(request, "vLLM", NEVER),
        }
        if sampling.temperature > 0:
            body["seed"] = request.seed & 0x7FFFFFFFFFFFFFFF
        if request.grammar:
            body["structured_outputs"] = {"grammar": request.grammar}
        if request.n_top is not None:
            body |= {"logprobs": max(request.n_top, 1), "return_tokens_as_token_ids": True}
        return body

    def reader(self) -> VllmReader:
        return VllmReader()


class VllmReader:
    """Reads the chunks of a completion: token ids and their logprobs; the usage comes last."""

    def __init__(self) -> None:
        self._end = ""

    def read(self, event: Mapping[str, Any]) -> list[RemoteToken | RemoteEnd]:
        """Return the tokens of a chunk, or the end with the usage."""
        found: list[RemoteToken | RemoteEnd] = []
        for choice in event["choices"]:
            tokens = [int(token) for token in choice["token_ids"] or ()]
            found += _with_logprobs(tokens, choice.get("logprobs"))
            if (reason := choice.get("finish_reason")) is not None:
                if reason not in {"stop", "length"}:
                    raise ValueError(f"finish_reason {reason!r}")
                self._end = reason
        if self._end and (usage := event.get("usage")):
            details = usage.get("prompt_tokens_details") or {}
            cached = int(details.get("cached_tokens") or 0)
            found.append(RemoteEnd("length" if self._end == "length" else "stop", cached, int(usage["prompt_tokens"])))
        return found


def _with_logprobs(tokens: list[int], logprobs: Mapping[str, Any] | None) -> list[RemoteToken]:
    if logprobs is None:
        return [RemoteToken(token) for token in tokens]
    found: list[RemoteToken] = []
    for token, logprob, top in zip(tokens, logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True):
        pairs = ((int(text.removeprefix(_ID)), value) for text, value in (top or {}).items())
        others = tuple((other, float(value)) for other, value in pairs if value is not None)
        found.append(RemoteToken(token, None if logprob is None else float(logprob), others))
    return found

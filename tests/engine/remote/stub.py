"""Stand-ins for vLLM and SGLang: their fields, over the demo model's logits.

Grammars are executed by llama.cpp's sampler, in the place of xgrammar, or by llguidance, as `guidance` does.

The fields are those of vLLM's `CompletionRequest` and `CompletionStreamResponse`, and of SGLang's `GenerateReqInput` and
`SamplingParams`, read in their sources in November 2026. What a request has besides them is refused.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import random
import re
import socket
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import llama_cpp
import llguidance
import llguidance.llamacpp
import llguidance.numpy
import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

N_CTX = 2048


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Outputs(_Strict):
    grammar: str


class _StreamOptions(_Strict):
    include_usage: bool


class _Sampling(_Strict):
    """The fields that both name alike."""

    stop_token_ids: list[int]
    skip_special_tokens: Literal[False]
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    logit_bias: dict[str, float] | None = None


class VllmRequest(_Sampling):
    """The fields of vLLM's CompletionRequest that edgefc sends."""

    model: str
    prompt: list[int]
    max_tokens: int
    stream: Literal[True]
    stream_options: _StreamOptions
    add_special_tokens: Literal[False]
    return_token_ids: Literal[True]
    seed: int | None = None
    structured_outputs: _Outputs | None = None
    logprobs: int | None = None
    return_tokens_as_token_ids: bool | None = None


class _SglangParams(_Sampling):
    max_new_tokens: int
    no_stop_trim: Literal[True]
    sampling_seed: int | None = None
    ebnf: str | None = None


class SglangRequest(_Strict):
    """The fields of SGLang's GenerateReqInput that edgefc sends."""

    input_ids: list[int]
    sampling_params: _SglangParams
    stream: Literal[True]
    return_logprob: bool | None = None
    logprob_start_len: int | None = None
    top_logprobs_num: int | None = None


@dataclass
class Faults:
    """What a stub does wrong.

    busy            requests that get 429 or 503 (`status`), with `retry_after`
    die_after, hang_after  tokens after which it breaks off, or falls silent
    ignores_grammar tokens are the model's own
    violations      probability that a token is any other one, or that the answer ends there
    other_tokenizer ids are others than the model's
    tells_logits    logprobs are logits
    adds_bos        a prompt has one token more than it was sent
    increments      SGLang's --incremental-streaming-output
    """

    busy: int = 0
    status: int = 429
    retry_after: str | None = None
    die_after: int | None = None
    hang_after: int | None = None
    ignores_grammar: bool = False
    violations: float = 0.0
    other_tokenizer: bool = False
    tells_logits: bool = False
    adds_bos: bool = False
    increments: bool = False


@dataclass
class _Step:
    token: int
    logprob: float
    top: list[tuple[int, float]]
    end: Literal["stop", "length"] | None


class _Grammar(Protocol):
    """A grammar in execution."""

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits without what may not come next."""

    def accept(self, token: int) -> None:
        """Advance by an allowed token."""

    def free(self) -> None:
        """Free what it holds."""


class _Gbnf:
    """A grammar in llama.cpp's sampler, with xgrammar's reading of `\\x22a` as one character."""

    def __init__(self, vocabulary: Any, text: str) -> None:
        if "::=" not in text:
            raise ValueError("the grammar is not GBNF")
        text = re.sub(r"\\x([0-9A-Fa-f]{3,})", lambda found: chr(int(found[1], 16)), text)
        self._sampler = llama_cpp.llama_sampler_init_grammar(vocabulary, text.encode(), b"root")

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        data = (llama_cpp.llama_token_data * len(logits))()
        entries = np.frombuffer(data, np.dtype([("id", "i4"), ("logit", "f4"), ("p", "f4")]))
        entries["id"], entries["logit"] = np.arange(len(logits)), logits
        array = llama_cpp.llama_token_data_array(data, len(logits), -1, False)
        llama_cpp.llama_sampler_apply(self._sampler, ctypes.byref(array))
        masked = np.full(len(logits), -np.inf, np.float32)
        masked[entries["id"]] = entries["logit"]
        return masked

    def accept(self, token: int) -> None:
        llama_cpp.llama_sampler_accept(self._sampler, token)

    def free(self) -> None:
        llama_cpp.llama_sampler_free(self._sampler)


class _Guidance:
    """A grammar in llguidance, with its own limits, as vLLM and SGLang leave them."""

    def __init__(self, tokenizer: llguidance.LLTokenizer, text: str) -> None:
        self._matcher = llguidance.LLMatcher(tokenizer, llguidance.grammar_from("grammar", text), log_level=0)
        if self._matcher.is_error():
            raise ValueError(self._matcher.get_error())
        self._bits = llguidance.numpy.allocate_token_bitmask(1, tokenizer.vocab_size)

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bits, 0)
        allowed = np.unpackbits(self._bits[0].view(np.uint8), bitorder="little")[: len(logits)]
        return np.where(allowed, logits, np.float32(-np.inf)).astype(np.float32)

    def accept(self, token: int) -> None:
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)

    def free(self) -> None:
        pass


@dataclass
class Stub:
    """A server on a free port inside a `with` block. `requests` counts those for answers, `grammars` are theirs."""

    path: Path
    kind: str
    backend: Literal["xgrammar", "guidance"] = "xgrammar"
    faults: Faults = field(default_factory=Faults)
    requests: int = 0
    grammars: list[str] = field(default_factory=list)
    running: int = 0
    key: str | None = None

    def __enter__(self) -> Self:
        self._llama = llama_cpp.Llama(str(self.path), n_ctx=N_CTX, n_threads=1, n_threads_batch=1, verbose=False)
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._llama.model)
        self._guidance = llguidance.llamacpp.lltokenizer_from_vocab(self._vocabulary)
        self._random = random.Random(7)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(self._app(), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._llama.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def engine(self) -> str:
        return f"{self.kind}={self.url}"

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/v1/models")
        async def models(request: Request) -> Any:
            if not self._is_known(request):
                return JSONResponse({"error": {"message": "Unauthorized"}}, 401)
            return {"object": "list", "data": [{"id": "served", "object": "model", "max_model_len": N_CTX}]}

        @app.post("/v1/completions")
        @app.post("/generate")
        async def answer(request: Request) -> Any:
            return await self._answer(request)

        return app

    async def _answer(self, request: Request) -> Any:
        if not self._is_known(request):
            return JSONResponse({"error": {"message": "Unauthorized"}}, 401)
        if self.faults.busy:
            self.faults.busy -= 1
            headers = {} if self.faults.retry_after is None else {"Retry-After": self.faults.retry_after}
            return JSONResponse({"error": {"message": "too many requests"}}, self.faults.status, headers)
        self.requests += 1
        try:
            data = await request.json()
            events = self._vllm(VllmRequest(**data)) if self.kind == "vllm" else self._sglang(SglangRequest(**data))
        except ValueError as error:
            return JSONResponse({"error": {"message": str(error)}}, 400)
        return StreamingResponse(self._lines(events), media_type="text/event-stream")

    def _is_known(self, request: Request) -> bool:
        return self.key is None or request.headers.get("authorization") == f"Bearer {self.key}"

    async def _lines(self, events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
        self.running += 1
        try:
            async for event in events:
                yield f"data: {json.dumps(event)}\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.running -= 1

    def _grammar(self, text: str) -> _Grammar | None:
        """Return a request's grammar. Raises ValueError for one that the backend refuses."""
        if not text:
            return None
        self.grammars.append(text)
        return _Gbnf(self._vocabulary, text) if self.backend == "xgrammar" else _Guidance(self._guidance, text)

    def _vllm(self, request: VllmRequest) -> AsyncIterator[dict[str, Any]]:
        grammar = self._grammar(request.structured_outputs.grammar if request.structured_outputs else "")
        return self._vllm_events(request, grammar)

    async def _vllm_events(self, request: VllmRequest, grammar: _Grammar | None) -> AsyncIterator[dict[str, Any]]:
        n_top, base = request.logprobs, {"id": "cmpl-1", "object": "text_completion", "model": request.model}
        count = 0
        steps = self._steps(
            request.prompt, grammar, request.logit_bias or {}, request.max_tokens, request.stop_token_ids, n_top
        )
        async for step in steps:
            count += 1
            logprobs = None if n_top is None else {
                "text_offset": [0],
                "tokens": [f"token_id:{step.token}"],
                "token_logprobs": [step.logprob],
                "top_logprobs": [{f"token_id:{token}": value for token, value in step.top}],
            }  # fmt: skip
            choice = {"index": 0, "text": "", "token_ids": [step.token], "logprobs": logprobs,
                      "finish_reason": step.end, "stop_reason": None}  # fmt: skip
            yield {**base, "choices": [choice]}
        n_prompt = len(request.prompt) + self.faults.adds_bos
        usage = {"prompt_tokens": n_prompt, "completion_tokens": count, "total_tokens": n_prompt + count}
        yield {**base, "choices": [], "usage": usage}

    def _sglang(self, request: SglangRequest) -> AsyncIterator[dict[str, Any]]:
        return self._sglang_events(request, self._grammar(request.sampling_params.ebnf or ""))

    async def _sglang_events(self, request: SglangRequest, grammar: _Grammar | None) -> AsyncIterator[dict[str, Any]]:
        params = request.sampling_params
        n_top = request.top_logprobs_num if request.return_logprob else None
        steps: list[_Step] = []
        bias = params.logit_bias or {}
        async for step in self._steps(
            request.input_ids, grammar, bias, params.max_new_tokens, params.stop_token_ids, n_top
        ):
            steps.append(step)
            shown = steps[-1:] if self.faults.increments else steps
            meta: dict[str, Any] = {
                "id": "1",
                "finish_reason": None if step.end is None else {"type": step.end},
                "prompt_tokens": len(request.input_ids) + self.faults.adds_bos,
                "completion_tokens": len(steps),
                "cached_tokens": 0,
            }
            if n_top is not None:
                meta["output_token_logprobs"] = [[each.logprob, each.token, None] for each in shown]
                meta["output_top_logprobs"] = [[[value, token, None] for token, value in each.top] for each in shown]
            yield {"text": "", "output_ids": [each.token for each in shown], "meta_info": meta}

    async def _steps(
        self,
        prompt: list[int],
        grammar: _Grammar | None,
        bias: dict[str, float],
        max_tokens: int,
        stop: list[int],
        n_top: int | None,
    ) -> AsyncIterator[_Step]:
        """Generate greedily; every request at its own pace, one token at a time."""
        faults, tokens = self.faults, list(prompt)
        try:
            for number in range(1, max_tokens + 1):
                if faults.die_after is not None and number > faults.die_after:
                    raise ConnectionAbortedError
                if faults.hang_after is not None and number > faults.hang_after:
                    await asyncio.sleep(3600)
                logits = self._logits(tokens)
                if grammar and not faults.ignores_grammar:
                    logits = grammar.mask(logits)
                biased = logits.copy()
                for token, value in bias.items():
                    biased[int(token)] += value
                token = int(np.argmax(biased))
                is_wrong = self._random.random() < faults.violations
                if is_wrong:
                    token = self._random.randrange(len(logits))
                elif grammar and not faults.ignores_grammar:
                    grammar.accept(token)
                if is_wrong and grammar:  # another token may be illegal, on which llama.cpp would abort
                    grammar.free()
                    grammar = None
                tokens.append(token)
                # Both servers apply the grammar in place, before logprobs are taken; SGLang the bias, too.
                seen = logits if self.kind == "vllm" else biased
                values = seen.astype(np.float64) if faults.tells_logits else _log_softmax(seen)
                best = np.argsort(-values)[: n_top or 0].tolist()
                shown = (token + 1) % len(logits) if faults.other_tokenizer else token
                end = "stop" if token in stop else "length" if number == max_tokens else None
                yield _Step(shown, float(values[token]), [(other, float(values[other])) for other in best], end)
                if end is not None:
                    return
                await asyncio.sleep(0)
        finally:
            if grammar:
                grammar.free()

    def _logits(self, tokens: list[int]) -> NDArray[np.float32]:
        known = self._llama.input_ids[: self._llama.n_tokens].tolist()
        same = next(
            (n for n, (a, b) in enumerate(zip(known, tokens, strict=False)) if a != b), min(len(known), len(tokens))
        )
        self._llama.n_tokens = min(same, len(tokens) - 1)
        self._llama.eval(tokens[self._llama.n_tokens :])
        pointer = llama_cpp.llama_get_logits_ith(self._llama.ctx, -1)
        return np.ctypeslib.as_array(pointer, (self._llama.n_vocab(),)).copy()


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    values = logits.astype(np.float64)
    values -= values.max()
    result: NDArray[np.float64] = np.maximum(values - np.log(np.exp(values).sum()), -9999.0)
    return result

"""Runtimes that answer a conversation with tools as their users would ask them: edgefc, llama-server, stock Llama.

Each gets the same messages, tools, tool choice, greedy sampling and number of tokens, and its own prompt, grammar and
reading of the answer: these are what is compared.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import llama_cpp

import edgefc
from benchmarks import peer
from edgefc.engine import llama as engine_llama
from edgefc.errors import EdgefcError
from edgefc.evaluation.answering import answered_by
from edgefc.evaluation.cases import Case
from edgefc.evaluation.judging import Answered, Sureness, calls_text, read_answer
from edgefc.formats import ParsedReply
from edgefc.types import Message

SERVER_BATCH = 2048  # llama-server's default --batch-size, in tokens
TIMEOUT_S = 3600


@dataclass(frozen=True, slots=True)
class Setup:
    """The model file, and how every runtime loads it and answers.

    family  edgefc's chat format; None: the model's own
    n_ctx   context of one request, in tokens
    """

    path: Path
    family: str | None = None
    n_ctx: int = 8192
    threads: int = 1
    max_tokens: int = 512


class RefusedError(Exception):
    """A runtime did not answer: an error instead of an answer, or a template that refuses the messages."""


class Runtime(Protocol):
    """A runtime with a loaded model.

    name     for tables
    version  results of another version are not mixed in
    family   how it writes prompts
    """

    name: str
    version: str
    family: str

    def can(self, case: Case, choice: str) -> bool:
        """Return False if it has no way to ask this."""

    def ask(self, case: Case, choice: str) -> Answered:
        """Return the answer; `seconds` is what the caller waited. Raises RefusedError."""


class EdgefcRuntime:
    """`edgefc.load` and `Model.chat`."""

    name = "edgefc"

    def __init__(self, model: edgefc.Model, max_tokens: int) -> None:
        self.version, self.family = edgefc.__version__, model.family.name
        self._model, self._max_tokens = model, max_tokens

    def can(self, case: Case, choice: str) -> bool:
        del case, choice
        return True

    def ask(self, case: Case, choice: str) -> Answered:
        started = time.perf_counter()
        try:
            reply = self._model.chat(
                case.messages, tools=case.tools, tool_choice=choice, temperature=0, max_tokens=self._max_tokens
            )
        except EdgefcError as error:
            raise RefusedError(f"{error.code}: {error}") from None
        return _timed(answered_by(reply, reply.content), started)


class EndpointRuntime:
    """Chat completions of an OpenAI endpoint: of llama-server, `edgefc serve` or any other."""

    def __init__(self, name: str, url: str, max_tokens: int, *, version: str = "", model: str = "default") -> None:
        self.name, self.version, self.family = name, version or url, "the server"
        self._url, self._max_tokens, self._model = urlsplit(url.rstrip("/")), max_tokens, model

    def can(self, case: Case, choice: str) -> bool:
        del case, choice
        return True

    def ask(self, case: Case, choice: str) -> Answered:
        body = {
            "model": self._model, "messages": list(case.messages), "tools": list(case.tools), "tool_choice": choice,
            "temperature": 0, "max_tokens": self._max_tokens,
        }  # fmt: skip
        data = json.dumps(body)
        started = time.perf_counter()
        completion = self._post(data)
        if self.name == "llama-server":
            completion["steps"] = server_steps(completion["timings"])
        return _timed(read_completion(completion), started)

    def _post(self, data: str) -> dict[str, Any]:
        https = self._url.scheme == "https"
        connect = http.client.HTTPSConnection if https else http.client.HTTPConnection
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("EDGEFC_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        connection = connect(self._url.hostname or "", self._url.port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", f"{self._url.path}/chat/completions", data, headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise RefusedError(f"{response.status}: {text[:500].decode(errors='replace')}")
        found: dict[str, Any] = json.loads(text)
        return found


class StockRuntime:
    """llama-cpp-python's `create_chat_completion` with its handler for tools, `chatml-function-calling`.

    It has no tool choice `required`: where there is one tool, it is named instead. Its handler does not pass max_tokens
    on, and would fill the context; here it gets as many tokens for an answer as the others.
    """

    name, family = "llama-cpp-python", "chatml-function-calling"

    def __init__(self, setup: Setup) -> None:
        self.version = engine_llama.VERSION
        self._llama = llama_cpp.Llama(
            str(setup.path), n_ctx=setup.n_ctx, n_threads=setup.threads, n_threads_batch=setup.threads,
            chat_format=self.family, verbose=False,
        )  # fmt: skip
        self._max_tokens = setup.max_tokens
        self._left = self._steps = self._tokens = 0
        self._complete: Callable[..., dict[str, Any]] = self._llama.create_completion
        self._decode: Callable[..., Any] = self._llama._ctx.decode  # noqa: SLF001
        self._llama.create_completion = self._limited
        self._llama._ctx.decode = self._counted  # noqa: SLF001

    def close(self) -> None:
        self._llama.close()

    def can(self, case: Case, choice: str) -> bool:
        return choice == "auto" or len(case.tools) == 1

    def ask(self, case: Case, choice: str) -> Answered:
        named = {"type": "function", "function": {"name": case.tools.names[0]}} if choice == "required" else choice
        self._left, self._steps, self._tokens = self._max_tokens, 0, 0
        started = time.perf_counter()
        try:
            completion = self._llama.create_chat_completion(
                list(case.messages), tools=list(case.tools), tool_choice=named, temperature=0, max_tokens=self._left
            )
        except _UsedUpError:
            completion = {"choices": [{"message": {"role": "assistant", "content": ""}, "finish_reason": "length"}]}
        except Exception as error:  # noqa: BLE001  # templates, grammars and contexts fail in many ways
            raise RefusedError(f"{type(error).__name__}: {error}") from None
        completion |= {"usage": {"prompt_tokens": 0, "completion_tokens": self._tokens}, "steps": self._steps}
        return _timed(read_completion(completion), started)

    def _limited(self, *args: Any, **options: Any) -> dict[str, Any]:
        if self._left <= 0:
            raise _UsedUpError
        completion = self._complete(*args, **{**options, "max_tokens": self._left})
        tokens = completion["usage"]["completion_tokens"]
        self._left -= tokens
        self._tokens += tokens
        return completion

    def _counted(self, batch: Any) -> Any:
        self._steps += 1
        return self._decode(batch)


class _UsedUpError(Exception):
    """All tokens of an answer are used up."""


def _timed(answered: Answered, started: float) -> Answered:
    return replace(answered, seconds=time.perf_counter() - started)


def read_completion(completion: dict[str, Any]) -> Answered:
    """Return the answer in a chat completion; `steps` in it is the benchmark's own count of batches."""
    choice = completion["choices"][0]
    sent = choice["message"]
    message: Message = {"role": "assistant", "content": sent.get("content")}
    if sent.get("tool_calls"):
        message["tool_calls"] = [{"id": "", "type": "function", **call} for call in sent["tool_calls"]]
    is_cut, extension = choice.get("finish_reason") == "length", choice.get("x_edgefc") or {}
    outcome = "call" if "tool_calls" in message else "length" if is_cut else "answer"
    answer = read_answer(ParsedReply(message, extension.get("outcome", outcome), ()))
    usage = completion.get("usage") or {}
    return Answered(
        answer,
        calls_text(answer.calls) if answer.calls else answer.content,
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
        is_cut=is_cut,
        model_steps=completion.get("steps", 0),
        sureness=_sureness(extension),
    )


def _sureness(extension: dict[str, Any]) -> Sureness:
    """Return how sure the model was, from the field of a choice that only edgefc's server sends."""
    found = extension.get("confidence")
    if not found:
        return Sureness()
    p_call = found["call"] and found["call"]["probability"]
    if not found["calls"]:
        return Sureness(p_call=p_call, confidence=None if p_call is None else 1 - p_call)
    arguments = [least["probability"] for call in found["calls"] for least in call["arguments"].values()]
    product = math.prod([*(call["probability"] for call in found["calls"]), *arguments])
    return Sureness(p_call=p_call, p_argument=min(arguments, default=None), confidence=product)


def server_steps(timings: dict[str, Any]) -> int:
    """Count llama-server's batches: those of the prompt, the last of which gives the first token, and one per token."""
    return math.ceil(timings["prompt_n"] / SERVER_BATCH) + max(timings["predicted_n"] - 1, 0)


@contextlib.contextmanager
def open_edgefc(setup: Setup) -> Iterator[Runtime]:
    with edgefc.load(
        setup.path, family=setup.family, n_ctx=setup.n_ctx, n_threads=setup.threads, n_parallel=1, prefix_disk=0
    ) as model:
        yield EdgefcRuntime(model, setup.max_tokens)


@contextlib.contextmanager
def open_server(setup: Setup) -> Iterator[Runtime]:
    binary = peer.find()
    if binary is None:
        sys.exit("llama-server is not built: run `python benchmarks/peer.py`, or leave it out with --runtimes")
    with peer.Server(binary, setup.path, n_ctx=setup.n_ctx, threads=setup.threads, chat=True) as server:
        url = f"http://127.0.0.1:{server.port}/v1"
        yield EndpointRuntime("llama-server", url, setup.max_tokens, version=engine_llama.VERSION)


@contextlib.contextmanager
def open_stock(setup: Setup) -> Iterator[Runtime]:
    runtime = StockRuntime(setup)
    try:
        yield runtime
    finally:
        runtime.close()


RUNTIMES: dict[str, Callable[[Setup], contextlib.AbstractContextManager[Runtime]]] = {
    "edgefc": open_edgefc,
    "llama-server": open_server,
    "llama-cpp-python": open_stock,
}

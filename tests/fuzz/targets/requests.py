"""Requests to all endpoints of a server in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import psutil

from tests.fuzz.mutation import Mutator, as_bytes
from tests.fuzz.targets import BaseTarget, BrokenPromiseError, Case
from tests.fuzz.targets.schemas import EXAMPLE, gbnf, schema, tools
from tests.server.server_process import ServerProcess

TIMEOUT_S = 10  # of the server for a request
ANSWER_S, HEALTH_S = 20.0, 5.0  # of the server's processor time until an answer is missed
PATIENCE_S = 120.0  # the same in seconds of a busy machine
OPTIONS = ("--n-ctx", "512", "--timeout", str(TIMEOUT_S), "--grammars", "--parallel", "2", "--waiting", "4")
HELLO = {"role": "user", "content": "What is the weather in Paris?"}
CALL = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"location\": \"Paris\"}"}}]}  # fmt: skip
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": '{"temperature": 18}'}
SCHEMA_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"a": {"const": 1}}}},
}
CHAT = {"messages": [HELLO], "max_tokens": 16, "temperature": 0}
BODIES: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        CHAT,
        {**CHAT, "tools": [EXAMPLE], "tool_choice": "required", "parallel_tool_calls": False},
        {**CHAT, "messages": [{"role": "system", "content": "Be brief"}, HELLO, CALL, RESULT], "tools": [EXAMPLE]},
        {**CHAT, "stream": True, "stream_options": {"include_usage": True}, "n": 2, "seed": 1, "logprobs": True, "top_logprobs": 3},
        {**CHAT, "response_format": SCHEMA_FORMAT, "stop": ["x"], "logit_bias": {"5": -1.5}, "top_p": 0.9, "top_k": 5, "min_p": 0.1},
        {**CHAT, "functions": [EXAMPLE["function"]], "function_call": "auto", "user": "me"},
        {**CHAT, "x_edgefc_min_confidence": 0.5, "x_edgefc_call_bias": 1.0, "chat_template_kwargs": {"enable_thinking": False}},
        {**CHAT, "grammar": 'root ::= "a" [0-9]+', "frequency_penalty": 1, "presence_penalty": -1, "repeat_penalty": 1.1},
        {**CHAT, "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "reasoning_effort": "none"},
        {**CHAT, "tools": [EXAMPLE], "x_edgefc_trace": True},
        {**CHAT, "tools": [EXAMPLE], "x_edgefc_trace": True, "stream": True, "tool_choice": "required"},
    ],
    "/v1/completions": [
        {"prompt": "Hello", "max_tokens": 8, "temperature": 0, "stream": False},
        {"prompt": ["a", [1, 2, 3]], "max_tokens": 4, "n": 2, "stop_token_ids": [2], "stream": True},
    ],
    "/v1/responses": [
        {"input": "Hello", "max_output_tokens": 16, "temperature": 0, "instructions": "Be brief"},
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
                   {"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": "{}"},
                   {"type": "function_call_output", "call_id": "c", "output": "18"}],
         "tools": [{"type": "function", **EXAMPLE["function"], "strict": True}], "tool_choice": "auto", "stream": True,
         "max_output_tokens": 16, "text": {"format": {"type": "text"}}, "reasoning": {"effort": None}},
    ],
    "/v1/messages": [
        {"messages": [HELLO], "max_tokens": 16, "system": "Be brief", "temperature": 0, "stop_sequences": ["x"]},
        {"messages": [HELLO, {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "get_weather", "input": {}}]},
                      {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "18"}]}],
         "tools": [{"name": "get_weather", "input_schema": EXAMPLE["function"]["parameters"]}], "tool_choice": {"type": "any"},
         "max_tokens": 16, "stream": True, "output_config": {"format": None}},
    ],
    "/v1/messages/count_tokens": [{"messages": [HELLO], "system": [{"type": "text", "text": "x"}], "tools": []}],
    "/v1/tokenize": [{"content": "Hello <|im_end|>", "add_special": True, "parse_special": False, "with_pieces": True}],
    "/v1/detokenize": [{"tokens": [5, 6, 7]}],
    "/v1/apply-template": [{"messages": [HELLO], "tools": [EXAMPLE]}],
    "/v1/chat/completions/input_tokens": [{"messages": [HELLO], "tools": [EXAMPLE]}],
    "/v1/tools/lint": [{"tools": [EXAMPLE], "grammar": True}],
    "/v1/tools/read": [{"source": "def f(x: int): ..."}, {"source": '{"openapi": "3.1.0", "paths": {}}'}],
    "/v1/tools/run": [{"name": "calculate", "arguments": {"expression": "1+1"}}],
    "/api/chat": [
        {"model": "demo", "messages": [HELLO], "options": {"num_predict": 16, "temperature": 0, "num_ctx": 512, "stop": ["x"], "seed": -1}},
        {"model": "demo", "messages": [HELLO, {"role": "assistant", "tool_calls": [{"function": {"name": "get_weather", "arguments": {}}}]},
                                       {"role": "tool", "tool_name": "get_weather", "content": "18"}],
         "tools": [EXAMPLE], "stream": False, "keep_alive": "5m", "think": False, "options": {"num_predict": 16}},
        {"model": "demo", "messages": [HELLO], "format": {"type": "object", "properties": {"a": {"const": 1}}}, "keep_alive": -1,
         "options": {"num_predict": 16}, "logprobs": True, "top_logprobs": 2},
        {"model": "demo", "messages": []},
    ],
    "/api/generate": [
        {"model": "demo", "prompt": "Hello", "system": "Be brief", "options": {"num_predict": 8}},
        {"model": "demo", "prompt": "Hello", "raw": True, "stream": False, "format": "json", "options": {"num_predict": 8}},
        {"model": "demo", "keep_alive": 0},
    ],
    "/api/show": [{"model": "demo"}],
}  # fmt: skip
GETS = ("/health", "/v1/health", "/api/tags", "/api/ps", "/api/version", "/metrics", "/v1/models", "/v1/models/demo", "/openapi.json", "/docs", "/", "/v1", "/v1/models/../x",
        "/v1/models/%2e%2e", "/v1/models/%00", "//", "/v1/chat/completions", "/v1/models/" + "a" * 5000, "/%ff", "/v1/x?" + "a=b&" * 500)  # fmt: skip
HEADERS: tuple[dict[str, str], ...] = (
    {"Content-Type": "text/plain"}, {"Content-Type": ""}, {"Content-Type": "application/json; charset=utf-16"}, {"Host": "evil.example"},
    {"Origin": "http://evil.example"}, {"Content-Encoding": "gzip"}, {"Accept": "text/event-stream"}, {"Authorization": "Bearer \xff"},
    {"Content-Length": "5"}, {"Content-Length": "99999999999"}, {"Content-Length": "-1"}, {"Transfer-Encoding": "chunked"},
    {"Expect": "100-continue"}, {"Connection": "Upgrade", "Upgrade": "websocket"}, {"X-" + "a" * 9000: "b"}, {"X": "b" * 9000},
    {"Range": "bytes=0-1"}, {"x-request-id": "\x00"}, {"anthropic-version": "2023-06-01"}, {"Connection": "close"},
)  # fmt: skip
METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "POST", "get", "A" * 100)
FAULTS = re.compile(r"Traceback|\bERROR\b|Exception ignored")


class Deadline:
    """Is over when a process has computed for so long, or has not answered for much longer."""

    def __init__(self, process: int, seconds: float) -> None:
        self._process, self._seconds = psutil.Process(process), seconds
        self._began, self._computed = time.monotonic(), self._cpu()

    def is_over(self) -> bool:
        return self._cpu() - self._computed > self._seconds or time.monotonic() - self._began > PATIENCE_S

    def _cpu(self) -> float:
        with contextlib.suppress(psutil.Error):
            times = self._process.cpu_times()
            return float(times.user + times.system)
        return 0.0


class Http(BaseTarget):
    """Cases are lists of requests that are sent at the same time: {"method", "path", "headers", "body", "hang_up"}."""

    seconds = None

    def make(self, rng: Random, seeds: Sequence[Case]) -> Case:
        mutator = Mutator(rng)
        if seeds and mutator.chance(0.1):
            case = [dict(request) for request in rng.choice(seeds)]
            case[0]["body"] = mutator.change_text(case[0]["body"])
            return case
        return [self._request(mutator) for _ in range(rng.choice((2, 8)) if mutator.chance(0.05) else 1)]

    def start(self, folder: Path) -> None:
        models = (str(self.model),)
        self._server = ServerProcess(OPTIONS, {"PYTHONFAULTHANDLER": "1"}, models)
        self._server.__enter__()
        self._server.lines.clear()

    def processes(self) -> list[int]:
        return [self._server.process.pid]

    def close(self) -> None:
        self._server.__exit__()

    def run(self, case: Case) -> str:
        outcomes: list[str] = []
        faults: list[str] = []
        threads = [
            threading.Thread(target=self._send, args=(request, outcomes, faults), daemon=True) for request in case
        ]
        for thread in threads:
            thread.start()
        deadline = Deadline(self._server.process.pid, ANSWER_S)
        while (waiting := [thread for thread in threads if thread.is_alive()]) and not faults:
            waiting[0].join(0.2)
            if waiting[0].is_alive():
                self._check_health(faults)
            if deadline.is_over():
                faults.append(f"no answer within {ANSWER_S:.0f} s")
        log = "".join(self._server.lines)
        self._server.lines.clear()
        if FAULTS.search(log):
            faults.append(log[-6000:])
        if self._server.process.poll() is not None:
            faults.append(f"the server ended with {self._server.process.returncode}\n{log[-6000:]}")
        if faults:
            self._restart()
            raise BrokenPromiseError("\n".join(faults))
        return outcomes[0]

    def _restart(self) -> None:
        """Write down the stacks of a server that is at fault, and start another one."""
        self._server.process.send_signal(signal.SIGKILL)
        self._server.process.wait()
        self._server.__exit__()
        self.start(Path())

    def _check_health(self, faults: list[str]) -> None:
        deadline = Deadline(self._server.process.pid, HEALTH_S)
        answers: list[str] = []
        thread = threading.Thread(target=self._ask_health, args=(answers,), daemon=True)
        thread.start()
        while thread.is_alive() and not deadline.is_over():
            thread.join(0.05)
        if answers == ["200"]:
            return
        faults.append(f"/health: {answers or 'no answer'}")
        self._server.process.send_signal(signal.SIGABRT)  # faulthandler writes its stacks
        with contextlib.suppress(Exception):
            self._server.process.wait(5)

    def _ask_health(self, answers: list[str]) -> None:
        connection = http.client.HTTPConnection(self._server.host, self._server.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/health")
            answers.append(str(connection.getresponse().status))
        except (OSError, http.client.HTTPException) as error:
            answers.append(repr(error))
        finally:
            connection.close()

    def _send(self, request: dict[str, Any], outcomes: list[str], faults: list[str]) -> None:
        try:
            outcomes.append(self._exchange(request))
        except BrokenPromiseError as error:
            faults.append(str(error))
        except (
            OSError,
            http.client.HTTPException,
        ) as error:  # the server may close a connection that breaks the protocol
            outcomes.append(type(error).__name__)

    def _exchange(self, request: dict[str, Any]) -> str:
        with socket.create_connection((self._server.host, self._server.port), timeout=PATIENCE_S) as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(message(request))
            if (size := request["hang_up"]) is not None:
                connection.recv(size)
                return "hung up"
            method = "GET" if request["method"] not in {"HEAD", "CONNECT"} else request["method"]
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            body = response.read()
        kind = response.headers.get("content-type", "")
        check_response(request["method"], request["path"], response.status, kind, body)
        return str(response.status)

    # -- making requests --------------------------------------------------------------------------------------

    def _request(self, mutator: Mutator) -> dict[str, Any]:
        rng = mutator.rng
        path = rng.choice(list(BODIES))
        body = mutator.write_json(self._body(mutator, path))
        request: dict[str, Any] = {"method": "POST", "path": path, "headers": {}, "body": body, "hang_up": None}
        if mutator.chance(0.05):
            request["path"] = rng.choice((*GETS, *BODIES))
            request["method"] = rng.choice(METHODS)
        if mutator.chance(0.1):
            request["headers"] = rng.choice(HEADERS)
        if mutator.chance(0.03):
            request["hang_up"] = rng.choice((1, 20, 2000))
        return request

    def _body(self, mutator: Mutator, path: str) -> Any:
        rng = mutator.rng
        body: Any = dict(rng.choice(BODIES[path]))
        if "tools" in body and mutator.chance(0.5):
            body["tools"] = self._tools(mutator, path)
        if path == "/v1/chat/completions" and mutator.chance(0.15):
            body |= rng.choice(({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema(mutator)}}},
                                {"grammar": gbnf(mutator)}, {"json_schema": schema(mutator)}))  # fmt: skip
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            body = mutator.change_json(body, [one for bodies in BODIES.values() for one in bodies])
        return body

    def _tools(self, mutator: Mutator, path: str) -> Any:
        made = tools(mutator)
        if path not in {"/v1/messages", "/v1/responses"} or not isinstance(made, list):
            return made
        functions = [one["function"] for one in made if isinstance(one, dict) and isinstance(one.get("function"), dict)]
        if path == "/v1/responses":
            return [{"type": "function", **function} for function in functions]
        return [{"name": function.get("name"), "input_schema": function.get("parameters")} for function in functions]


def message(request: dict[str, Any]) -> bytes:
    """Write a request as bytes; its headers may contradict its body."""
    body = as_bytes(request["body"])
    headers = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    lines = [
        f"{request['method']} {request['path']} HTTP/1.1",
        *(f"{k}: {v}" for k, v in (headers | request["headers"]).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def check_response(method: str, path: str, status: int, content_type: str, body: bytes) -> None:
    """Raise BrokenPromiseError unless a response is a success or an error of our form."""
    if status not in {200, 503} and not 400 <= status < 500:
        raise BrokenPromiseError(f"{path}: {status} {body[:2000]!r}")
    if content_type.startswith("text/event-stream"):
        for event in events(body):
            if "error" in event and event["error"] is not None:
                check_error(path, event)
    elif content_type.startswith("application/x-ndjson"):
        for line in body.splitlines():
            if "error" in (part := parse(line)):
                check_error(path, part)
    elif method == "HEAD" and not body:
        return
    elif content_type.startswith("application/json"):
        value = parse(body)
        if status >= 400:
            check_error(path, value)
    elif status >= 400 and body not in {b"", b"Invalid HTTP request received."}:  # the other is h11's
        raise BrokenPromiseError(f"{path}: {status} with {content_type!r}: {body[:500]!r}")


def check_error(path: str, value: Any) -> None:
    error = value.get("error") if isinstance(value, dict) else None
    if path.startswith("/api/"):
        if not isinstance(error, str) or not error or "internal server error" in error:
            raise BrokenPromiseError(f"{path}: an error of another form: {str(value)[:500]}")
        return
    fields = {"message", "type"} if "/messages" in path else {"message", "type", "param", "code"}
    if not isinstance(error, dict) or not error.keys() >= fields or not isinstance(error["message"], str):
        raise BrokenPromiseError(f"{path}: an error of another form: {str(value)[:500]}")
    if error.get("code") == "internal_error" or error["type"] == "api_error":
        raise BrokenPromiseError(f"{path}: {str(value)[:500]}")


def events(body: bytes) -> Iterator[dict[str, Any]]:
    for line in body.split(b"\n"):
        if line.startswith(b"data: ") and line != b"data: [DONE]":
            yield parse(line.removeprefix(b"data: "))


def parse(text: bytes) -> Any:
    """Parse strict JSON."""

    def refuse(constant: str) -> None:
        raise BrokenPromiseError(f"a response contains {constant}")

    try:
        return json.loads(text.decode("utf-8", "strict"), parse_constant=refuse)
    except ValueError as error:
        raise BrokenPromiseError(f"a response is no JSON: {error}: {text[:300]!r}") from None


TARGET = Http

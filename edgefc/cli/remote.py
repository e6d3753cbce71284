"""A model in a running server, asked by HTTP with the standard library alone."""

from __future__ import annotations

import http.client
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from edgefc.errors import ContextOverflowError, RequestError, ServerError, parse_path

if TYPE_CHECKING:
    from edgefc.chat.confidence import Confidence
    from edgefc.chat.reply import Reply
    from edgefc.tools import ToolSet
    from edgefc.tools.selection import ToolSelection
    from edgefc.types import Delta, Message, ToolCall

CONNECT_S = 5.0
SILENCE_S = 120.0  # the server sends a comment every 10 seconds unless it is told otherwise
MAX_LINE = 64 << 20  # bytes of an event or a response
# Options of `Model.chat` → fields of a request, where they differ.
FIELDS = {
    "min_confidence": "x_edgefc_min_confidence",
    "call_bias": "x_edgefc_call_bias",
    "allow_repeated_calls": "x_edgefc_allow_repeated_calls",
    "on_unsupported": "x_edgefc_on_unsupported",
    "tool_budget": "x_edgefc_tool_budget",
    "trace": "x_edgefc_trace",
}


def connect(url: str, model: str | None) -> ServerAnswerer:
    """Ask a server for its models and return the named one, or its first. Raises ServerError."""
    server = _Server(url)
    entries = server.get("/v1/models").get("data") or []
    names = [entry["id"] for entry in entries]
    entry = next((entry for entry in entries if model in {None, entry["id"]}), None)
    if entry is None:
        raise ServerError(
            f"the server at {url} does not serve {model!r}", f"It serves {', '.join(names) or 'nothing'}."
        )
    meta = entry.get("meta", {})
    if "n_ctx" not in meta:  # not loaded yet: counting tokens loads it
        hello = {"model": entry["id"], "messages": [{"role": "user", "content": "Hello"}]}
        server.post("/v1/chat/completions/input_tokens", hello)
        meta = server.get(f"/v1/models/{entry['id']}").get("meta", {})
    return ServerAnswerer(server, entry["id"], meta.get("family", "?"), meta.get("n_ctx", 0))


class _Server:
    """The address of a server, and its API key in EDGEFC_API_KEY."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
            raise RequestError("url", f"invalid address {url!r}", "Use one such as http://127.0.0.1:8080.")
        self.url, self._parts = url, parts
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")

    def open(self, method: str, path: str, body: Any = None) -> tuple[http.client.HTTPConnection, Any]:
        """Send a request; returns the connection and its response. Raises ServerError, or the error of the response."""
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        assert self._parts.hostname is not None
        connection = kind(self._parts.hostname, self._parts.port, timeout=CONNECT_S)
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("EDGEFC_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        try:
            connection.connect()
            connection.sock.settimeout(SILENCE_S)
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, f"{self._prefix}{path}", data, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = f"no answer from the server at {self.url}: {error}"
            raise ServerError(reason, "Is it running? Use --local to load the model here.") from None
        if response.status != http.client.OK:
            with closing(connection):
                raise _error_of(response.read(MAX_LINE), response.status, self.url)
        return connection, response

    def get(self, path: str) -> Any:
        return self._json("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self._json("POST", path, body)

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        connection, response = self.open(method, path, body)
        with closing(connection):
            try:
                return json.loads(response.read(MAX_LINE))
            except (OSError, ValueError, http.client.HTTPException):
                raise ServerError(f"the server at {self.url} did not answer with JSON", "Check the address.") from None


class ServerAnswerer:
    """A model in a server."""

    def __init__(self, server: _Server, name: str, family: str, n_ctx: int) -> None:
        self._server, self.name, self.family, self.n_ctx = server, name, family, n_ctx
        self.source = name

    @property
    def url(self) -> str:
        return self._server.url

    def stream(self, messages: list[Message], tools: ToolSet, options: Mapping[str, Any]) -> ServerStream:
        fields = {FIELDS.get(name, name): value for name, value in options.items()}
        # As without a server: the tools are the user's own.
        fields = {FIELDS["on_unsupported"]: "refuse", FIELDS["tool_budget"]: -1, **fields}
        body = {
            **fields,
            **self._conversation(messages, tools),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if not len(tools):
            body.pop("tool_choice", None)
        return ServerStream(*self._server.open("POST", "/v1/chat/completions", body))

    def count_tokens(self, messages: list[Message], tools: ToolSet) -> int:
        answer = self._server.post("/v1/chat/completions/input_tokens", self._conversation(messages, tools))
        return int(answer["input_tokens"])

    def close(self) -> None:
        pass

    def _conversation(self, messages: list[Message], tools: ToolSet) -> dict[str, Any]:
        return {"model": self.name, "messages": messages, **({"tools": list(tools)} if len(tools) else {})}


class ServerStream:
    """An answer that a server generates. Leaving it early closes the connection, which stops the server."""

    tokens_read = 0  # the server does not tell before the end
    withheld: Sequence[Delta] = ()

    def __init__(self, connection: http.client.HTTPConnection, response: Any) -> None:
        self._connection, self._response = connection, response
        self._deltas: list[Delta] = []
        self._choice: dict[str, Any] = {}
        self._totals: dict[str, Any] = {}
        self._traced: list[dict[str, Any]] = []
        self._iterator = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def __iter__(self) -> Iterator[Delta]:
        return self._iterator

    def _read(self) -> Iterator[Delta]:
        for event in self._events():
            if event.get("usage"):
                self._totals = event
            for choice in event.get("choices", ()):
                if choice.get("finish_reason"):
                    self._choice = choice
                self._traced += choice.get("x_edgefc_trace", {}).get("tokens", ())
                delta = {key: value for key, value in choice.get("delta", {}).items() if value is not None}
                if delta:
                    self._deltas.append(delta)  # type: ignore[arg-type]
                    yield delta  # type: ignore[misc]

    def _events(self) -> Iterator[dict[str, Any]]:
        """Yield the events of the response. Raises ServerError if it breaks off, and the error that an event has."""
        try:
            while line := self._response.readline(MAX_LINE):
                data = line.removeprefix(b"data:").strip()
                if not line.startswith(b"data:"):
                    continue
                if data == b"[DONE]":
                    return
                event = json.loads(data)
                if "error" in event:
                    raise _error_of(data, 0, "")
                yield event
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ServerError(f"the server's answer broke off: {error}", "See the server's log.") from None
        raise ServerError("the server's answer broke off", "See the server's log.")

    @property
    def reply(self) -> Reply:
        """The complete reply; waits for it."""
        from edgefc.chat.reply import Reply
        from edgefc.cli.trace_view import read_trace
        from edgefc.engine import GenerationStats

        for _ in self:
            pass
        facts = self._choice.get("x_edgefc", {})
        usage, timings = self._totals.get("usage", {}), self._totals.get("timings", {})
        message = _message(self._deltas)
        reason = self._choice.get("finish_reason", "stop")
        stats = GenerationStats(
            prompt_tokens=usage.get("prompt_tokens", 0),
            cached_tokens=usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
            completion_tokens=usage.get("completion_tokens", 0),
            forced_tokens=usage.get("completion_tokens_details", {}).get("forced_tokens", 0),
            prefill_s=timings.get("prompt_ms", 0.0) / 1000,
            decode_s=timings.get("predicted_ms", 0.0) / 1000,
        )
        confidence, trace = _confidence(facts.get("confidence")), self._choice.get("x_edgefc_trace")
        outcome = "call" if message.get("tool_calls") else "length" if reason == "length" else "answer"
        return Reply(
            message=message,
            outcome=facts.get("outcome", outcome),
            finish_reason=reason,
            missing=tuple(facts.get("missing", ())),
            usage=usage,
            stats=stats,
            end_reason=facts.get("end_reason", "stop"),
            confidence=confidence,
            trace=None if trace is None else read_trace(trace, self._traced, confidence),
            selection=_selection(facts.get("tool_selection")),
        )


def _message(deltas: list[Delta]) -> Message:
    """Join deltas to the message that they are the parts of."""
    calls: dict[int, ToolCall] = {}
    text = {"content": "", "reasoning_content": ""}
    for delta in deltas:
        for key in text:
            text[key] += str(delta.get(key, ""))
        for part in delta.get("tool_calls", ()):
            new: ToolCall = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            call, function = calls.setdefault(part["index"], new), part.get("function", {})
            call["id"] += part.get("id", "")
            call["function"]["name"] += function.get("name", "")
            call["function"]["arguments"] += function.get("arguments", "")
    message: Message = {"role": "assistant", "content": text["content"] or ("" if not calls else None)}
    if text["reasoning_content"]:
        message["reasoning_content"] = text["reasoning_content"]
    if calls:
        message["tool_calls"] = list(calls.values())
    return message


def _confidence(data: Mapping[str, Any] | None) -> Confidence | None:
    if data is None:
        return None
    from edgefc.chat.confidence import CallConfidence, Certainty, Confidence

    def chance(field: Mapping[str, float] | None) -> float | None:
        return None if field is None else field["probability"]

    calls = [
        CallConfidence(
            name=call["name"],
            call=chance(call["call"]),
            tools={tool["token"]: math.exp(tool["logprob"]) for tool in call["tools"]},
            arguments={
                name: Certainty(least["probability"], least["allowed_probability"])
                for name, least in call["arguments"].items()
            },
        )
        for call in data["calls"]
    ]
    return Confidence(chance(data["call"]), tuple(calls))


def _selection(data: Mapping[str, Any] | None) -> ToolSelection | None:
    if data is None:
        return None
    from edgefc.tools.selection import ToolSelection

    reasons = {tool["name"]: tool["reason"] for tool in data["tools"]}
    return ToolSelection(reasons, data["total"], data["tokens"], data["budget"])


def _error_of(data: bytes, status: int, url: str) -> ServerError | RequestError:
    """Return the error that a response describes, as the engine would raise it."""
    try:
        error = json.loads(data)["error"]
        message, param = str(error["message"]), error.get("param")
    except (ValueError, KeyError, TypeError):
        return ServerError(f"the server at {url} answered with status {status}", "Check the address.")
    if error.get("code") == ContextOverflowError.code and "n_ctx" in error:
        return ContextOverflowError(error["n_prompt_tokens"], error["n_ctx"])
    reason, _, hint = message.partition("\n")
    if not param:
        hint = "Set EDGEFC_API_KEY to the server's key." if status == http.client.UNAUTHORIZED else hint
        return ServerError(f"the server refused: {reason}", hint)
    return RequestError(parse_path(param), reason.removeprefix(f"{param}: "), hint)

"""Reading transcripts: what a line has is in `edgefc.chat.recorder`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import TypeAdapter, ValidationError

from edgefc.chat.options import ChatOptions
from edgefc.chat.recorder import VERSION
from edgefc.errors import EdgefcError, TranscriptError
from edgefc.formats.canonical import canonicalize
from edgefc.tools import ToolSet
from edgefc.types import Message, Outcome, Tool

OUTCOMES = get_args(Outcome)
_OPTIONS = TypeAdapter(ChatOptions)


@dataclass(frozen=True, slots=True)
class Record:
    """One line, checked.

    conversation  messages and answer in the form that chat templates see: see `edgefc.formats.canonical`
    """

    path: Path
    line: int
    model: str
    family: str
    options: ChatOptions
    tools: list[Tool] | None
    messages: list[Message]
    reply: Mapping[str, Any]
    conversation: list[dict[str, Any]]

    @property
    def place(self) -> str:
        return f"{self.path}, line {self.line}"

    @property
    def outcome(self) -> Outcome:
        return cast("Outcome", self.reply["outcome"])

    @property
    def answer(self) -> dict[str, Any]:
        """The answer in canonical form."""
        return self.conversation[-1]


def read(paths: Sequence[str | Path]) -> Iterator[Record]:
    """All records of files, one by one; empty lines are none. Raises TranscriptError with file and line."""
    for path in map(Path, paths):
        number = 0
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield _read(path, number, line)
        except OSError as error:
            raise TranscriptError(f"{path}: {error.strerror or error}") from None


def _read(path: Path, number: int, line: bytes) -> Record:
    try:
        return _checked(path, number, json.loads(line.decode(), parse_constant=_no_number))
    except (ValueError, RecursionError) as error:
        reason, hint = f"is not JSON: {error}", "A transcript has a JSON object on each line."
    except EdgefcError as error:
        reason, hint = str(error), ""
    raise TranscriptError(f"{path}, line {number}: {reason}", hint)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON's")


def _checked(path: Path, number: int, data: Any) -> Record:
    """A record, if it is one. Raises what says in which part it is not."""
    if not isinstance(data, dict) or "version" not in data:
        raise TranscriptError("is no record of a transcript", "`--transcripts FILE` of chat, run, call and serve.")
    if data["version"] != VERSION:
        raise TranscriptError(f"version: is {data['version']!r}; this edgefc reads version {VERSION}")
    model, reply, options = (_object(data, key) for key in ("model", "reply", "options"))
    for key in ("name", "family"):
        if not isinstance(model.get(key), str):
            raise TranscriptError(f"model.{key}: must be a string")
    if reply.get("outcome") not in OUTCOMES:
        raise TranscriptError(f"reply.outcome: must be one of {', '.join(OUTCOMES)}, not {reply.get('outcome')!r}")
    missing = reply.get("missing")
    if not isinstance(missing, list) or not all(isinstance(name, str) for name in missing):
        raise TranscriptError("reply.missing: must be a list of tool names")
    if "tools" not in data:
        raise TranscriptError("tools: is missing", "Without tools it is null.")
    tools = None if data["tools"] is None else list(ToolSet.of(data["tools"]))
    json.dumps(tools, ensure_ascii=False).encode()  # half a character cannot be written again
    messages = data.get("messages")
    conversation = [*canonicalize(cast("list[Message]", messages)), _answer(reply.get("message"))]
    return Record(
        path=path,
        line=number,
        model=model["name"],
        family=model["family"],
        options=_options(options),
        tools=tools,
        messages=cast("list[Message]", messages),
        reply=reply,
        conversation=conversation,
    )


def _object(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(data.get(key), dict):
        raise TranscriptError(f"{key}: must be an object")
    value: dict[str, Any] = data[key]
    return value


def _answer(message: Any) -> dict[str, Any]:
    """An assistant message in canonical form, whose calls need no results yet."""
    if not isinstance(message, dict) or message.get("role") != "assistant":
        raise TranscriptError("reply.message: must be a message of the assistant")
    calls = message.get("tool_calls") or []
    ids = [call.get("id") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    results = [{"role": "tool", "tool_call_id": number, "content": ""} for number in ids]
    try:
        return canonicalize(cast("list[Message]", [message, *results]))[0]
    except EdgefcError as error:
        raise TranscriptError(f"reply: {str(error).replace('messages[0]', 'message')}") from None


def _options(options: dict[str, Any]) -> ChatOptions:
    """Options of a chat; as JSON, since there the token ids of `logit_bias` are strings."""
    try:
        return _OPTIONS.validate_json(json.dumps(options), strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise TranscriptError(f"options.{place}: {first['msg']}") from None

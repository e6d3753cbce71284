"""Reading of transcripts, the files that `edgefc.chat.recorder` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import TypeAdapter, ValidationError

from edgefc.chat.options import ChatOptions
from edgefc.chat.recorder import VERSION
from edgefc.errors import EdgefcError, FieldPath, LocatedError, TranscriptError
from edgefc.formats.canonical import canonicalize
from edgefc.tools import ToolSet
from edgefc.types import Message, Outcome

OUTCOMES = get_args(Outcome)
_OPTIONS = TypeAdapter(ChatOptions)


@dataclass(frozen=True, slots=True)
class Record:
    """One checked line of a transcript.

    conversation  messages and answer in the form that chat templates see: see `edgefc.formats.canonical`
    """

    path: Path
    line: int
    model: str
    family: str
    options: ChatOptions
    tools: ToolSet | None
    messages: list[Message]
    reply: Mapping[str, Any]
    conversation: list[dict[str, Any]]

    @property
    def location(self) -> str:
        """File and line, for messages."""
        return f"{self.path}, line {self.line}"

    @property
    def outcome(self) -> Outcome:
        return cast("Outcome", self.reply["outcome"])

    @property
    def is_cut(self) -> bool:
        """True if the answer was cut off, with complete calls or without."""
        return self.outcome == "length" or self.reply.get("finish_reason") == "length"

    @property
    def answer(self) -> dict[str, Any]:
        """The answer in canonical form."""
        return self.conversation[-1]


def read(paths: Sequence[str | Path]) -> Iterator[Record]:
    """Yield the records of all files; empty lines are skipped. Raises TranscriptError with file and line."""
    for path in map(Path, paths):
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield _parse_line(path, number, line)
        except OSError as error:
            raise TranscriptError(f"{path}: {error.strerror or error}") from None


def _parse_line(path: Path, number: int, line: bytes) -> Record:
    try:
        return _checked_record(path, number, json.loads(line.decode(), parse_constant=_reject_constant))
    except (ValueError, RecursionError) as error:
        reason, hint = f"invalid JSON: {error}", "Each line of a transcript is a JSON object."
    except EdgefcError as error:
        reason, hint = str(error), ""
    raise TranscriptError(f"{path}, line {number}: {reason}", hint)


def _reject_constant(name: str) -> None:
    raise ValueError(f"JSON has no number {name}")


def _checked_record(path: Path, number: int, data: Any) -> Record:
    """Check a line's parts. Raises LocatedError with the path inside the line, or TranscriptError."""
    if not isinstance(data, dict) or "version" not in data:
        raise TranscriptError(
            "not a record of a transcript", "Give files written by `--transcripts FILE` of chat, run, call or serve."
        )
    if data["version"] != VERSION:
        raise LocatedError("version", f"unsupported version {data['version']!r}; this edgefc reads version {VERSION}")
    if "tools" not in data:
        raise LocatedError("tools", "is missing", "It must be null if there were no tools.")
    model, reply, options = (_object(data, key) for key in ("model", "reply", "options"))
    for key in ("name", "family"):
        if not isinstance(model.get(key), str):
            raise LocatedError(("model", key), "must be a string")
    _check_reply(reply)
    messages = cast("list[Message]", data.get("messages"))
    return Record(
        path=path,
        line=number,
        model=model["name"],
        family=model["family"],
        options=_chat_options(options),
        tools=None if data["tools"] is None else ToolSet.of(data["tools"]),
        messages=messages,
        reply=reply,
        conversation=[*canonicalize(messages), _canonical_answer(reply.get("message"))],
    )


def _object(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(data.get(key), dict):
        raise LocatedError(key, "must be an object")
    value: dict[str, Any] = data[key]
    return value


def _check_reply(reply: Mapping[str, Any]) -> None:
    outcome, missing = reply.get("outcome"), reply.get("missing")
    if outcome not in OUTCOMES:
        raise LocatedError("reply.outcome", f"unknown outcome {outcome!r}", f"Outcomes are {', '.join(OUTCOMES)}.")
    if not isinstance(missing, list) or not all(isinstance(name, str) for name in missing):
        raise LocatedError("reply.missing", "must be a list of tool names")


def _canonical_answer(message: Any) -> dict[str, Any]:
    """Return an assistant message in canonical form; its calls need no results yet."""
    path = ("reply", "message")
    if not isinstance(message, dict) or message.get("role") != "assistant":
        raise LocatedError(path, "must be an assistant message")
    calls = message.get("tool_calls") or []
    ids = [call.get("id") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    results = [{"role": "tool", "tool_call_id": call_id, "content": ""} for call_id in ids]
    for number, call in enumerate(calls if isinstance(calls, list) else ()):
        _check_arguments(call, (*path, "tool_calls", number))
    try:
        return canonicalize(cast("list[Message]", [message, *results]))[0]
    except LocatedError as error:
        raise error.at(*path, *error.path[2:]) from None  # the answer is messages[0] of this little conversation


def _check_arguments(call: Any, path: FieldPath) -> None:
    """Check that a recorded call has whole arguments: one that was cut is no part of an answer. Raises LocatedError."""
    try:
        arguments = json.loads(call["function"]["arguments"])
    except (TypeError, KeyError, ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise LocatedError((*path, "function", "arguments"), "must be a JSON object as text")


def _chat_options(options: dict[str, Any]) -> ChatOptions:
    """Validate the options as JSON, in which the token ids of `logit_bias` are strings."""
    try:
        return _OPTIONS.validate_json(json.dumps(options), strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        raise LocatedError(("options", *first["loc"]), first["msg"]) from None

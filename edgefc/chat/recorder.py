"""Recording what a model is asked and answers, as JSON Lines. `edgefc.transcripts` reads it.

One line is one answer, with all that it depends on:

    version   1
    time      when the answer was complete
    edgefc    the version that gave it
    model     name, family, and the file's sha256 where a manifest has it
    options   those of `Model.chat` that were given, and the seed where sampling was not greedy
    tools     as OpenAI has them; null where none were given
    messages  the conversation before the answer, as it came
    reply     message, outcome, finish_reason, missing

Each line stands by itself: a conversation of several answers is there as often, longer each time.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgefc._version import __version__
from edgefc.chat.options import ChatOptions
from edgefc.chat.reply import Reply
from edgefc.chat.request import checked_tools
from edgefc.errors import TranscriptError
from edgefc.tools import ToolLike
from edgefc.types import Message

log = logging.getLogger("edgefc.transcripts")
VERSION = 1
PRIVATE = 0o600
_NO_ANSWER = {"logprobs"}  # options that change what is told of an answer, and not the answer


class Recorder:
    """Appends a model's answers to a file that only its owner can read. Any thread may use it.

    The file is opened for each line, so that it may be moved away at any time. What cannot be written later, on a full
    disk for example, is an error in the log and not one of the chat.
    """

    def __init__(self, path: str | Path, model: Mapping[str, str]) -> None:
        """`model` is what lines say of it. Raises TranscriptError when the file cannot be written."""
        self.path = Path(path)
        self._model = dict(model)
        self._lock = threading.Lock()
        try:
            self._append(b"")
        except OSError as error:
            raise TranscriptError(f"{self.path}: cannot be written: {error.strerror or error}") from None

    def telling(
        self, messages: Sequence[Message], tools: Sequence[ToolLike] | None, options: ChatOptions, *, greedy: bool
    ) -> Callable[[Reply], None]:
        """What is to be told the reply to a question, when it is complete."""
        # A caller may go on with the same list; a reply is recorded with what it is the reply to.
        asked = {"tools": None if tools is None else checked_tools(tools), "messages": list(messages)}
        given = {name: value for name, value in options.items() if value is not None and name not in _NO_ANSWER}

        def tell(reply: Reply) -> None:
            told = {
                "version": VERSION,
                "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
                "edgefc": __version__,
                "model": self._model,
                "options": given if greedy else {**given, "seed": reply.stats.seed},
                **asked,
                "reply": {
                    "message": reply.message,
                    "outcome": reply.outcome,
                    "finish_reason": reply.finish_reason,
                    "missing": reply.missing,
                },
            }
            try:
                line = json.dumps(told, ensure_ascii=False, allow_nan=False, default=_plain).encode() + b"\n"
                with self._lock:
                    self._append(line)
            except (OSError, ValueError, TypeError) as error:
                log.error("%s: an answer is missing from it: %s", self.path, error)  # noqa: TRY400 - who runs it reads it

        return tell

    def _append(self, line: bytes) -> None:
        with open(self.path, "a+b", buffering=0, opener=lambda name, flags: os.open(name, flags, PRIVATE)) as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                os.fchmod(file.fileno(), PRIVATE)
            if line and not _ends_in_newline(file.fileno()):
                line = b"\n" + line  # what broke off, on a full disk, spoils one line and not two
            if line and file.write(line) != len(line):
                raise OSError("only a part of it could be written")


def _ends_in_newline(descriptor: int) -> bool:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size:
        os.lseek(descriptor, -1, os.SEEK_END)
    return not size or os.read(descriptor, 1) == b"\n"


def _plain(value: Any) -> Any:
    """What callers may pass where JSON has objects."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")

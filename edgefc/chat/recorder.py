"""Recording of questions and answers as JSON Lines, which `edgefc.transcripts` reads.

Each line holds one answer and everything it depends on:

    version   1
    time      time of completion
    edgefc    version of edgefc
    model     name, family, and the file's sha256 if a manifest has it
    options   the caller's options of `Model.chat`, and the seed unless sampling was greedy
    tools     in OpenAI's form; null if the request had none
    messages  the conversation before the answer, unchanged
    reply     message, outcome, finish_reason, missing

Each line stands by itself: a conversation with several answers appears once for each of them, longer each time.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgefc._version import __version__
from edgefc.chat.reply import Reply
from edgefc.chat.request import Request
from edgefc.errors import TranscriptError

log = logging.getLogger("edgefc.transcripts")
VERSION = 1
PRIVATE = 0o600
_REPORTING = {"logprobs", "trace"}  # options that change the report about an answer, not the answer


class Recorder:
    """Appends a model's answers to a file that only its owner can read. Any thread may use it.

    The file is opened for each line, so that it may be moved away at any time. A later failure to write, on a full disk
    for example, is logged and does not fail the chat.
    """

    def __init__(self, path: str | Path, model: Mapping[str, str]) -> None:
        """`model` holds the model's fields of each line. Raises TranscriptError when the file cannot be written."""
        self.path = Path(path)
        self._model = dict(model)
        self._lock = threading.Lock()
        try:
            self._append(b"")
        except OSError as error:
            raise TranscriptError(f"{self.path}: cannot be written: {error.strerror or error}") from None

    def on_reply_for(self, request: Request) -> Callable[[Reply], None]:
        """Return a callback that records the reply to a request when it is complete."""
        tools = None if request.tools is None else list(request.tools)
        question = {"tools": tools, "messages": request.messages}
        is_greedy = request.sampling.temperature == 0
        used = {name: value for name, value in request.options.items() if value is not None and name not in _REPORTING}

        def record(reply: Reply) -> None:
            entry = {
                "version": VERSION,
                "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
                "edgefc": __version__,
                "model": self._model,
                "options": used if is_greedy else {**used, "seed": reply.stats.seed},
                **question,
                "reply": {
                    "message": reply.message,
                    "outcome": reply.outcome,
                    "finish_reason": reply.finish_reason,
                    "missing": reply.missing,
                },
            }
            try:
                line = json.dumps(entry, ensure_ascii=False, allow_nan=False, default=_as_dict).encode() + b"\n"
                with self._lock:
                    self._append(line)
            except (OSError, ValueError, TypeError) as error:
                log.error("%s: an answer could not be recorded: %s", self.path, error)  # noqa: TRY400 - a message for the user

        return record

    def _append(self, line: bytes) -> None:
        with open(self.path, "a+b", buffering=0, opener=lambda name, flags: os.open(name, flags, PRIVATE)) as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                os.fchmod(file.fileno(), PRIVATE)
            if line and not _ends_in_newline(file.fileno()):
                line = b"\n" + line  # a line cut off by a full disk spoils one line, not two
            if line and file.write(line) != len(line):
                raise OSError("only part of the line could be written")


def _ends_in_newline(descriptor: int) -> bool:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size:
        os.lseek(descriptor, -1, os.SEEK_END)
    return not size or os.read(descriptor, 1) == b"\n"


def _as_dict(value: Any) -> Any:
    """Convert mappings that are not dicts, which callers may pass as JSON objects."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")

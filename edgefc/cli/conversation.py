"""Conversations as lists of messages: turns, stopped answers, files."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgefc.cli.console import confirm, err, out
from edgefc.errors import RequestError
from edgefc.files import read_small
from edgefc.terminal import single_line

if TYPE_CHECKING:
    from edgefc.tools import ToolSet
    from edgefc.types import Message

MAX_BYTES = 64 << 20
ROLES = {"system", "developer", "user", "assistant", "tool"}
STOPPED = "(stopped by the user)"
_DATE = re.compile(r'"format": ?"date(-time)?"')


def system_message(text: str | None, tools: ToolSet, *, date: bool | None) -> str | None:
    """Return the text of a system message, whose last line is today's date: models do not know it.

    date  None: if a tool has a parameter with the format of a date
    """
    if not (_DATE.search(tools.json) if date is None else date):
        return text
    today = dt.datetime.now().astimezone().date()
    line = f"Today is {today:%A}, {today.isoformat()}."
    return f"{text}\n\n{line}" if text else line


def turns(messages: list[Message]) -> list[int]:
    """Return the index of the first message of each turn, which is the user's."""
    return [number for number, message in enumerate(messages) if message["role"] == "user"]


def drop_oldest(
    messages: list[Message], count: Callable[[list[Message]], int], room: int, *, at_most: int | None = None
) -> tuple[list[Message], int]:
    """Return the messages without their oldest turns, so that at most `room` tokens are left, and the number dropped.

    The last turn and what comes before the first, such as a system message, stay.

    count    returns the number of tokens of a conversation
    at_most  number of turns to drop
    """
    starts = turns(messages)
    head, dropped, rest = messages[: starts[0]] if starts else messages, 0, messages
    for start in starts[1:]:
        if (at_most is not None and dropped == at_most) or (dropped and count(rest) <= room):
            break
        rest, dropped = [*head, *messages[start:]], dropped + 1
    return rest, dropped


def stop_answer(messages: list[Message], text: str, first: int) -> bool:
    """Complete a conversation whose answer was stopped; False if nothing was answered, and nothing is changed.

    Calls without a result get one that says so, and the text so far becomes the answer.

    messages  the conversation so far, changed in place
    text      of the answer that was stopped
    first     index of the first message of the answer
    """
    last = messages[-1]
    if calls := last.get("tool_calls"):
        text = ""
        for call in calls:
            content = json.dumps({"error": "stopped by the user"})
            name = call["function"]["name"]
            messages.append({"role": "tool", "tool_call_id": call["id"], "name": name, "content": content})
    if not text.strip() and len(messages) == first:
        return False
    messages.append({"role": "assistant", "content": text if text.strip() else STOPPED})
    return True


def save_messages(name: str, messages: list[Message]) -> None:
    """Write a conversation as JSON that only its author can read; asks before a file is overwritten."""
    from edgefc.chat.recorder import PRIVATE

    path = Path(name).expanduser()
    if path.exists() and not (sys.stdin.isatty() and confirm(f"{single_line(name)} exists. Overwrite it?")):
        err.print(f"{single_line(name)} was not changed")
        return
    text = json.dumps(messages, ensure_ascii=False, indent=2) + "\n"
    try:
        with open(path, "wb", opener=lambda file, flags: os.open(file, flags, PRIVATE)) as file:
            file.write(text.encode("utf-8", "replace"))
    except OSError as error:
        err.print(f"could not write {single_line(name)}: {error.strerror}")
    else:
        out.print(f"saved {len(messages)} messages to {name}")


def load_messages(name: str) -> list[Message]:
    """Read a conversation: a list of messages, or an object with such a list. Raises RequestError."""
    try:
        data = json.loads(read_small(Path(name).expanduser(), MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError("load", f"{single_line(name)}: {error}") from None
    messages = data.get("messages") if isinstance(data, dict) else data
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        raise RequestError("load", f"{single_line(name)}: no list of messages", "/save writes files that /load reads.")
    return cast("list[Message]", messages)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and value.get("role") in ROLES

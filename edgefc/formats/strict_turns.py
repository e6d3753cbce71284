"""Conversations for templates that want one system message first, and turns of user and assistant that alternate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Turn = dict[str, Any]


def stricter_forms(messages: Sequence[Mapping[str, Any]]) -> Iterator[list[Turn]]:
    """Yield the same conversation in forms that more templates accept, each stricter than the one before.

    First with one system message and turns that alternate; then without a system message, whose text begins the first
    question.
    """
    merged = _merged(messages)
    yield merged
    if len(merged) > 1 and merged[0]["role"] == "system" and merged[1]["role"] == "user":
        yield [{**merged[1], "content": _joined(merged[0], merged[1])}, *merged[2:]]


def _merged(messages: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Merge neighbours of one role; system messages after the first turn become the user's."""
    turns: list[Turn] = []
    for message in messages:
        turn = dict(message)
        if turn["role"] == "system" and any(other["role"] != "system" for other in turns):
            turn["role"] = "user"
        if turns and _can_join(turns[-1], turn):
            turns[-1] = {**turns[-1], "content": _joined(turns[-1], turn)}
        else:
            turns.append(turn)
    return turns


def _can_join(turn: Turn, other: Turn) -> bool:
    is_plain = turn.keys() == other.keys() == {"role", "content"}
    return turn["role"] == other["role"] and is_plain


def _joined(turn: Turn, other: Turn) -> str:
    return "\n\n".join(text for text in (turn["content"], other["content"]) if text)

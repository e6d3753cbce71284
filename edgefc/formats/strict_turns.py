"""Conversations for templates that refuse or drop some of their turns.

Templates want one system message first, turns of user and assistant that alternate, or no empty answers; APIs accept
all of these. Which rules a template has is probed when it is loaded, so that a conversation keeps its form, and its
place in the KV cache, while it grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from edgefc.errors import FormatError

Turn = dict[str, Any]
Rule = Callable[[list[Turn]], list[Turn]]


def only_first_system(turns: list[Turn]) -> list[Turn]:
    """Give system messages after the first turn to the user."""
    first = next((number for number, turn in enumerate(turns) if turn["role"] != "system"), len(turns))
    return [
        {**turn, "role": "user"} if turn["role"] == "system" and n > first else turn for n, turn in enumerate(turns)
    ]


def no_empty_answers(turns: list[Turn]) -> list[Turn]:
    """Drop answers without text and calls."""
    return [turn for turn in turns if turn["role"] != "assistant" or turn["content"] or turn.get("tool_calls")]


def one_system(turns: list[Turn]) -> list[Turn]:
    """Merge system messages that follow each other."""
    return _merged(turns, lambda before, turn: before["role"] == turn["role"] == "system")


def alternate(turns: list[Turn]) -> list[Turn]:
    """Merge neighbours of one role; an answer goes into the calls that follow it."""
    roles = {"system", "user", "assistant"}
    return _merged(turns, lambda before, turn: before["role"] == turn["role"] in roles and "tool_calls" not in before)


def results_with_questions(turns: list[Turn]) -> list[Turn]:
    """Join what the user says right after a result with it: never the reverse, which would give results more weight."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1]["role"] == "tool" and turn["role"] == "user":
            joined[-1] = {**joined[-1], "content": _joined(joined[-1], turn)}
        else:
            joined.append(turn)
    return joined


def user_first(turns: list[Turn]) -> list[Turn]:
    """Begin with a turn of the user, an empty one if need be."""
    first = next((number for number, turn in enumerate(turns) if turn["role"] != "system"), len(turns))
    if first < len(turns) and turns[first]["role"] == "user":
        return turns
    return [*turns[:first], {"role": "user", "content": ""}, *turns[first:]]


def no_system(turns: list[Turn]) -> list[Turn]:
    """Begin the first question with the system message."""
    if len(turns) > 1 and turns[0]["role"] == "system" and turns[1]["role"] == "user":
        return [{**turns[1], "content": _joined(turns[0], turns[1])}, *turns[2:]]
    return turns


def system_in_last_question(turns: list[Turn]) -> list[Turn]:
    """Begin the last question with the system message."""
    last = max((number for number, turn in enumerate(turns) if turn["role"] == "user"), default=0)
    if not last or turns[0]["role"] != "system":
        return turns
    return [*turns[1:last], {**turns[last], "content": _joined(turns[0], turns[last])}, *turns[last + 1 :]]


# In the order in which they are applied.
RULES: tuple[Rule, ...] = (
    only_first_system, no_empty_answers, one_system, alternate, results_with_questions, user_first,
    system_in_last_question, no_system,
)  # fmt: skip
_BY_NAME = {rule.__name__: rule for rule in RULES}
# Without those that move the system message.
_TURNS = RULES[:-2]


def rules_of(names: Sequence[str]) -> tuple[Rule, ...]:
    """Return rules by their names. Raises FormatError for an unknown one."""
    for name in names:
        if name not in _BY_NAME:
            raise FormatError(f"unknown rule for turns {name!r}", f"Rules are {', '.join(_BY_NAME)}.")
    return tuple(_BY_NAME[name] for name in names)


def apply(rules: Sequence[Rule], turns: Sequence[Turn]) -> list[Turn]:
    """Return the same conversation in a form that keeps the rules."""
    form = [dict(turn) for turn in turns]
    for rule in RULES:
        if rule in rules:
            form = rule(form)
    return form


def forms(rules: Sequence[Rule], turns: Sequence[Turn]) -> Iterator[list[Turn]]:
    """Yield the conversation as the template's rules want it, then in stricter forms, for what no probe has shown."""
    yield apply(rules, turns)
    yield apply(_TURNS, turns)
    yield apply((*_TURNS, no_system), turns)


_USERS, _ANSWERS, _SYSTEMS = (
    [{"role": role, "content": f"Probe {role} {number}"} for number in range(3)]
    for role in ("user", "assistant", "system")
)
_EMPTY: Turn = {"role": "assistant", "content": ""}


def find_rules(call: Turn, result: Turn, is_whole: Callable[[list[Turn], Sequence[Rule]], bool]) -> tuple[Rule, ...]:
    """Return the rules with which a template shows all of a conversation, whatever its turns.

    call, result  canonical messages
    is_whole      (a canonical conversation, rules) → the template shows each of its texts
    """
    user, user_2, user_3 = _USERS
    answer, answer_2, _ = _ANSWERS
    system, system_2, system_3 = _SYSTEMS
    called = [user, call, result, user_2]
    everything = [system, system_2, answer, answer_2, *called, _EMPTY, system_3, user_3]
    in_loop = [system, *called[:3]]
    if all(is_whole(turns, ()) for turns in ([system], in_loop, everything)):
        return ()
    # A rule comes after those that its form needs: a late system message becomes the second of two user turns.
    probes: list[tuple[Rule, list[Turn]]] = [
        (alternate, [user, user_2]),
        (alternate, [user, answer, answer_2, user_2]),
        (no_system, [system, user]),
        (system_in_last_question, in_loop),
        (no_empty_answers, [user, _EMPTY, user_2]),
        (one_system, [system, system_2, user]),
        (only_first_system, [user, answer, system, user_2]),
        (results_with_questions, called),
        (user_first, [answer, user]),
        (user_first, [system]),
    ]
    rules: tuple[Rule, ...] = ()
    for rule, turns in probes:
        if rule not in rules and not is_whole(turns, rules) and is_whole(turns, (*rules, rule)):
            rules = (*rules, rule)
    return rules


def _merged(turns: list[Turn], can_merge: Callable[[Turn, Turn], bool]) -> list[Turn]:
    joined: list[Turn] = []
    for turn in turns:
        if joined and can_merge(joined[-1], turn):
            joined[-1] = {**joined[-1], **turn, "content": _joined(joined[-1], turn)}
        else:
            joined.append(turn)
    return joined


def _joined(turn: Turn, other: Turn) -> str:
    return "\n\n".join(text for text in (turn["content"], other["content"]) if text)

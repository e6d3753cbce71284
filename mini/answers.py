"""Texts of the assistant about results and missing values, and small judgements about requests."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from mini.functions import Function, Param, slots
from mini.requests import PREPOSITIONS, Request
from mini.schemas import Tool, words_of
from mini.values import in_words

TELLS_ALL = 0.7  # share of the answers that tell every figure of a result
_COMMON = set(
    "calculate compute return look number the a an of for in to and or by from with is it on at "
    "get find show list all one be that this into".split()
)


def in_text(value: Any) -> str:
    """A value of a result in words."""
    if isinstance(value, list):
        return in_words([in_text(item) for item in value])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def answer(function: Function, request: Request, result: dict[str, Any], template: str, roll: float) -> str:
    """A sentence about the result: of this template, of one of the function's, or field by field.

    Without a template it mostly tells every figure: the request did not say which of them matters.
    """
    texts = {**request.words(), **{key: in_text(value) for key, value in result.items()}}
    templates = [template] if template else function.answers
    if not template and roll < TELLS_ALL:
        untold = {
            key for key, value in result.items() if key not in function.echoes and re.search(r"\d", in_text(value))
        }
        templates = [text for text in templates if untold <= set(slots(text))]
        roll /= TELLS_ALL
    for text in templates[int(roll * len(templates)) :]:
        if set(slots(text)) <= texts.keys():
            filled = re.sub(r"{([\w.]+)}", lambda match: texts[match[1]], text)
            return filled if text.startswith("{") else filled[:1].upper() + filled[1:]
    fields = [(key.replace("_", " "), in_text(value)) for key, value in result.items() if value is not True]
    if not fields:
        return "Done."
    text = in_words([f"the {key} {'are' if _is_plural(key) else 'is'} {value}" for key, value in fields]) + "."
    return text[:1].upper() + text[1:]


def _is_plural(key: str) -> bool:
    return key.endswith("s") and not key.endswith(("ss", "us", "is"))


def question_for(param: Param) -> str:
    """A question for a missing parameter."""
    if param.ask:
        return param.ask
    name = " ".join(words_of(param.name))
    if "enum" in param.schema and len(param.schema["enum"]) <= 4:
        return f"Which {name} do you want: {in_words([str(item) for item in param.schema['enum']], 'or')}?"
    verb = "are" if _is_plural(name) and param.type == "array" else "is"
    return f"What {verb} the {name}?" if len(name) > 2 else f"What is {name}?"


def listable(tool: Tool, template: str) -> list[Param]:
    """Parameters for which this request can name several values, one call each."""
    names = slots(template)
    required = {param.name for param in tool.function.required}
    if any("." in name for name in names) or not required <= set(names) or "between" in template or not names:
        return []
    mentioned = [param for param in tool.function.params if param.name in names and names.count(param.name) == 1]
    if any(param.type in {"array", "object"} for param in mentioned):
        return []
    fitting = [
        param
        for param in mentioned
        if param.type in {"string", "integer", "number"}
        and "enum" not in param.schema
        and not re.search(
            rf"(\w|[-+*/^#('\"])\{{{param.name}\}}|\{{{param.name}\}}([\w*/^('\"+x-]|,? and {{| x )", template
        )
        and not re.search(rf"\band {{{param.name}}}", template)
    ]
    # With two values of one sort in a request, a list would leave open which of them it belongs to.
    kinds = [param.type if param.type != "number" else "integer" for param in mentioned]
    return [p for p in fitting if kinds.count(p.type if p.type != "number" else "integer") == 1 or len(mentioned) == 1]


def follower(request: Request) -> Param | None:
    """The parameter that "and for X?" can mean: the only text or the only number of the request."""
    named = [param for param in request.tool.function.params if param.name in request.drawn]
    texts = [param for param in named if param.type == "string" and "enum" not in param.schema]
    numbers = [param for param in named if param.type in {"integer", "number"}]
    if len(texts) == 1 and len(named) <= 3:
        return texts[0]
    return numbers[0] if len(named) == len(numbers) == 1 else None


def repeats(requests: list[Request]) -> bool:
    """True if two of the calls are the same."""
    calls = [json.dumps(request.call, sort_keys=True, default=str) for request in requests]
    return len(set(calls)) < len(calls)


@lru_cache(maxsize=4096)
def content_words(function: Function) -> frozenset[str]:
    """The words of a function's names and descriptions that tell its subject."""
    texts = [" ".join(words_of(name)) for name in function.names] + function.about
    found = re.findall(r"[a-z]{3,}", " ".join(texts).lower())
    return frozenset(word.rstrip("s") for word in found) - _COMMON - PREPOSITIONS


def could_do(function: Function, other: Function, *, share: float = 0.34) -> bool:
    """True if a function might do what another is for, by the share of words that both have."""
    if function.family and function.family == other.family and function.origin == "hand":
        return False  # written to differ
    one, two = content_words(function), content_words(other)
    if function.origin == other.origin == "made_up" and share < 0.5 and one & two:
        return True  # "halt" and "cancel" the same thing
    return len(one & two) >= share * min(len(one), len(two))

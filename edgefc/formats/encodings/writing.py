"""Arguments of earlier calls as a family's chat template writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from edgefc.grammar.quoting import QUOTINGS
from edgefc.grammar.tags import CDATA_BEGIN, CDATA_END, tags_of
from edgefc.types import OutputSyntax

_WORDS = {True: "True", False: "False", None: "None"}


def write_arguments(syntax: OutputSyntax, arguments: Mapping[str, Any], json_lists: Collection[str] = ()) -> str:
    """Write the arguments of a call in the encoding of its family; `json_lists` names arrays that are JSON even there
    where a family lists strings.
    """
    match syntax.arguments:
        case "json":
            return _json(arguments, spaced=syntax.spaced)
        case "pythonic":
            write = _python_or_json if syntax.literals == "json" else _python
            return ", ".join(f"{name}={write(value)}" for name, value in arguments.items())
        case "tagged":
            written = (_tagged(syntax, name, value, lists=name not in json_lists) for name, value in arguments.items())
            return "".join(written)
        case "gemma":
            return _gemma(arguments, syntax.quote)[1:-1]


def _tagged(syntax: OutputSyntax, name: str, value: Any, *, lists: bool) -> str:
    tags = tags_of(syntax)
    if lists and tags.is_text_list(value):
        text = f"{tags.end}{tags.separator}".join(value)
    elif isinstance(value, str):
        text = f"{CDATA_BEGIN}{value}{CDATA_END}" if tags.needs_cdata(value) else value
    else:
        writers = {"python": _python_word, "json": _json, "repr": _python}
        text = writers[syntax.literals](value)
    return f"{tags.head}{name}{tags.between}{text}{tags.end}"


def unwritable_value(syntax: OutputSyntax, arguments: Mapping[str, Any]) -> str | None:
    """Return a text that the encoding cannot spell, for it has no escapes; None: there is none."""
    if syntax.arguments == "tagged":
        tags = tags_of(syntax)
        texts = [value for value in arguments.values() if isinstance(value, str)]
        if tags.special:
            return next((text for text in texts if tags.needs_cdata(text) and CDATA_END in text), None)
        return next((text for text in texts if tags.mark in text or text.startswith(tags.tag)), None)
    return None  # in prompts, the text of Gemma's mark is never the token


def _json(value: Any, *, spaced: bool = True) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": ") if spaced else (",", ":"))


def _python(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(name)}: {_python(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_python, value)) + "]"
    return _quoted(value) if isinstance(value, str) else _python_word(value)


def _python_or_json(value: Any) -> str:
    return _json(value) if isinstance(value, Mapping | list) else _python(value)


def _python_word(value: Any) -> str:
    return _WORDS[value] if value is None or isinstance(value, bool) else _json(value)


def _quoted(text: str) -> str:
    return QUOTINGS["single"].quote(text)


def _gemma(value: Any, quote: str) -> str:
    write: Callable[[Any], str] = lambda item: _gemma(item, quote)  # noqa: E731
    if isinstance(value, Mapping):
        # Jinja's dictsort ignores the case of names.
        members = sorted(value.items(), key=lambda member: member[0].lower())
        return "{" + ",".join(f"{name}:{write(item)}" for name, item in members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    return f"{quote}{value}{quote}" if isinstance(value, str) else _json(value)

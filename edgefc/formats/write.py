"""Writes an assistant message in a family's own output syntax: for history, and for training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgefc.formats.encodings import write_arguments
from edgefc.types import OutputSyntax


def _write_calls(syntax: OutputSyntax, calls: Sequence[Mapping[str, Any]], *, verbatim: bool = False) -> str:
    """Write canonical calls one after the other; `verbatim` as in `write_assistant`."""
    texts = [_write_call(syntax, call, first=not number, verbatim=verbatim) for number, call in enumerate(calls)]
    return "".join(texts) + ("" if _is_code(syntax, calls[-1]) else syntax.calls_end)


def _write_call(syntax: OutputSyntax, call: Mapping[str, Any], *, first: bool, verbatim: bool) -> str:
    """Write one call and its introduction."""
    if _is_code(syntax, call):
        code = str(syntax.code).replace("{code}", call["arguments"]["code"])
        return code if first or code.startswith(syntax.marker) else syntax.calls_separator + code
    original = call.get("arguments_text") if verbatim else None
    name = _dump(call["name"], spaced=syntax.spaced)[1:-1]
    arguments = original
    if arguments is None:
        arguments = write_arguments(syntax, call["arguments"], call.get("json_lists", ()))
    between, after = (
        text.replace("{id}", str(call.get("id", ""))) for text in (syntax.before_arguments, syntax.after_arguments)
    )
    begin = syntax.calls_begin if first else syntax.calls_separator
    return f"{begin}{syntax.before_name}{name}{between}{arguments}{after}"


def _is_code(syntax: OutputSyntax, call: Mapping[str, Any]) -> bool:
    return bool(syntax.code and call.get("is_code"))


def write_assistant(syntax: OutputSyntax, message: Mapping[str, Any], *, verbatim: bool = False) -> str:
    """Write a canonical assistant message in the words of the model.

    verbatim  copy the arguments' own text, as some families' templates do; False: write them as JSON again
    """
    content = message.get("content") or ""
    if calls := message.get("tool_calls"):
        written = _write_calls(syntax, calls, verbatim=verbatim)
        if "{text}" in syntax.calls_begin:
            return syntax.begin + written.replace("{text}", _dump(content, spaced=syntax.spaced), 1) + syntax.end
        before = ""
        if content and syntax.text_begin:
            before = (syntax.text_before_calls or syntax.text_begin) + content + syntax.calls_separator
        elif content and syntax.calls_preamble is not None:
            before = content + syntax.calls_preamble
        return syntax.begin + before + written + syntax.end
    if syntax.text is None:
        if message.get("no_tool") and not content and syntax.no_tool is not None:
            return syntax.no_tool
        return syntax.begin + syntax.text_begin + str(content)
    template = syntax.text
    if message.get("no_tool") and syntax.no_tool is not None:
        template = syntax.no_tool
    elif message.get("required_functions") and syntax.clarify is not None:
        functions = _dump(message["required_functions"], spaced=syntax.spaced)
        template = syntax.clarify.replace("{functions}", functions, 1)
    before, _, after = template.rpartition("{text}")
    return syntax.begin + before + _dump(content, spaced=syntax.spaced) + after + syntax.end


def _dump(value: Any, *, spaced: bool) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": ") if spaced else (",", ":"))

"""Writes an assistant message in a family's own output syntax: for history, and for training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgefc.types import OutputSyntax


def write_calls(syntax: OutputSyntax, calls: Sequence[Mapping[str, Any]]) -> str:
    """Calls with arguments as objects, one after the other in the family's syntax."""
    written = (write_call(syntax.call, call, spaced=syntax.spaced) for call in calls)
    return syntax.calls_begin + syntax.calls_separator.join(written) + syntax.calls_end


def write_call(template: str, call: Mapping[str, Any], *, spaced: bool = True) -> str:
    name = _dump(call["name"], spaced=spaced)[1:-1]
    before, _, rest = template.partition("{name}")
    between, _, after = rest.partition("{arguments}")
    return f"{before}{name}{between}{_dump(call['arguments'], spaced=spaced)}{after}"


def write_assistant(syntax: OutputSyntax, message: Mapping[str, Any]) -> str:
    """A canonical assistant message as the model would have said it."""
    content = message.get("content") or ""
    if calls := message.get("tool_calls"):
        before = content + (syntax.calls_preamble or "") if content and syntax.calls_preamble is not None else ""
        return syntax.begin + before + write_calls(syntax, calls) + syntax.end
    if syntax.text is None:
        return str(content)
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

"""Output syntaxes in every form that families use, and tools to call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edgefc.types import OutputSyntax, Tool

CALL = '{"name": "{name}", "arguments": {arguments}}'
HERMES = OutputSyntax(
    call=f"<tool_call>\n{CALL}\n</tool_call>", marker="<tool_call>", calls_separator="\n", calls_preamble="\n"
)
TEMPLATES = OutputSyntax(
    call=CALL,
    calls_begin='{"tool_calls": [',
    calls_separator=", ",
    calls_end="]}",
    text='{"response": {text}}',
    clarify='{"required_functions": {functions}, "clarification": {text}}',
    no_tool='{"no_tool": {text}}',
    begin="```json\n",
    end="\n```",
)
SYNTAXES = {
    "hermes": HERMES,
    "templates": TEMPLATES,
    "array": OutputSyntax(call=CALL, marker='[{"name"', calls_begin="[", calls_separator=", ", calls_end="]"),
    "compact": OutputSyntax(
        call='{"name":"{name}","arguments":{arguments}}',
        marker="[TOOL_CALLS]",
        calls_begin="[TOOL_CALLS][",
        calls_separator=",",
        calls_end="]",
        spaced=False,
    ),
    "functions": OutputSyntax(
        call="<function={name}>{arguments}</function>", marker="<function=", calls_preamble="", parallel=True
    ),
    "one call": OutputSyntax(call=CALL, marker='{"name"', parallel=False),
}


def tool(name: str, **properties: Any) -> Tool:
    schema = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


CITY, UNIT = {"type": "string"}, {"enum": ["celsius", "fahrenheit"]}
TOOLS = [tool("get", city=CITY), tool("get_weather", city=CITY, unit=UNIT), tool("now")]


def written(syntax: OutputSyntax, calls: Sequence[tuple[str, Any]]) -> str:
    """Write calls as a family does."""
    separators = (", ", ": ") if syntax.spaced else (",", ":")
    texts = [
        syntax.call.replace("{name}", name).replace("{arguments}", json.dumps(arguments, separators=separators))
        for name, arguments in calls
    ]
    body = syntax.calls_begin + syntax.calls_separator.join(texts) + syntax.calls_end
    return syntax.begin + body + syntax.end


# Families whose arguments are no JSON, with a text that may stand before a call in two of them.
ENCODINGS = {
    "pythonic": OutputSyntax(
        call="{name}({arguments})",
        calls_begin="[",
        calls_separator=", ",
        calls_end="]",
        forbidden_starts=("[",),
        arguments="pythonic",
    ),
    "tagged": OutputSyntax(
        call="<tool_call>\n<function={name}>\n{arguments}</function>\n</tool_call>",
        marker="<tool_call>",
        calls_separator="\n",
        calls_preamble="\n\n",
        arguments="tagged",
    ),
    "params": OutputSyntax(
        call='<function name="{name}">{arguments}</function>',
        marker="<function name=",
        calls_separator="\n",
        calls_preamble="\n",
        arguments="tagged",
        parameter='<param name="{name}">{value}</param>',
        cdata="<&\n",
        literals="repr",
    ),
    "lines": OutputSyntax(
        call="{name}\n{arguments};",
        calls_begin="<tool_call>",
        marker="<tool_call>",
        calls_separator="\n",
        arguments="tagged",
        parameter="- {name}: {value}†",
        list_separator=" ",
        literals="json",
    ),
    "gemma": OutputSyntax(
        call="<|tool_call>call:{name}{{arguments}}<tool_call|>",
        marker="<|tool_call>",
        calls_preamble="",
        arguments="gemma",
        quote='<|"|>',
    ),
}

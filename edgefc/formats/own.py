"""Chat templates that came with a model.

Where a family's own template is authoritative, it is rendered as transformers would, once it is proven to show the
tools. For models of no family that edgefc knows, the tools are put into the conversation as text, so that no
template drops them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgefc.errors import FormatError
from edgefc.formats.family import Family, one_call_a_turn
from edgefc.formats.templates import Template
from edgefc.formats.write import write_assistant

_PROBE_TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "probe_tool",
            "description": "Probe description",
            "parameters": {
                "type": "object",
                "properties": {"probe_parameter": {"type": "string", "description": "Probe value"}},
                "required": ["probe_parameter"],
            },
        },
    }
]
# What templates take for "there are no tools": most None, some an empty list.
_NO_TOOLS: tuple[list[Any] | None, ...] = (None, [])
_PROBE_CALL = {
    "id": "probecall",
    "name": "probe_tool",
    "arguments": {"probe_parameter": "probe value"},
    "arguments_text": '{"probe_parameter": "probe value"}',
    "is_code": False,
}
_PROBE_QUESTION: list[dict[str, Any]] = [{"role": "user", "content": "Probe question"}]
_PROBE_HISTORY: list[dict[str, Any]] = [
    *_PROBE_QUESTION,
    {"role": "assistant", "content": "", "tool_calls": [_PROBE_CALL]},
    {"role": "tool", "name": "probe_tool", "content": "probe result", "id": "probecall"},
]


def with_own_template(family: Family, source: str, *, eos: str = "") -> Family:
    """The family with a model's own template instead of the built-in one.

    Raises FormatError when the template does not show tools, calls or results as they must be.
    """
    template = Template(f"{family.name} (the model's own)", source, {}, is_foreign=True)
    made = replace(family, template=template, bos="always" if "bos_token" in source else family.bos)
    wanted = ("probe_tool", "probe_parameter", "Probe question", "probe result")
    reason = ""
    for as_text, no_tools in itertools.product((False, True), _NO_TOOLS):
        adapted = replace(made, adapt=_transformers(family, eos, as_text=as_text, no_tools=no_tools))
        try:
            shown = _probe(adapted, _PROBE_HISTORY, _PROBE_TOOLS)
            _probe(adapted, _PROBE_QUESTION, None)
        except FormatError as error:
            reason = reason or error.reason
            continue
        if missing := [text for text in wanted if text not in shown]:
            raise FormatError(f"the model's chat template drops the tools: {missing[0]!r} is not in the prompt")
        if '"probe_parameter": "probe value"' in shown or '"probe_parameter":"probe value"' in shown:
            return adapted
        reason = reason or "the model's chat template does not write arguments as JSON"
    raise FormatError(reason)


def generic(family: Family, source: str, *, eos: str = "") -> Family:
    """The last-resort family on a template that knows nothing of tools, or spells calls in an unknown way.

    Raises FormatError when not even a plain question can be rendered.
    """
    template = Template("generic (the model's own)", source, {}, is_foreign=True)
    bos = "always" if "bos_token" in source else family.bos
    # The declared stop is the built-in template's; this one's turns end as the vocabulary says.
    made = replace(family, template=template, bos=bos, stop=family.stop if family.stop[0] in source else ())
    reason = ""
    for folded, no_tools in itertools.product((False, True), _NO_TOOLS):
        adapted = replace(made, adapt=_as_text(family, eos, folded=folded, no_tools=no_tools))
        try:
            shown = _probe(adapted, _PROBE_HISTORY, _PROBE_TOOLS)
        except FormatError as error:
            reason = error.reason
            continue
        if all(text in shown for text in ("probe_tool", "probe_parameter", "Probe question", "probe result")):
            return adapted
        reason = "the model's chat template drops messages"
    raise FormatError(reason, "Name the chat format with --family.")


def _probe(family: Family, conversation: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
    assert family.adapt is not None
    return family.template.render(**family.adapt(conversation, tools), add_generation_prompt=True)


def _variables(messages: list[dict[str, Any]], tools: Any, eos: str) -> dict[str, Any]:
    # BOS is the tokenizer's business: rendered here as well, it would stand twice.
    return {"messages": messages, "tools": tools, "bos_token": "", "eos_token": eos}


def _transformers(family: Family, eos: str, *, as_text: bool, no_tools: list[Any] | None) -> Any:
    """Conversations as transformers gives them to templates; `as_text` gives arguments as JSON text.

    `no_tools` is what the template is given instead of tools.
    """

    def adapt(conversation: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> dict[str, Any]:
        turns = conversation if family.syntax.parallel else one_call_a_turn(conversation)
        return _variables([_plain(message, as_text=as_text) for message in turns], tools or no_tools, eos)

    return adapt


def _plain(message: Mapping[str, Any], *, as_text: bool) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message["role"], "content": message["content"]}
    if "reasoning_content" in message:
        plain["reasoning_content"] = message["reasoning_content"]
    if message["role"] == "tool":
        plain |= {"name": message["name"], "tool_call_id": message["id"]}
    if calls := message.get("tool_calls"):
        plain["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {
                    "name": call["name"],
                    "arguments": call["arguments_text"] if as_text else call["arguments"],
                },
            }
            for call in calls
        ]
    return plain


def _as_text(family: Family, eos: str, *, folded: bool, no_tools: list[Any] | None) -> Any:
    """Tools, calls and results as text of system, assistant and user; `folded` puts the first into the last.

    `no_tools` is what the template is given instead of tools.
    """
    instructions = Template("generic", "{% set listed = tools %}{% include 'hermes_tools.jinja' %}", {})

    def adapt(conversation: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> dict[str, Any]:
        messages: list[dict[str, Any]] = []
        is_result = False
        for message in conversation:
            role, content = message["role"], message["content"]
            if role == "assistant":
                content = write_assistant(family.history, message)
            elif role == "tool":
                content = f"<tool_response>\n{content}\n</tool_response>"
                if is_result:
                    messages[-1]["content"] += f"\n{content}"
                    continue
                role = "user"
            is_result = message["role"] == "tool"
            messages.append({"role": role, "content": content})
        head = [instructions.render(tools=tools)] if tools else []
        if messages[0]["role"] == "system" and (head or folded):
            head.insert(0, messages.pop(0)["content"])
        text = "\n\n".join(head)
        if head and folded and messages and messages[0]["role"] == "user":
            messages[0] = {"role": "user", "content": f"{text}\n\n{messages[0]['content']}"}
        elif head:
            messages.insert(0, {"role": "user" if folded else "system", "content": text})
        return _variables(messages, no_tools, eos)

    return adapt

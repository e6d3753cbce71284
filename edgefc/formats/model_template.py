"""Chat templates that come inside a model file.

Where a family's own template is authoritative, it is rendered as transformers would, after a probe conversation has
proven that it shows the tools. For models of unknown families, the tools are put into the conversation as text, so
that no template drops them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgefc.errors import FormatError
from edgefc.formats.encodings import write_arguments
from edgefc.formats.family import Family, TemplateVariables
from edgefc.formats.filters import one_call_a_turn
from edgefc.formats.strict_turns import Rule, apply, find_rules
from edgefc.formats.templates import CostError, Template
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
_PROBE_TEXTS = ("probe_tool", "probe_parameter", "Probe question", "probe result")
# Values of `tools` that mean "there are no tools": None for most templates, an empty list for some.
_NO_TOOLS: tuple[list[Any] | None, ...] = (None, [])


def with_model_template(family: Family, source: str, *, eos: str = "") -> Family:
    """Return the family with a model's own template instead of the built-in one.

    Raises FormatError when the template does not show tools, calls and results in full.
    """
    template = Template(f"{family.name} (the model's own)", source, {}, is_foreign=True)
    candidate = replace(family, template=template, bos="always" if "bos_token" in source else family.bos)
    reason = ""
    for as_text, no_tools in itertools.product((False, True), _NO_TOOLS):
        adapted = replace(candidate, adapt=_as_transformers(family, eos, as_text=as_text, no_tools=no_tools))
        try:
            prompt = _render_probe(adapted, _PROBE_HISTORY, _PROBE_TOOLS)
            _render_probe(adapted, _PROBE_QUESTION, None)
        except CostError:
            raise
        except FormatError as error:
            reason = reason or error.reason
            continue
        if missing := [text for text in _PROBE_TEXTS if text not in prompt]:
            raise FormatError(f"the model's chat template drops the tools: {missing[0]!r} is not in the prompt")
        if any(text in prompt for text in _spelled_arguments(family)):
            adapted = replace(adapted, opens_thoughts=_opened_thoughts(adapted))
            return replace(adapted, turn_rules=_turn_rules(adapted))
        encoding = "JSON" if family.syntax.arguments == "json" else f"{family.name} models do"
        reason = reason or f"the model's chat template does not write arguments as {encoding}"
    raise FormatError(reason)


def _spelled_arguments(family: Family) -> tuple[str, ...]:
    """Return the spellings of the probe's arguments."""
    if family.syntax.arguments == "json":
        return '"probe_parameter": "probe value"', '"probe_parameter":"probe value"'
    text = write_arguments(family.syntax, {"probe_parameter": "probe value"})
    return (text, text.replace("'", '"')) if family.syntax.arguments == "pythonic" else (text,)


def _opened_thoughts(family: Family) -> frozenset[bool | None]:
    """Return the values of `thinking` with which a template begins the thoughts."""
    begin = family.syntax.think_begin.strip()
    if not begin:
        return frozenset()
    values: dict[bool | None, dict[str, bool]] = {None: {}, True: {"enable_thinking": True}}
    prompts = {value: _render_probe(family, _PROBE_QUESTION, None, extra=extra) for value, extra in values.items()}
    return frozenset(value for value, prompt in prompts.items() if prompt.rstrip().endswith(begin))


def _turn_rules(family: Family) -> tuple[Rule, ...]:
    """Return the rules for turns with which a template shows every conversation, with tools and without."""

    def is_whole(turns: list[dict[str, Any]], rules: Sequence[Rule]) -> bool:
        has_calls = any(turn["role"] == "tool" for turn in turns)
        for tools in (_PROBE_TOOLS,) if has_calls else (None, _PROBE_TOOLS):
            try:
                prompt = _render_probe(family, turns, tools, rules)
            except CostError:
                raise
            except FormatError:
                return False
            if any(turn["content"] not in prompt for turn in turns):
                return False
        return True

    return find_rules(_PROBE_HISTORY[1], _PROBE_HISTORY[2], is_whole)


def with_tools_as_text(family: Family, source: str, *, eos: str = "") -> Family:
    """Return a family with instructions of its own on a template that ignores tools, or spells calls in another way.

    Raises FormatError when not even a plain question can be rendered.
    """
    template = Template(f"{family.name} (the model's own)", source, {}, is_foreign=True)
    bos = "always" if "bos_token" in source else family.bos
    # The declared stop belongs to the built-in template; turns of another one end as the vocabulary says.
    candidate = replace(family, template=template, bos=bos, stop=family.stop if family.stop[0] in source else ())
    reason = ""
    for in_question, no_tools in itertools.product((False, True), _NO_TOOLS):
        adapted = replace(candidate, adapt=_as_plain_turns(family, eos, in_question=in_question, no_tools=no_tools))
        try:
            prompt = _render_probe(adapted, _PROBE_HISTORY, _PROBE_TOOLS)
        except CostError:
            raise
        except FormatError as error:
            reason = error.reason
            continue
        if all(text in prompt for text in _PROBE_TEXTS):
            return replace(adapted, turn_rules=_turn_rules(adapted))
        reason = "the model's chat template drops messages"
    raise FormatError(reason, "Name the chat format with --family.")


def _render_probe(
    family: Family,
    conversation: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    rules: Sequence[Rule] = (),
    extra: Mapping[str, bool] | None = None,
) -> str:
    assert family.adapt is not None
    content = family.adapt(conversation, tools)
    content["messages"] = apply(rules, content["messages"])
    return family.template.render(**content, add_generation_prompt=True, **(extra or {}))


def _variables(messages: list[dict[str, Any]], tools: Any, eos: str) -> dict[str, Any]:
    # The tokenizer adds the BOS token: if the template wrote it too, it would stand twice.
    return {"messages": messages, "tools": tools, "bos_token": "", "eos_token": eos}


def _as_transformers(family: Family, eos: str, *, as_text: bool, no_tools: list[Any] | None) -> TemplateVariables:
    """Return a function that prepares conversations for templates as transformers does.

    as_text   arguments are JSON text; False: they are objects
    no_tools  the value of `tools` when there are none
    """

    def adapt(conversation: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> dict[str, Any]:
        turns = conversation if family.syntax.parallel else one_call_a_turn(conversation)
        return _variables([wire_message(message, as_text=as_text) for message in turns], tools or no_tools, eos)

    return adapt


def wire_message(message: Mapping[str, Any], *, as_text: bool) -> dict[str, Any]:
    """Return a canonical message in OpenAI's form."""
    wire: dict[str, Any] = {"role": message["role"], "content": message["content"]}
    if "reasoning_content" in message:
        wire["reasoning_content"] = message["reasoning_content"]
    if message["role"] == "tool":
        wire |= {"name": message["name"], "tool_call_id": message["id"]}
    if calls := message.get("tool_calls"):
        wire["tool_calls"] = [
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
    return wire


def _as_plain_turns(family: Family, eos: str, *, in_question: bool, no_tools: list[Any] | None) -> TemplateVariables:
    """Return a function that writes tools, calls and results as text of system, assistant and user.

    in_question  the system message and the tools go into the first user message; False: into a system message
    no_tools     the value of `tools`, which the template never gets
    """
    source = f"{{% set listed = tools %}}{{% include {family.prompt['instructions']!r} %}}"
    instructions = Template(family.name, source, {})

    def adapt(conversation: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> dict[str, Any]:
        messages = _plain_turns(family, conversation)
        head = [instructions.render(tools=tools)] if tools else []
        if messages[0]["role"] == "system" and (head or in_question):
            head.insert(0, messages.pop(0)["content"])
        text = "\n\n".join(head)
        if head and in_question and messages and messages[0]["role"] == "user":
            messages[0] = {"role": "user", "content": f"{text}\n\n{messages[0]['content']}"}
        elif head:
            messages.insert(0, {"role": "user" if in_question else "system", "content": text})
        return _variables(messages, no_tools, eos)

    return adapt


def _plain_turns(family: Family, conversation: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write calls as text of the assistant, and all results of one turn as one message of the user."""
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
    return messages

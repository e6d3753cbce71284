"""Calls of a probe as a model's chat template writes them, taken apart into the spelling of calls."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgefc.errors import FormatError
from edgefc.formats.encodings import write_arguments
from edgefc.formats.model_template import wire_message
from edgefc.formats.templates import CostError, Template
from edgefc.types import OutputSyntax

_QUESTION, _TEXT, _THOUGHTS, _RESULT = "Probe question", "Probe text", "Probe thoughts", "Probe result"
_NAMES, _IDS = ("probe_one", "probe_two"), ("probecal1", "probecal2")
_ARGUMENTS = {"first_key": "probe value", "second_key": "other value"}
_PROPERTIES = {key: {"type": "string", "description": key} for key in _ARGUMENTS}
_TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Probe",
            "parameters": {"type": "object", "properties": _PROPERTIES, "required": list(_ARGUMENTS)},
        },
    }
    for name in _NAMES
]


@dataclass(frozen=True, slots=True)
class RenderedCalls:
    """One call as the template writes it, and what follows from it.

    text    the answer with the call, and the end of its turn
    values  the texts of named parts in it; "": of any other than the name
    syntax  keys of a declaration's section `calls`
    """

    text: str
    values: Mapping[str, str]
    syntax: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CallProbe:
    """Renders calls with a chat template, and takes them apart.

    eos        the text of the end-of-sequence token
    stop       texts that end an answer
    close      texts that end a call, for templates that write nothing between an answer and a result
    think_end  the end of thoughts; "": there are none
    as_text    the template gets arguments as JSON text; False: as objects
    """

    template: Template
    eos: str
    stop: Sequence[str]
    close: Sequence[str]
    think_end: str
    as_text: bool

    def render(self, encodings: Sequence[Mapping[str, str]]) -> RenderedCalls:
        """Return a call, and its spelling in one of these encodings. Raises FormatError if the template shows none."""
        one, end = self._answer(1)
        found = next((found for encoding in encodings if (found := _spelled(encoding, one)) is not None), None)
        if found is None:
            raise FormatError("its arguments are not where the model's chat template writes them")
        arguments, extra = found
        before, _, rest = one.partition(_NAMES[0])
        between, has_arguments, after = rest.partition(arguments)
        if not has_arguments or not between:
            raise FormatError("the model's chat template does not write a name and arguments after it")
        before = before.lstrip()
        syntax = _split(before, between, after, self._middle(arguments))
        beginning = re.escape(f"{before}{_NAMES[0]}")
        with_text = re.search(f"{_TEXT}(\\s*){beginning}", self._answer_or_nothing(1, _TEXT))
        syntax |= {"preamble": with_text[1] if with_text else None, **extra}
        return RenderedCalls(f"{one}{end}", {"name": _NAMES[0], "": _IDS[0]}, syntax)

    def _middle(self, arguments: str) -> str | None:
        """Return the text between the arguments of a call and the name of the next; None: there is only one call."""
        _, has_first, rest = self._answer_or_nothing(2).partition(arguments)
        middle, has_second, _ = rest.partition(_NAMES[1])
        return middle.replace(_IDS[0], "{id}") if has_first and has_second else None

    def _answer_or_nothing(self, n_calls: int, text: str = "") -> str:
        try:
            return self._answer(n_calls, text)[0]
        except CostError:
            raise
        except FormatError:
            return ""

    def _answer(self, n_calls: int, text: str = "") -> tuple[str, str]:
        """Return an answer with calls, without thoughts in front, and the text that ends its turn."""
        answer = self._written(n_calls, text)
        name = answer.find(_NAMES[0])
        ends = sorted((index, token) for token in self.stop if (index := answer.find(token, name)) >= 0)
        if not ends:
            result = answer.find(_RESULT, name)
            ends = [(index + len(t), "") for t in self.close if (index := answer.rfind(t, name, result)) >= 0]
        if name < 0 or not ends:
            raise FormatError("the model's chat template does not show calls, or no end of the answer")
        position, token = ends[0]
        begin = answer.rfind(self.think_end, 0, name) if self.think_end else -1
        return answer[begin + len(self.think_end) if begin >= 0 else 0 : position], token

    def _written(self, n_calls: int, text: str) -> str:
        """Return what the template writes after the question: an answer with calls, and their results."""
        calls = [
            {"id": call_id, "name": name, "arguments": _ARGUMENTS, "arguments_text": json.dumps(_ARGUMENTS)}
            for name, call_id in zip(_NAMES, _IDS, strict=True)
        ][:n_calls]
        conversation: list[dict[str, Any]] = [
            {"role": "user", "content": _QUESTION},
            {"role": "assistant", "content": text, "tool_calls": calls},
            *({"role": "tool", "name": call["name"], "id": call["id"], "content": _RESULT} for call in calls),
        ]
        messages = [wire_message(message, as_text=self.as_text) for message in conversation]
        prompt = _prompt(self.template, self.eos, messages, _TOOLS)
        # The prompt of a question and that of a plain answer: either may end in text that the calls have by chance.
        plain = _prompt(self.template, self.eos, [messages[0], {"role": "assistant", "content": _TEXT}], _TOOLS)
        question = _prompt(self.template, self.eos, messages[:1], _TOOLS, add_generation_prompt=True)
        begin = min(len(_common_beginning(prompt, other)) for other in (plain.partition(_TEXT)[0], question))
        return prompt[max(begin, prompt.rfind(_QUESTION)) :]


def render_thoughts(template: Template, eos: str, begin: str, end: str) -> tuple[str, str]:
    """Return begin and end of thoughts, with the white space around them where the template shows thoughts."""
    thinking = {"role": "assistant", "content": _TEXT, "reasoning_content": _THOUGHTS, "thinking": _THOUGHTS}
    try:
        prompt = _prompt(template, eos, [{"role": "user", "content": _QUESTION}, thinking], None)
    except CostError:
        raise
    except FormatError:
        return begin, end
    found = re.search(f"{re.escape(begin)}(\\s*){_THOUGHTS}(\\s*){re.escape(end)}(\\s*){_TEXT}", prompt)
    return (begin + found[1], found[2] + end + found[3]) if found else (begin, end)


def _split(before: str, between: str, after: str, middle: str | None) -> dict[str, Any]:
    """Return begin, each, separator and end of calls.

    before, between, after  a single call, around its name and its arguments
    middle                  from the arguments of a call to the name of the next
    """
    between, after = (text.replace(_IDS[0], "{id}") for text in (between, after))
    if _IDS[0] in before:
        raise FormatError("unsupported: an id before the name of a call")
    if middle is None:
        call = f"{before}{{name}}{between}{{arguments}}{after.rstrip()}"
        return {"begin": "", "each": call, "separator": "", "end": "", "parallel": False}
    tail = _common_beginning(after, middle)
    rest = middle[len(tail) :]
    head = _common_beginning(before[::-1], rest[::-1])[::-1]
    begin, separator, end = before[: len(before) - len(head)], rest[: len(rest) - len(head)], after[len(tail) :]
    if not head.strip() and not begin.strip():
        raise FormatError("calls begin with their name: nothing tells them from text")
    if not end.strip():  # white space behind the last call is part of the turn's end
        end = ""
    return {
        "begin": begin, "each": f"{head}{{name}}{between}{{arguments}}{tail}", "separator": separator, "end": end
    }  # fmt: skip


def _common_beginning(text: str, other: str) -> str:
    size = next((index for index, pair in enumerate(zip(text, other, strict=False)) if len(set(pair)) > 1), None)
    return min(text, other, key=len) if size is None else text[:size]


def _spelled(encoding: Mapping[str, str], text: str) -> tuple[str, dict[str, Any]] | None:
    """Return the probe's arguments as they stand in a text, and the keys of the encoding; None: they do not."""
    kind = encoding["arguments"]
    if kind == "tagged":
        return _tagged(encoding["head"], text)
    for spaced in (True, False):
        syntax = OutputSyntax("{name}{arguments}", arguments=kind, quote=encoding.get("quote", ""), spaced=spaced)  # type: ignore[arg-type]
        written = write_arguments(syntax, _ARGUMENTS)
        for variant in (written, written.replace("'", '"') if kind == "pythonic" else written):
            if variant in text:
                return variant, {**encoding, **({} if spaced else {"spaced": False})}
    return None


def _tagged(head: str, text: str) -> tuple[str, dict[str, Any]] | None:
    """Return arguments in tags, and the template of one parameter."""
    (first, value), (second, other) = _ARGUMENTS.items()
    begin = text.find(f"{head}{first}")
    again = text.find(f"{head}{second}", begin)
    if begin < 0 or again < 0:
        return None
    one = text[begin:again]
    two = one.replace(first, second).replace(value, other)
    if value not in one or not text.startswith(two, again):
        return None
    parameter = one.replace(first, "{name}", 1).replace(value, "{value}", 1)
    return one + two, {"arguments": "tagged", "parameter": parameter}


def _prompt(
    template: Template,
    eos: str,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    *,
    add_generation_prompt: bool = False,
) -> str:
    return template.render(
        messages=messages, tools=tools, bos_token="", eos_token=eos, add_generation_prompt=add_generation_prompt
    )

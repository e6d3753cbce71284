"""The `response_template` of `tokenizer_config.json`: how a model that no family declares spells its calls.

Since transformers 5.13 that file can say which text begins and ends thoughts and calls, and how arguments are encoded.
The model's own chat template then writes a probe's calls, and what it writes around names and arguments is the spelling
byte for byte. Source of the format: transformers' page on response parsing, and its `utils/chat_parsing`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefc.errors import FormatError
from edgefc.formats.family import CONTROL_TOKEN, Family, parse_declaration
from edgefc.formats.linear_patterns import Form, literals, read_pattern, squeezed, without_space
from edgefc.formats.model_template import with_model_template
from edgefc.formats.probe_calls import CallProbe, RenderedCalls, render_thoughts
from edgefc.formats.templates import CostError, Template

NAME = "response-template"
CONFIG = "tokenizer_config.json"
MAX_CONFIG = 16 << 20  # bytes
_THOUGHTS = ("reasoning_content", "thinking", "reasoning")
_CONTENTS = ("json", "xml-inline", "python-call-list")


def read_beside(model: Path) -> Mapping[str, Any] | None:
    """Return the response template of the tokenizer_config.json beside a model file; None: there is none."""
    path = model.with_name(CONFIG)
    try:
        if path.stat().st_size > MAX_CONFIG:
            return None
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    found = config.get("response_template") if isinstance(config, dict) else None
    return found if isinstance(found, dict) else None


def family_from(spec: Mapping[str, Any], chat_template: str, *, eos: str = "") -> Family:
    """Return the family that a response template and a chat template declare together.

    Raises FormatError when they contradict each other, or spell calls in a way that edgefc has no encoding for.
    """
    fields = _fields(spec)
    calls = _field(fields, "tool_calls")
    if calls is None:
        raise FormatError("its fields have no tool_calls")
    if calls.content not in _CONTENTS:
        raise FormatError(f"unsupported content {calls.content!r} of tool_calls", f"Known are {', '.join(_CONTENTS)}.")
    stop = _stop(fields, eos)
    template = Template(f"{NAME} (the model's own)", chat_template, {}, is_foreign=True)
    close = [texts[-1] for form in calls.closes if (texts := literals(form))]
    thinking = _thinking(fields, template, eos)
    reason = ""
    for as_text in (False, True):
        probe = CallProbe(template, eos, stop, close, thinking.get("end", "").strip(), as_text)
        try:
            rendered = probe.render(calls.encodings)
            _check(calls, rendered)
            declared = {**_declaration(calls, rendered, stop), **({"thinking": thinking} if thinking else {})}
            return with_model_template(parse_declaration(NAME, declared, ""), chat_template, eos=eos)
        except CostError:
            raise
        except FormatError as error:
            reason = reason or error.reason
    raise FormatError(reason)


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of the template: its begin and end, and how its content is encoded."""

    opens: list[Form]
    closes: list[Form]
    content: str
    args: Mapping[str, Any]

    @property
    def encodings(self) -> list[dict[str, str]]:
        """Encodings of arguments that the content may have, as keys of a declaration."""
        if self.content == "python-call-list":
            return [{"arguments": "pythonic"}]
        if self.content == "json":
            delimiters = self.args.get("string_delims")
            return [{"arguments": "gemma", "quote": _quote(delimiters)}] if delimiters else [{"arguments": "json"}]
        pattern = self.args.get("tag_pattern")
        forms = read_pattern(pattern) if isinstance(pattern, str) and "<" in pattern else []
        heads = [form[0] for form in forms if form and literals(form[:1])]
        return [{"arguments": "tagged", "head": head} for head in heads] or [{"arguments": "pythonic"}]


def _quote(delimiters: Any) -> str:
    match delimiters:
        case [[str(begin), str(end)]] if begin == end and begin:
            return begin
    raise FormatError("unsupported string_delims of tool_calls: one delimiter, on both sides, is supported")


def _fields(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    version, fields = spec.get("version", 1), spec.get("fields")
    if version != 1:
        raise FormatError(f"unknown version {version!r}")
    if not isinstance(fields, dict) or not all(isinstance(field, dict) for field in fields.values()):
        raise FormatError("its fields must be objects")
    return fields


def _field(fields: Mapping[str, Any], *names: str) -> _Field | None:
    """Return the first of the fields that is there. Raises FormatError for patterns that cannot be read."""
    field = next((fields[name] for name in names if name in fields), None)
    if field is None:
        return None
    args = field.get("content_args")
    args = args if isinstance(args, dict) else {}
    return _Field(_anchor(field, "open"), _anchor(field, "close"), str(field.get("content", "text")), args)


def _anchor(field: Mapping[str, Any], key: str) -> list[Form]:
    """Return the forms of a text that begins or ends a field; none: it has no such text."""
    texts, pattern = field.get(key), field.get(f"{key}_pattern")
    if isinstance(pattern, str):
        return read_pattern(pattern)
    found = [texts] if isinstance(texts, str) else texts or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise FormatError(f"{key} must be a text or a list of texts")
    return [(text,) for text in found]


def _stop(fields: Mapping[str, Any], eos: str) -> tuple[str, ...]:
    """Return the texts that end an answer: those that end its content, without line breaks."""
    content = _field(fields, "content")
    if content is not None and any(literals(form) for form in content.opens):
        raise FormatError("unsupported: text in a channel of its own")
    ends = content.closes if content is not None else []
    texts = ["".join(literals(form)).strip() for form in ends]
    return tuple(dict.fromkeys(text for text in (*texts, eos) if text))


def _check(calls: _Field, rendered: RenderedCalls) -> None:
    """Raise FormatError if the chat template's calls are not where the response template looks for them."""
    text = without_space(rendered.text)
    opens, closes = (
        [squeezed(form, rendered.values) for form in forms if literals(form)] for forms in (calls.opens, calls.closes)
    )
    if not text.startswith(tuple(opens)):
        raise FormatError("calls begin in another way than the model's chat template writes them")
    if calls.closes and not any(close in text for close in closes):
        raise FormatError("calls end in another way than the model's chat template writes them")


def _declaration(calls: _Field, rendered: RenderedCalls, stop: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the declaration of a family, as chat_formats has them."""
    declared = {key: value for key, value in rendered.syntax.items() if value is not None}
    intro = f"{declared['begin']}{declared['each']}".partition("{name}")[0]
    heads = [literals(form)[0].strip() for form in calls.opens if literals(form)]
    marker = next((head for head in heads if head and intro.startswith(head)), "") or intro.strip()
    if (token := CONTROL_TOKEN.match(marker)) is not None:
        marker = token[0]
    if not marker or not intro.startswith(marker):
        raise FormatError("calls begin with their name: nothing tells them from text")
    if declared["each"].startswith("\n"):
        declared["each"] = f"\n{declared['each']}"
    prompt = {"template": f"{NAME}.jinja", "own": True, "stop": list(stop), "bos": "vocabulary"}
    if "{id}" in declared["each"]:
        prompt["ids"] = "nine"
    return {"prompt": prompt, "calls": {**declared, "marker": marker}}


def _thinking(fields: Mapping[str, Any], template: Template, eos: str) -> dict[str, str]:
    """Return the thoughts' begin and end, with the white space of the chat template where it shows thoughts."""
    thoughts = _field(fields, *_THOUGHTS)
    if thoughts is None:
        return {}
    ends = [text for form in thoughts.closes for text in literals(form) if text.strip()]
    begins = [text for form in thoughts.opens for text in literals(form) if text.strip()]
    if not ends:
        raise FormatError("thoughts without an end")
    # Where the prompt begins the thoughts, the field has no begin of its own.
    begin, end = (begins or [ends[0].replace("</", "<", 1)])[0], ends[0]
    if begin == end:
        raise FormatError("thoughts that begin as they end")
    begin, end = render_thoughts(template, eos, begin.strip(), end.strip())
    return {"begin": begin, "end": end}

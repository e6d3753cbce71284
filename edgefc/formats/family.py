"""A family: one declaration in `chat_formats/` from which prompt, grammar, parser and history are derived."""

from __future__ import annotations

import difflib
import functools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgefc import resources
from edgefc.errors import FormatError, RequestError
from edgefc.formats.canonical import canonical
from edgefc.formats.parse import StreamParser
from edgefc.formats.render import Prompt, render_prompt
from edgefc.formats.templates import Template
from edgefc.formats.write import write_assistant
from edgefc.types import Messages, OutputSyntax, Tools

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What a declaration may say: section → key → type.
_KEYS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "match": {"template": list, "name": list},
    "prompt": {"template": str, "stop": list, "bos": bool, "history_calls": str, "tool_response": str},
    "calls": {
        "begin": str, "each": str, "separator": str, "end": str, "marker": str, "preamble": str, "spaced": bool,
        "parallel": bool,
    },
    "text": {"begin": str, "end": str, "answer": str, "clarify": str, "no_tool": str},
    "sampling": {"temperature": (int, float), "top_p": (int, float), "top_k": int, "min_p": (int, float)},
}  # fmt: skip
_TOOL_RESPONSES = ("plain", "named")


@dataclass(frozen=True, slots=True)
class Family:
    """One family of models.

    syntax    how it spells answers
    history   how past answers are written in its prompts; nearly always `syntax` again
    sampling  what its authors recommend
    stop      texts of the tokens that end its turn
    bos       whether a begin-of-sequence token stands before the prompt
    """

    name: str
    description: str
    syntax: OutputSyntax
    history: OutputSyntax
    sampling: Mapping[str, float]
    stop: tuple[str, ...]
    bos: bool
    match_template: tuple[str, ...]
    match_name: tuple[str, ...]
    template: Template

    def render(
        self,
        messages: Messages,
        tools: Tools = (),
        *,
        add_generation_prompt: bool = True,
        special_tokens: frozenset[str] = frozenset(),
    ) -> Prompt:
        """The prompt for a conversation; `special_tokens` are what content must not turn into.

        Raises RequestError for a malformed conversation and FormatError when the template refuses it.
        """
        try:
            json.dumps(list(tools), ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestError("tools", f"cannot be written as JSON: {error}") from None
        # BOS is the tokenizer's business: rendered here as well, it would stand twice.
        return render_prompt(
            self.template,
            canonical(messages),
            list(tools),
            special_tokens,
            add_generation_prompt=add_generation_prompt,
            bos_token="",
        )

    def parser(self, tools: Tools = ()) -> StreamParser:  # noqa: ARG002 - families with typed arguments will need them
        """A parser for one answer."""
        return StreamParser(self.syntax)


def family_names() -> list[str]:
    """All families there are, sorted."""
    folder = resources.root() / "chat_formats"
    return sorted(path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml"))


@functools.lru_cache(maxsize=64)
def load_family(name: str) -> Family:
    """The family of this name. Raises FormatError when there is none, or its declaration is wrong."""
    names = family_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(names)}."
        raise FormatError(f"unknown chat format {name!r}", hint)
    folder = resources.root() / "chat_formats"
    try:
        declared = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"chat_formats/{name}.toml: {error}") from None
    _check(name, declared)
    template = folder / declared["prompt"]["template"]
    try:
        source = template.read_text(encoding="utf-8")
    except OSError as error:
        raise FormatError(f"chat_formats/{name}.toml: prompt.template {template.name}: {error.strerror}") from None
    return parse_declaration(name, declared, source)


def parse_declaration(name: str, declared: Mapping[str, Any], template: str) -> Family:
    """A family from its declaration and template source. Raises FormatError naming the key that is wrong."""
    _check(name, declared)
    match, prompt, calls = (declared.get(section, {}) for section in ("match", "prompt", "calls"))
    text, sampling = declared.get("text", {}), declared.get("sampling", {})
    if "answer" not in text and not calls.get("marker"):
        raise FormatError(f"chat_formats/{name}.toml: calls.marker is needed where text is free, to tell calls from it")
    syntax = OutputSyntax(
        call=calls["each"].removeprefix("\n"),
        marker=calls.get("marker", ""),
        calls_begin=calls.get("begin", ""),
        calls_separator=calls.get("separator", ""),
        calls_end=calls.get("end", ""),
        calls_preamble=calls.get("preamble"),
        text=text.get("answer"),
        clarify=text.get("clarify"),
        no_tool=text.get("no_tool"),
        begin=text.get("begin", ""),
        end=text.get("end", ""),
        spaced=calls.get("spaced", True),
        parallel=calls.get("parallel", True),
    )
    if syntax.call.count("{name}") != 1 or syntax.call.count("{arguments}") != 1:
        raise FormatError(f"chat_formats/{name}.toml: calls.each must contain {{name}} and {{arguments}} once")
    history = syntax
    if "history_calls" in prompt:
        history = OutputSyntax(
            call=prompt["history_calls"].removeprefix("\n"), calls_separator="\n", calls_preamble="\n", marker="<"
        )
    filters = {
        "assistant_text": lambda message: write_assistant(history, message),
        "tool_response": _tool_response if prompt.get("tool_response") == "named" else lambda m: m["content"],
    }
    return Family(
        name=name,
        description=declared.get("description", ""),
        syntax=syntax,
        history=history,
        sampling=dict(sampling),
        stop=tuple(prompt.get("stop", ())),
        bos=prompt.get("bos", False),
        match_template=tuple(match.get("template", ())),
        match_name=tuple(match.get("name", ())),
        template=Template(name, template, filters),
    )


def _tool_response(message: Mapping[str, Any]) -> str:
    return json.dumps({"name": message["name"], "result": message["content"]})


def _check(name: str, declared: Mapping[str, Any]) -> None:
    place = f"chat_formats/{name}.toml"
    for section, values in declared.items():
        if section == "description" and isinstance(values, str):
            continue
        if section not in _KEYS or not isinstance(values, dict):
            raise FormatError(f"{place}: unknown section {section!r}", f"Sections are {', '.join(_KEYS)}.")
        for key, value in values.items():
            wanted = _KEYS[section].get(key)
            if wanted is None:
                raise FormatError(f"{place}: unknown key {section}.{key}", f"Keys are {', '.join(_KEYS[section])}.")
            if not isinstance(value, wanted) or (wanted is not bool and isinstance(value, bool)):
                raise FormatError(f"{place}: {section}.{key} has the wrong type")
            if isinstance(value, list) and not all(isinstance(item, str) for item in value):
                raise FormatError(f"{place}: {section}.{key} must be a list of strings")
    for section, key in (("prompt", "template"), ("calls", "each")):
        if key not in declared.get(section, {}):
            raise FormatError(f"{place}: {section}.{key} is missing")
    if declared["prompt"].get("tool_response", "plain") not in _TOOL_RESPONSES:
        raise FormatError(f"{place}: prompt.tool_response is one of {', '.join(_TOOL_RESPONSES)}")

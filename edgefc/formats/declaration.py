"""A family's declaration, `chat_formats/NAME.toml`: its legal keys, and the output syntax it describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgefc.errors import FormatError
from edgefc.formats.spellings import load_spellings
from edgefc.types import PARAMETER, OutputSyntax

# Section → key → type. A tuple of strings lists the legal values.
KEYS: dict[str, dict[str, type | tuple[type, ...] | tuple[str, ...]]] = {
    "match": {"template": list, "name": list, "also": list},
    "prompt": {
        "template": str, "instructions": str, "results": str, "dialect": str, "stop": list, "own": bool,
        "bos": ("never", "always", "vocabulary"),
        "tools": ("all", "named"), "when_none": ("omit", "keep"), "arguments": ("object", "verbatim"),
        "tool_response": ("plain", "named"), "ids": ("openai", "nine"), "turns": list,
        "history_begin": str, "history_calls": str, "history_separator": str, "history_end": str,
    },
    "calls": {
        "begin": str, "each": str, "also": list, "separator": str, "end": str, "lead": str, "marker": str,
        "preamble": str, "code": str, "spaced": bool, "parallel": bool, "spellings": list,
        "arguments": ("json", "pythonic", "tagged", "gemma"), "quote": str, "parameter": str, "cdata": str,
        "list_separator": str, "literals": ("python", "json", "repr"), "bias": (int, float),
    },
    "text": {
        "begin": str, "before_calls": str, "not_first": list, "always": bool,
        "answer": str, "clarify": str, "no_tool": str,
    },
    "output": {"begin": str, "end": str},
    "thinking": {"begin": str, "end": str, "opened": ("always", "asked")},
    "decision": dict.fromkeys(("call", "doubt", "arguments", "again", "more", "item"), (int, float)),
    "sampling": {"temperature": (int, float), "top_p": (int, float), "top_k": int, "min_p": (int, float)},
}  # fmt: skip


def check_declaration(file_name: str, declared: Mapping[str, Any]) -> None:
    """Check sections, keys and types. Raises FormatError naming the file and the wrong key."""
    for section, values in declared.items():
        if section == "description" and isinstance(values, str):
            continue
        if section not in KEYS or not isinstance(values, dict):
            raise FormatError(f"{file_name}: unknown section {section!r}", f"Sections are {', '.join(KEYS)}.")
        for key, value in values.items():
            _check_value(file_name, section, key, value)
    for section, key in (("prompt", "template"), ("calls", "each")):
        if key not in declared.get(section, {}):
            raise FormatError(f"{file_name}: {section}.{key} is missing")


def _check_value(file_name: str, section: str, key: str, value: Any) -> None:
    expected = KEYS[section].get(key)
    if expected is None:
        raise FormatError(f"{file_name}: unknown key {section}.{key}", f"Keys are {', '.join(KEYS[section])}.")
    if isinstance(expected, tuple) and all(isinstance(option, str) for option in expected):
        if value not in expected:
            raise FormatError(f"{file_name}: {section}.{key} must be one of {', '.join(map(str, expected))}")
        return
    kinds: Any = expected
    if not isinstance(value, kinds) or (expected is not bool and isinstance(value, bool)):
        raise FormatError(f"{file_name}: invalid type of {section}.{key}: {type(value).__name__}")
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise FormatError(f"{file_name}: {section}.{key} must be a list of strings")


def output_syntax(declared: Mapping[str, Any]) -> OutputSyntax:
    """Return the spelling of the family's answers."""
    calls, text, output, thinking = (declared.get(name, {}) for name in ("calls", "text", "output", "thinking"))
    return OutputSyntax(
        call=calls["each"].removeprefix("\n"),
        also=tuple(calls.get("also", ())),
        marker=calls.get("marker", ""),
        calls_begin=calls.get("begin", ""),
        calls_separator=calls.get("separator", ""),
        calls_end=calls.get("end", ""),
        calls_lead=calls.get("lead", ""),
        calls_preamble=calls.get("preamble"),
        code=calls.get("code"),
        forbidden_starts=tuple(text.get("not_first", ())),
        text=text.get("answer"),
        text_begin=text.get("begin", ""),
        text_before_calls=text.get("before_calls", ""),
        clarify=text.get("clarify"),
        no_tool=text.get("no_tool"),
        begin=output.get("begin", ""),
        end=output.get("end", ""),
        think_begin=thinking.get("begin", ""),
        think_end=thinking.get("end", ""),
        spaced=calls.get("spaced", True),
        parallel=calls.get("parallel", True),
        spellings=load_spellings(tuple(calls["spellings"])) if "spellings" in calls else None,
        arguments=calls.get("arguments", "json"),
        quote=calls.get("quote", ""),
        parameter=calls.get("parameter", PARAMETER),
        cdata=calls.get("cdata", ""),
        list_separator=calls.get("list_separator", ""),
        literals=calls.get("literals", "python"),
    )


def history_syntax(declared: Mapping[str, Any], syntax: OutputSyntax) -> OutputSyntax:
    """Return the spelling of past answers: the output syntax, unless the declaration has its own for history."""
    prompt = declared["prompt"]
    if "history_calls" not in prompt:
        return syntax
    return OutputSyntax(
        call=prompt["history_calls"].removeprefix("\n"),
        calls_begin=prompt.get("history_begin", ""),
        calls_separator=prompt.get("history_separator", "\n"),
        calls_end=prompt.get("history_end", ""),
        calls_preamble="\n",
        marker="<",
    )

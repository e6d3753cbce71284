"""Converts the source text in arguments of BFCL's Java and JavaScript cases to values.

The accepted literals are those of BFCL's checker: text that is not a literal of the declared type stays text, and so
does not have that type. The same goes for literals with parts the checker does not understand, such as a `}` within a
JavaScript object.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_INTEGER = re.compile(r"-?\d+$")
_DECIMAL = re.compile(r"-?\d+(\.\d+)?$")
_SCIENTIFIC = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?$")
_ARRAY_OF_ARRAYS = re.compile(r"(?:\[|new\s+Array\()\s*(\[.*?\])\s*[\])]")

JAVA: dict[str, type] = {
    "byte": int, "short": int, "integer": int, "long": int, "float": float, "double": float, "boolean": bool,
    "char": str, "String": str, "any": str, "Array": list, "ArrayList": list, "HashMap": dict,
}  # fmt: skip
JAVASCRIPT: dict[str, type] = {
    "String": str, "integer": int, "float": float, "Bigint": int, "Boolean": bool, "dict": dict, "array": list,
    "any": str,
}  # fmt: skip


# -- Java -----------------------------------------------------------------------------------------------------------
def java(text: str, kind: str, item: str | None = None) -> Any:
    """Return the value of Java source text for a parameter of type `kind`, with elements of type `item`."""
    if kind in {"byte", "short", "integer"}:
        return _number(text, _INTEGER, int)
    if kind == "long":
        return _number(text, _INTEGER, int, suffix="lL")
    if kind == "float":
        return _number(text, _SCIENTIFIC, float, suffix="fF")
    if kind == "double":
        return _number(text, _SCIENTIFIC, float)
    if kind == "boolean":
        return _boolean(text)
    if kind == "Array":
        return _java_array(text, item)
    if kind == "ArrayList":
        return _java_list(text, item)
    return _java_map(text) if kind == "HashMap" else text


def _java_array(text: str, item: str | None) -> Any:
    """Read `new int[]{1, 2}`. Strings keep their quotes, as in BFCL."""
    found = re.search(r"new\s+\w+\[\]\s*\{(.*?)\}", text)
    if found is None:
        return text
    read: Callable[[str], Any] = (lambda part: java(part, item)) if item else _java_value
    return [read(part.strip()) for part in found[1].split(",") if part.strip()]


def _java_list(text: str, item: str | None) -> Any:
    """Read `new ArrayList<>(Arrays.asList(1, 2))`, or with `{{ add(1); add(2); }}`, or empty."""
    if found := re.search(r"new\s+ArrayList<\w*>\(Arrays\.asList\((.+?)\)\)", text):
        return [_java_element(part.strip(), item) for part in found[1].split(",")]
    if found := re.search(r"new\s+ArrayList<\w*>\(\)\s*\{\{(.+?)\}\}", text, re.DOTALL):
        return [_java_element(part.strip(), item) for part in re.findall(r"add\((.+?)\)", found[1])]
    return [] if re.search(r"new\s+ArrayList<\w*>\(\)", text) else text


def _java_element(text: str, item: str | None) -> Any:
    if item in {"char", "String"}:
        return text[1:-1]
    return java(text, item) if item else _java_value(text)


def _java_map(text: str) -> Any:
    """Read `new HashMap<>() {{ put("key", 1); }}`, or empty."""
    if found := re.search(r"new\s+HashMap<.*?>\s*\(\)\s*\{\s*\{?(.*?)\}?\s*\}", text, re.DOTALL):
        return {key: _java_value(value.strip()) for key, value in re.findall(r'put\("(.*?)",\s*(.*?)\)', found[1])}
    return {} if re.search(r"new\s+HashMap<.*?>\s*\(\)", text) else text


def _java_value(text: str) -> Any:
    """Read a literal of undeclared type."""
    if _INTEGER.match(text[:-1]) and text[-1:] in "lL":
        return int(text[:-1])
    if _SCIENTIFIC.match(text[:-1]) and text[-1:] in "fF":
        return float(text[:-1])
    return _undeclared(text, quotes='"')


# -- JavaScript -----------------------------------------------------------------------------------------------------
def javascript(text: str, kind: str, item: str | None = None) -> Any:
    """Return the value of JavaScript source text for a parameter of type `kind`, with elements of type `item`."""
    if kind == "String":
        return _unquoted(text)
    if kind == "integer":
        return _number(text, _INTEGER, int)
    if kind == "float":
        return _number(text, _DECIMAL, float)
    if kind == "Bigint":
        return _number(text, _INTEGER, int, suffix="n")
    if kind == "Boolean":
        return _boolean(text)
    if kind == "array":
        return _js_array(text.strip(), item)
    return _js_object(text.strip()) if kind == "dict" else text


def _js_array(text: str, item: str | None) -> Any:
    """Read `[1, 2]` or `new Array(1, 2)`; the former may contain arrays."""
    if _ARRAY_OF_ARRAYS.match(text):
        rows = re.findall(r"\[(.*?)\]", text[: _end_of_rows(text)])
        return [[_js_value(part) for part in row.strip().removeprefix("[").split(",")] for row in rows]
    found = re.match(r"\[(.*?)\]|new\s+Array\((.*?)\)", text)
    if found is None:
        return text
    inner = (found[1] if found[1] is not None else found[2]).strip()
    parts = [part.strip() for part in inner.split(",")] if inner else []
    if item is not None and item not in JAVASCRIPT and parts:
        return text
    return [javascript(part, item) if item else _js_value(part) for part in parts]


def _end_of_rows(text: str) -> int:
    found = _ARRAY_OF_ARRAYS.match(text)
    assert found is not None
    return found.end()


def _js_object(text: str) -> Any:
    """Read `{key: value, …}` up to its first `}`; a comma ends a value if a colon comes before the next comma."""
    found = re.match(r"\{(.*?)\}", text)
    if found is None:
        return text
    entries: list[str] = []
    for part in found[1].split(","):
        if entries and (":" not in entries[-1] or ":" not in part[1:]):
            entries[-1] += f",{part}"
        else:
            entries.append(part)
    values: dict[str, Any] = {}
    for entry in entries:
        key, colon, value = entry.partition(":")
        if colon:
            values[key.strip().strip("'\"")] = _js_member(value.strip())
    return values


def _js_member(text: str) -> Any:
    if text.startswith("[") and text.endswith("]"):
        return _js_array(text, None)
    if text.startswith("{") and text.endswith("}"):
        return _js_object(text)
    return _js_value(text.strip("'\""))


def _js_value(text: str) -> Any:
    return _undeclared(text.strip(), quotes="\"'")


# -- both -----------------------------------------------------------------------------------------------------------
def _number(text: str, pattern: re.Pattern[str], read: Callable[[str], Any], *, suffix: str = "") -> Any:
    """Read a number with one of these suffixes; like `$` in the patterns, it accepts a final newline."""
    digits = text
    if suffix:
        line = text.removesuffix("\n")
        if line[-1:] not in tuple(suffix):
            return text
        digits = line[:-1]
    try:
        return read(digits) if pattern.match(digits) else text
    except ValueError:  # more digits than Python reads
        return text


def _boolean(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text, text)


def _unquoted(text: str) -> str:
    return text[1:-1] if text[:1] == text[-1:] and text[:1] in {'"', "'"} else text


def _undeclared(text: str, *, quotes: str) -> Any:
    """Read a boolean, string or number; anything else, such as a variable's name, stays text."""
    if text in {"true", "false"}:
        return text == "true"
    if text[:1] == text[-1:] and text[:1] in tuple(quotes):
        return text[1:-1]
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text

"""YAML as JSON values. Scalars are read as YAML 1.2's JSON schema has them: `on` and `12:30` are text.

The values are built from the parser's events, because PyYAML's own composers recurse: a text of 200,000 brackets would
end the process. Anchors are allowed; what they repeat is one object, so that a small text cannot become a large one.
"""

from __future__ import annotations

import re
from typing import Any

import yaml  # type: ignore[import-untyped]

MAX_DEPTH = 200
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,300})\Z")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?\Z")
_WORDS = {"": None, "null": None, "~": None, "true": True, "false": False}
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class YamlError(ValueError):
    """A text that is no YAML, or has more of YAML than JSON needs; the text says where."""


def read_yaml(text: str) -> Any:
    """Return the value of a YAML document. Raises YamlError."""
    try:
        return _Builder().build(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise YamlError(f"{where}{getattr(error, 'problem', None) or error}") from None


class _Builder:
    def __init__(self) -> None:
        self._open: list[_Container] = []
        self._anchors: dict[str, Any] = {}
        self._result: Any = None

    def build(self, text: str) -> Any:
        number = 0
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.ScalarEvent):
                self._add(event, self._scalar(event))
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._start(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._open.pop()
            elif isinstance(event, yaml.AliasEvent):
                self._add(event, self._repeat(event))
            elif isinstance(event, yaml.DocumentStartEvent):
                number += 1
                if number > 1:
                    raise _error(event, "a second document; one is expected")
        return self._result

    def _start(self, event: Any) -> None:
        if event.tag not in {None, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            raise _error(event, f"the tag {event.tag!r} is not supported")
        if len(self._open) >= MAX_DEPTH:
            raise _error(event, f"nested deeper than {MAX_DEPTH} levels")
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._add(event, value)
        self._open.append(_Container(value))

    def _scalar(self, event: Any) -> Any:
        is_key = bool(self._open) and self._open[-1].needs_key
        if event.tag not in {None, "!", "tag:yaml.org,2002:str"}:
            raise _error(event, f"the tag {event.tag!r} is not supported")
        if is_key or not event.implicit[0]:
            return event.value
        return _plain(event.value)

    def _repeat(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            raise _error(event, f"no anchor {event.anchor!r}")
        value = self._anchors[event.anchor]
        if any(value is one.value for one in self._open):
            raise _error(event, f"the anchor {event.anchor!r} contains itself")
        return value

    def _add(self, event: Any, value: Any) -> None:
        if event.anchor and not isinstance(event, yaml.AliasEvent):
            self._anchors[event.anchor] = value
        if not self._open:
            self._result = value
        elif isinstance(self._open[-1].value, list):
            self._open[-1].value.append(value)
        elif self._open[-1].needs_key:
            if not isinstance(value, str):
                raise _error(event, "a key must be text")
            if value == "<<":
                raise _error(event, "merge keys (<<) are not supported")
            self._open[-1].key, self._open[-1].needs_key = value, False
        else:
            self._open[-1].value[self._open[-1].key] = value
            self._open[-1].needs_key = True


class _Container:
    """A list or an object that is being read, and the key of its next value."""

    __slots__ = ("key", "needs_key", "value")

    def __init__(self, value: dict[str, Any] | list[Any]) -> None:
        self.value: Any = value
        self.needs_key, self.key = isinstance(value, dict), ""


def _plain(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _NUMBER.match(text) else text


def _error(event: Any, reason: str) -> YamlError:
    return YamlError(f"line {event.start_mark.line + 1}, column {event.start_mark.column + 1}: {reason}")

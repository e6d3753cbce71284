"""The one place that builds a Jinja environment.

Templates run in jinja2's immutable sandbox, which bounds what they may touch. What they may cost is bounded here:
a deadline and a limit on output. A template that came with a model file is a program by a stranger.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgefc import resources
from edgefc.errors import FormatError
from edgefc.formats import dialects

MAX_SECONDS = 2.0
MAX_CHARACTERS = 8 << 20
MAX_SOURCE = 1 << 20


_FAILURES = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
    MemoryError,
)


class _Refusal(Exception):  # noqa: N818 - the template's own way of saying no
    pass


class Template:
    """A compiled chat template."""

    def __init__(self, name: str, source: str, filters: Mapping[str, Callable[..., Any]]) -> None:
        self.name = name
        if len(source) > MAX_SOURCE:
            raise FormatError(f"chat template {name}: {len(source):,} characters; at most {MAX_SOURCE:,} are read")
        environment = _environment()
        environment.filters.update(filters)
        try:
            self._template = environment.from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise FormatError(f"chat template {name}: {error}") from None

    def render(self, **variables: Any) -> str:
        """The rendered text. Raises FormatError when the template fails, refuses, or costs too much."""
        pieces: list[str] = []
        size = 0
        try:
            with _Deadline(MAX_SECONDS):
                for piece in self._template.generate(**variables):
                    pieces.append(piece)
                    size += len(piece)
                    if size > MAX_CHARACTERS:
                        raise FormatError(f"chat template {self.name}: writes more than {MAX_CHARACTERS:,} characters")
        except _Refusal as refusal:
            raise FormatError(f"chat template {self.name} refuses the conversation: {refusal}") from None
        except TimeoutError:
            raise FormatError(f"chat template {self.name}: takes longer than {MAX_SECONDS:g} s") from None
        except _FAILURES as error:
            raise FormatError(f"chat template {self.name}: {type(error).__name__}: {error}") from None
        return "".join(pieces)


class _Deadline:
    """Raises TimeoutError in this thread's template code once the time is over.

    A trace function sees every line and call, so that a loop in a template cannot outlast it; a single operation
    that is slow inside C is caught by the limits on what such operations are given.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._end = time.monotonic() + self._seconds
        self._before = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:  # noqa: ARG002
        if time.monotonic() > self._end:
            raise TimeoutError
        return self._trace if frame.f_code.co_filename == "<template>" else None


class _Sandbox(ImmutableSandboxedEnvironment):
    """The sandbox, with limits on the operators that make much of little."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(x) for x in (left, right) if isinstance(x, str | list | tuple)]
        numbers = [x for x in (left, right) if isinstance(x, int)]
        if operator == "*" and sizes and numbers and sizes[0] * numbers[0] > MAX_CHARACTERS:
            raise MemoryError("a repetition that large")
        if operator == "**" or (operator == "%" and sizes):
            raise TypeError(f"the operator {operator} is not available in chat templates")
        if operator == "+" and sum(sizes) > MAX_CHARACTERS:
            raise MemoryError("a text that long")
        return super().call_binop(context, operator, left, right)


def _environment() -> jinja2.Environment:
    """An environment as transformers sets it up for chat templates, sandboxed."""
    environment = _Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        undefined=jinja2.Undefined,
        extensions=["jinja2.ext.loopcontrols"],
        loader=jinja2.FunctionLoader(_included),
    )
    environment.filters["tojson"] = tojson
    environment.filters["tojson_ascii"] = functools.partial(tojson, ensure_ascii=True)
    environment.filters["outline"] = dialects.outline
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _included(name: str) -> str | None:
    """Parts that several families share, by their plain file name."""
    path = resources.root() / "chat_formats" / name
    return path.read_text(encoding="utf-8") if "/" not in name and "\\" not in name and path.is_file() else None


def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, sort_keys: bool = False) -> str:  # noqa: FBT002
    """JSON as transformers' chat templates write it: json.dumps without HTML escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise _Refusal(message)

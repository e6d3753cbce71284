"""The sandbox of chat templates: the only module that builds a Jinja environment.

A template that came with a model file is a stranger's program. jinja2's immutable sandbox limits its rights; this
module limits its cost: time by a trace function, output by counting characters, and every operation with a small
operand and a large result by checking its arguments. What escapes that, such as comparing lists that contain the same
lists many times, is bounded from outside: such templates run in a process that can be killed.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, GeneratorType
from typing import Any, Literal

import jinja2
import jinja2.nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_SECONDS = 2.0
MAX_CHARACTERS = 8 << 20
MAX_CREATED = 4 * MAX_CHARACTERS  # by all calls of one rendering together
MAX_ITEMS = 1 << 20
MAX_WIDTH = 10_000
MAX_BITS = 4096
# The default date of Llama's templates: prompts must not change from one day to the next.
TODAY = dt.datetime(2024, 7, 26)  # noqa: DTZ001

_FAILURES = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
)


class _Refusal(Exception):  # noqa: N818 - raised by the template itself
    pass


class ProgramError(Exception):
    """A template could not be compiled or rendered; `kind` and the reason in words."""

    def __init__(self, kind: Literal["source", "failure", "refusal", "cost"], reason: str) -> None:
        super().__init__(kind, reason)
        self.kind, self.reason = kind, reason


class Program:
    """A compiled template.

    filters     filters besides Jinja's
    load        returns the source of a template to include, None if there is none of this name
    is_foreign  it came with a model: it gets the environment of transformers
    """

    def __init__(
        self,
        source: str,
        filters: Mapping[str, Callable[..., Any]] | None = None,
        *,
        load: Callable[[str], str | None] | None = None,
        is_foreign: bool = False,
    ) -> None:
        """Raises ProgramError."""
        environment = _environment(is_foreign=is_foreign)
        environment.filters.update(filters or {})
        if load is not None:
            environment.loader = jinja2.FunctionLoader(load)
        try:
            self._template = environment.from_string(source)
        except (jinja2.TemplateError, RecursionError, ValueError, SyntaxError) as error:
            raise ProgramError("source", str(error)) from None
        except MemoryError as error:
            raise ProgramError("cost", _describe(error)) from None

    def render(self, **variables: Any) -> str:
        """Return the rendered text. Raises ProgramError."""
        try:
            with _Deadline(MAX_SECONDS):
                return concat(self._template.generate(**variables))
        except _Refusal as refusal:
            raise ProgramError("refusal", str(refusal)) from None
        except TimeoutError:
            raise ProgramError("cost", f"takes longer than {MAX_SECONDS:g} s") from None
        except MemoryError as error:
            raise ProgramError("cost", _describe(error)) from None
        except _FAILURES as error:
            raise ProgramError("failure", _describe(error)) from None


def _describe(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return str(error) or "needs too much memory"
    return f"{type(error).__name__}: {error}"


class _Deadline:
    """Raises TimeoutError in this thread's template code once the time is over.

    A trace function sees every line and call, so that no loop in a template can outlast it; a single operation
    that is slow inside C is prevented by the limits on its arguments.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        _created.characters = 0
        self._end = time.thread_time() + self._seconds
        self._before = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:  # noqa: ARG002
        if time.thread_time() > self._end:
            raise TimeoutError
        return self._trace if frame.f_code.co_filename == "<template>" else None


def concat(parts: Iterable[Any]) -> str:
    """Join texts. Raises MemoryError when the result is too long."""
    texts: list[str] = []
    size = 0
    for part in parts:
        text = part if isinstance(part, str) else _to_text(part)
        size += len(text)
        if size > MAX_CHARACTERS:
            raise MemoryError(f"the text has more than {MAX_CHARACTERS:,} characters")
        texts.append(text)
    return "".join(texts)


def _to_text(value: Any) -> str:
    """Return `str(value)`. Raises MemoryError when the value is too large."""
    if isinstance(value, list | tuple | dict):
        _check_size(value)
    return str(value)


_created = threading.local()


def _count_created(value: Any) -> Any:
    """Return the result of a call; all texts created by the calls of one rendering are limited together."""
    if isinstance(value, str):
        _created.characters = getattr(_created, "characters", 0) + len(value)
        if _created.characters > MAX_CREATED:
            raise MemoryError(f"the template creates texts of more than {MAX_CREATED:,} characters")
    return value


def _check_size(value: Any) -> None:
    """Raise MemoryError for a value that is too long when written; it may contain the same list many times."""
    items, pending = 0, [value]
    while pending:
        item = pending.pop()
        items += 1 + (len(item) >> 3 if isinstance(item, str) else 0)
        if items > MAX_ITEMS:
            raise MemoryError("the value is too large")
        if isinstance(item, Mapping):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            pending += item


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with limits on operations whose results can be far larger than their operands."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})
    concat = staticmethod(concat)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(x) for x in (left, right) if isinstance(x, str | list | tuple)]
        numbers = [x for x in (left, right) if isinstance(x, int)]
        if operator == "*" and sizes and numbers and sizes[0] * numbers[0] > MAX_ITEMS:
            raise MemoryError("the repetition is too long")
        if operator == "*" and sum(number.bit_length() for number in numbers) > MAX_BITS:
            raise ArithmeticError("the number is too large")
        if operator == "**" or (operator == "%" and sizes):
            raise TypeError(f"the operator {operator} is not available in chat templates")
        if operator == "+" and sum(sizes) > (MAX_CHARACTERS if isinstance(left, str) else MAX_ITEMS):
            raise MemoryError("the text or list is too long")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        formatted = super().wrap_str_format(value)
        if formatted is not None and re.search(r"\d{5}|[{]\s*[}]?[^}]*[{]", value.__self__):
            raise MemoryError("the format is too wide")
        return formatted

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, int | float | bytes):
            raise TypeError(f"{obj.__name__} is not available in chat templates")
        if isinstance(owner, str | list | dict):
            _check_method(obj, args, kwargs)
        return _count_created(super().call(context, obj, *args, **kwargs))

    def _generate(self, source: jinja2.nodes.Template, *args: Any, **kwargs: Any) -> str:
        text: str = super()._generate(source, *args, **kwargs)
        # Compiled templates import the function behind `~` by name: replace it with the limited one.
        first, _, rest = text.partition("\n")
        return f"{first}\nmarkup_join = str_join = environment.concat\n{rest}"


def _check_method(method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse a call of a method of a text or list whose result would be too large."""
    text, name = method.__self__, method.__name__
    values = [*args, *kwargs.values()]
    if any(isinstance(value, int) and abs(value) > MAX_WIDTH for value in values):
        raise MemoryError(f"the argument of {name} is too large")
    if not isinstance(text, str):
        return
    if name in {"translate", "encode"}:
        raise TypeError(f"{name} is not available in chat templates")
    if name == "replace" and len(values) > 1 and isinstance(values[1], str):
        matches = text.count(str(values[0])) if values[0] else len(text) + 1
        if matches * len(values[1]) > MAX_CHARACTERS:
            raise MemoryError("the text is too long")
    if name == "join" and values:
        if not isinstance(values[0], str | list | tuple):
            raise TypeError("join takes a list")
        concat([*values[0], *itertools.repeat(text, len(values[0]))])


def _limit_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter of Jinja's so that it refuses calls that would cost too much."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        args = tuple(_as_list(value) if isinstance(value, GeneratorType) else value for value in args)
        values = [value for value in (*args, *kwargs.values()) if not isinstance(value, jinja2.Environment)]
        if any(isinstance(value, int) and abs(value) > MAX_WIDTH for value in values) and name not in _NUMBER_FILTERS:
            raise MemoryError(f"the argument of {name} is too large")
        texts = [value for value in values if isinstance(value, str)]
        if name in {"replace", "join", "format"} and len(texts) > 1:
            _check_expansion(name, values, texts)
        for value in values:
            if isinstance(value, list | tuple | dict):
                _check_size(value)
        return _count_created(function(*args, **kwargs))

    # An attribute of the function tells Jinja to pass the context or the environment.
    if (pass_arg := getattr(function, "jinja_pass_arg", None)) is not None:
        call.jinja_pass_arg = pass_arg  # type: ignore[attr-defined]
    return call


# Filters that no chat template needs, each another way to a huge result.
_REMOVED_FILTERS = ("center", "filesizeformat", "groupby", "pprint", "random", "urlize", "wordwrap", "xmlattr")
_NUMBER_FILTERS = {"abs", "float", "int", "string", "tojson", "default", "d", "e", "escape", "list"}


def _as_list(values: Iterable[Any]) -> list[Any]:
    """Collect the items of a lazy filter before this one, so that their size can be checked."""
    items = list(itertools.islice(values, MAX_ITEMS + 1))
    if len(items) > MAX_ITEMS:
        raise MemoryError("the list is too long")
    return items


def _check_expansion(name: str, values: list[Any], texts: list[str]) -> None:
    if name == "format" and re.search(r"\d{5}|\*", texts[0]):
        raise MemoryError("the format is too wide")
    if name == "replace" and len(texts) > 2 and (texts[0].count(texts[1]) + 1) * len(texts[2]) > MAX_CHARACTERS:
        raise MemoryError("the text is too long")
    lists = [value for value in values[:2] if isinstance(value, list | tuple | str)]
    if name == "join" and lists and len(lists[0]) * len(texts[-1]) > MAX_CHARACTERS:
        raise MemoryError("the text is too long")


class _Generation(Extension):
    """The tag `{% generation %}`, which marks answers for training; in a prompt it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 has it as a class attribute

    def parse(self, parser: Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment(*, is_foreign: bool) -> jinja2.Environment:
    """Return an environment like that of transformers for chat templates, sandboxed."""
    environment = _Sandbox(
        trim_blocks=True,
        optimized=False,  # constant expressions would be computed before any deadline
        lstrip_blocks=True,
        autoescape=False,
        undefined=jinja2.Undefined,
        finalize=_to_text,
        extensions=["jinja2.ext.loopcontrols", _Generation],
    )
    environment.filters["tojson"] = tojson
    if is_foreign:
        for name, function in list(environment.filters.items()):
            environment.filters[name] = _limit_filter(name, function)
        for name in _REMOVED_FILTERS:
            del environment.filters[name]
    else:
        environment.filters["tojson_ascii"] = functools.partial(tojson, ensure_ascii=True)
    del environment.globals["lipsum"]
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: TODAY.strftime(str(form)[:64])
    return environment


def tojson(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT002
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT002
) -> str:
    """Write JSON as transformers' chat templates do: json.dumps without HTML escapes."""
    if indent is not None and indent > 16:
        raise ValueError("the indent is too large")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: object) -> None:
    raise _Refusal(_to_text(message))

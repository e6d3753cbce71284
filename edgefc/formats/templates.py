"""The one place that builds a Jinja environment.

Templates run in jinja2's immutable sandbox, which bounds what they may touch. What they may cost is bounded here, for
a template that came with a model file is a program by a stranger: time by a trace function, output by counting, and
every operation that makes much of little by a look at what it is given.
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
from typing import Any

import jinja2
import jinja2.nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgefc import paths
from edgefc.errors import FormatError

MAX_SECONDS = 2.0
MAX_CHARACTERS = 8 << 20
MAX_MADE = 4 * MAX_CHARACTERS
MAX_SOURCE = 1 << 20
MAX_ITEMS = 1 << 20
MAX_WIDTH = 10_000
MAX_BITS = 4096
# The day that Llama's templates name when they are not told another: prompts do not change over night.
TODAY = dt.datetime(2024, 7, 26)  # noqa: DTZ001

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
    """A compiled chat template. `is_foreign` gives it what transformers gives to templates, and nothing of edgefc's."""

    def __init__(
        self, name: str, source: str, filters: Mapping[str, Callable[..., Any]], *, is_foreign: bool = False
    ) -> None:
        self.name = name
        if len(source) > MAX_SOURCE:
            raise FormatError(f"chat template {name}: {len(source):,} characters; at most {MAX_SOURCE:,} are read")
        environment = _environment(is_foreign=is_foreign)
        environment.filters.update(filters)
        try:
            self._template = environment.from_string(source)
        except (jinja2.TemplateError, RecursionError, ValueError, SyntaxError, MemoryError) as error:
            raise FormatError(f"chat template {name}: {error}") from None

    def render(self, **variables: Any) -> str:
        """The rendered text. Raises FormatError when the template fails, refuses, or costs too much."""
        try:
            with _Deadline(MAX_SECONDS):
                return concat(self._template.generate(**variables))
        except _Refusal as refusal:
            raise FormatError(f"chat template {self.name} refuses the conversation: {refusal}") from None
        except TimeoutError:
            raise FormatError(f"chat template {self.name}: takes longer than {MAX_SECONDS:g} s") from None
        except _FAILURES as error:
            raise FormatError(f"chat template {self.name}: {type(error).__name__}: {error}") from None


class _Deadline:
    """Raises TimeoutError in this thread's template code once the time is over.

    A trace function sees every line and call, so that a loop in a template cannot outlast it; a single operation
    that is slow inside C is caught by the limits on what such operations are given.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        _made.characters = 0
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
    """Joined texts, as long as they are not too long."""
    texts: list[str] = []
    size = 0
    for part in parts:
        text = part if isinstance(part, str) else _text(part)
        size += len(text)
        if size > MAX_CHARACTERS:
            raise MemoryError(f"a text of more than {MAX_CHARACTERS:,} characters")
        texts.append(text)
    return "".join(texts)


def _text(value: Any) -> str:
    """`str` of a value that is not too large to be written."""
    if isinstance(value, list | tuple | dict):
        _weigh(value)
    return str(value)


def _counted(value: Any) -> Any:
    """What a call gave; all texts that calls make in one rendering are bounded together."""
    if isinstance(value, str):
        _made.characters = getattr(_made, "characters", 0) + len(value)
        if _made.characters > MAX_MADE:
            raise MemoryError(f"texts of more than {MAX_MADE:,} characters")
    return value


_made = threading.local()


def _weigh(value: Any) -> None:
    """Raises MemoryError for what would be too long if it were written: the same list may stand in it many times."""
    items, pending = 0, [value]
    while pending:
        item = pending.pop()
        items += 1 + (len(item) >> 3 if isinstance(item, str) else 0)
        if items > MAX_ITEMS:
            raise MemoryError("a value that large")
        if isinstance(item, Mapping):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            pending += item


class _Sandbox(ImmutableSandboxedEnvironment):
    """The sandbox, with limits on what makes much of little."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})
    concat = staticmethod(concat)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(x) for x in (left, right) if isinstance(x, str | list | tuple)]
        numbers = [x for x in (left, right) if isinstance(x, int)]
        if operator == "*" and sizes and numbers and sizes[0] * numbers[0] > MAX_ITEMS:
            raise MemoryError("a repetition that large")
        if operator == "*" and sum(number.bit_length() for number in numbers) > MAX_BITS:
            raise ArithmeticError("a number that large")
        if operator == "**" or (operator == "%" and sizes):
            raise TypeError(f"the operator {operator} is not available in chat templates")
        if operator == "+" and sum(sizes) > (MAX_CHARACTERS if isinstance(left, str) else MAX_ITEMS):
            raise MemoryError("a text or list that long")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        formatted = super().wrap_str_format(value)
        if formatted is not None and re.search(r"\d{5}|[{]\s*[}]?[^}]*[{]", value.__self__):
            raise MemoryError("a format that wide")
        return formatted

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        # A sandbox is called with what a template calls, under names that templates cannot use.
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, int | float | bytes):
            raise TypeError(f"{obj.__name__} is not available in chat templates")
        if isinstance(owner, str | list | dict):
            _check_method(obj, args, kwargs)
        return _counted(super().call(context, obj, *args, **kwargs))

    def _generate(self, source: jinja2.nodes.Template, *args: Any, **kwargs: Any) -> str:
        text: str = super()._generate(source, *args, **kwargs)
        # What `~` calls is imported by name: the bounded one takes its place.
        first, _, rest = text.partition("\n")
        return f"{first}\nmarkup_join = str_join = environment.concat\n{rest}"


def _check_method(method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuses a method of a text or list that would make too much of its arguments."""
    text, name = method.__self__, method.__name__
    given = [*args, *kwargs.values()]
    if any(isinstance(value, int) and abs(value) > MAX_WIDTH for value in given):
        raise MemoryError(f"{name} with a number that large")
    if not isinstance(text, str):
        return
    if name in {"translate", "encode"}:
        raise TypeError(f"{name} is not available in chat templates")
    if name == "replace" and len(given) > 1 and isinstance(given[1], str):
        places = text.count(str(given[0])) if given[0] else len(text) + 1
        if places * len(given[1]) > MAX_CHARACTERS:
            raise MemoryError("a text that long")
    if name == "join" and given:
        if not isinstance(given[0], str | list | tuple):
            raise TypeError("join takes a list")
        concat([*given[0], *itertools.repeat(text, len(given[0]))])


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of Jinja's that refuses what would cost too much."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        args = tuple(_listed(value) if isinstance(value, GeneratorType) else value for value in args)
        given = [value for value in (*args, *kwargs.values()) if not isinstance(value, jinja2.Environment)]
        if any(isinstance(value, int) and abs(value) > MAX_WIDTH for value in given) and name not in _OF_NUMBERS:
            raise MemoryError(f"{name} with a number that large")
        texts = [value for value in given if isinstance(value, str)]
        if name in {"replace", "join", "format"} and len(texts) > 1:
            _check_spread(name, given, texts)
        for value in given:
            if isinstance(value, list | tuple | dict):
                _weigh(value)
        return _counted(function(*args, **kwargs))

    # Jinja asks the function itself whether it wants the context or the environment.
    if (wanted := getattr(function, "jinja_pass_arg", None)) is not None:
        call.jinja_pass_arg = wanted  # type: ignore[attr-defined]
    return call


# No chat template needs these, and each is another way to make much of little.
_UNUSED = ("center", "filesizeformat", "groupby", "pprint", "random", "urlize", "wordwrap", "xmlattr")
_OF_NUMBERS = {"abs", "float", "int", "string", "tojson", "default", "d", "e", "escape", "list"}


def _listed(values: Iterable[Any]) -> list[Any]:
    """What a filter before this one gives piece by piece, so that its size can be seen."""
    items = list(itertools.islice(values, MAX_ITEMS + 1))
    if len(items) > MAX_ITEMS:
        raise MemoryError("a list that long")
    return items


def _check_spread(name: str, given: list[Any], texts: list[str]) -> None:
    if name == "format" and re.search(r"\d{5}|\*", texts[0]):
        raise MemoryError("a format that wide")
    if name == "replace" and len(texts) > 2 and (texts[0].count(texts[1]) + 1) * len(texts[2]) > MAX_CHARACTERS:
        raise MemoryError("a text that long")
    lists = [value for value in given[:2] if isinstance(value, list | tuple | str)]
    if name == "join" and lists and len(lists[0]) * len(texts[-1]) > MAX_CHARACTERS:
        raise MemoryError("a text that long")


class _Generation(Extension):
    """`{% generation %}` marks what a model said, for training; in a prompt it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 has it as a class attribute

    def parse(self, parser: Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment(*, is_foreign: bool) -> jinja2.Environment:
    """An environment as transformers sets it up for chat templates, sandboxed."""
    environment = _Sandbox(
        trim_blocks=True,
        optimized=False,  # what is constant would be computed before any deadline
        lstrip_blocks=True,
        autoescape=False,
        undefined=jinja2.Undefined,
        finalize=_text,
        extensions=["jinja2.ext.loopcontrols", _Generation],
        loader=None if is_foreign else jinja2.FunctionLoader(_included),
    )
    environment.filters["tojson"] = tojson
    if is_foreign:
        for name, function in list(environment.filters.items()):
            environment.filters[name] = _guarded(name, function)
        for name in _UNUSED:
            del environment.filters[name]
    else:
        environment.filters["tojson_ascii"] = functools.partial(tojson, ensure_ascii=True)
    del environment.globals["lipsum"]
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: TODAY.strftime(str(form)[:64])
    return environment


def _included(name: str) -> str | None:
    """Parts that several families share, by their plain file name."""
    path = paths.root() / "chat_formats" / name
    return path.read_text(encoding="utf-8") if "/" not in name and "\\" not in name and path.is_file() else None


def tojson(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT002
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT002
) -> str:
    """JSON as transformers' chat templates write it: json.dumps without HTML escapes."""
    if indent is not None and indent > 16:
        raise ValueError("an indent that large")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise _Refusal(message)

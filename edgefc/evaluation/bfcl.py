"""Rules of the Berkeley Function-Calling Leaderboard (BFCL) for its single-turn categories.

Written from the behaviour of its checker, and compared with it: `python -m benchmarks.checker`. `expected` lists, for
each call, `{function: {argument: [allowed values]}}`; "" among the values means that the argument may be left out.

- As many calls as expected. Parallel ones in any order: each expected call takes the first matching one of the answer.
- Every required argument is there; every argument is declared and expected; optional ones may be left out.
- An argument has exactly its declared type: a boolean is not an integer. An integer may stand for a float.
- Strings are compared without case, spaces and `,./-_*^`, and with either quotes; so are strings in lists and objects.
- Objects are compared key by key with the values allowed for each, lists of objects one by one.
- Where the first allowed value has another type than the declared one (a variable's name for a number), a value of
  that type is right only if it is exactly equal.
- Java's and JavaScript's arguments are source text (see `literals`).
- `irrelevance`: nothing is called. `relevance`: something is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgefc.evaluation import literals
from edgefc.evaluation.cases import Case, Mistake, ModelAnswer
from edgefc.types import Call

CATEGORIES = (
    "simple_python", "simple_java", "simple_javascript", "multiple", "parallel", "parallel_multiple", "irrelevance",
    "live_simple", "live_multiple", "live_parallel", "live_parallel_multiple", "live_irrelevance", "live_relevance",
)  # fmt: skip
IRRELEVANCE = ("irrelevance", "live_irrelevance")
WITHOUT_EXPECTED = (*IRRELEVANCE, "live_relevance")

_PYTHON: dict[str, type] = {
    "string": str, "integer": int, "float": float, "boolean": bool, "array": list, "tuple": list, "dict": dict,
    "any": str,
}  # fmt: skip
_IGNORED = str.maketrans("'", '"', " ,./-_*^")


def check_expected(case: Case) -> str:
    """Return the mistake in a case's `ground_truth` or function docs, "" if there is none."""
    if case.category in WITHOUT_EXPECTED:
        return ""
    if not case.functions or not all(_is_doc(doc) for doc in case.functions):
        return "raw_functions must list functions with name and parameters.properties"
    expected = case.expected
    if not isinstance(expected, list) or not expected or not all(_is_expected(call) for call in expected):
        return "ground_truth must be a list of {function: {argument: [allowed values]}}"
    return ""


def _is_doc(doc: Any) -> bool:
    parameters = doc.get("parameters") if isinstance(doc, dict) and isinstance(doc.get("name"), str) else None
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    return isinstance(properties, dict) and all(isinstance(schema, dict) for schema in properties.values())


def _is_expected(call: Any) -> bool:
    arguments = next(iter(call.values())) if isinstance(call, dict) and len(call) == 1 else None
    return isinstance(arguments, dict) and all(isinstance(values, list) for values in arguments.values())


def judge(case: Case, answer: ModelAnswer) -> Mistake | None:
    """Return the mistake in an answer, None if it is right."""
    names = ", ".join(call.name for call in answer.calls)
    if case.category.endswith("irrelevance"):
        return Mistake("call", f"calls {names}; no tool fits") if names else None
    if case.category.endswith("relevance"):
        return None if names else Mistake("no call", "calls nothing")
    return check_calls(case.category, case.functions, answer.calls, case.expected)


def check_calls(
    category: str,
    functions: Sequence[Mapping[str, Any]],
    calls: Sequence[Call],
    expected: Sequence[Mapping[str, Mapping[str, Any]]],
) -> Mistake | None:
    """Return the first mistake in the calls of these functions, None if all are right. `functions` are BFCL's docs."""
    if len(calls) != len(expected):
        kind = "count" if calls else "no call"
        return Mistake(kind, f"{len(calls)} calls; expected {len(expected)}: {', '.join(map(_names, expected))}")
    language = category.removeprefix("simple_") if category in {"simple_java", "simple_javascript"} else "python"
    remaining = list(calls)
    for expected_call in expected:
        ((name, arguments),) = expected_call.items()
        function = next((f for f in functions if f["name"] == name), functions[0])
        candidates = remaining if "parallel" in category else remaining[:1]
        mistakes = [check_call(function, call, arguments, language) for call in candidates]
        if None not in mistakes:
            # Of several calls, the one with the right name has the most telling mistake.
            best = next((m for m in mistakes if m is not None and m.kind != "name"), mistakes[0])
            assert best is not None
            return best
        remaining.pop(mistakes.index(None))
    return None


def due_tools(case: Case) -> set[str]:
    """Return the names of the tools that the right answer calls."""
    return {tool_name(name) for call in case.expected or () for name in call}


def tool_name(function: str) -> str:
    """Return the name of a function as a tool: OpenAI's names have no dots."""
    return function.replace(".", "_")


def check_call(
    function: Mapping[str, Any], call: Call, allowed: Mapping[str, Sequence[Any]], language: str
) -> Mistake | None:
    """Return the mistake in a call, None if it is the expected one."""
    name = tool_name(function["name"])
    if call.name != name:
        return Mistake("name", f"calls {call.name}; expected {name}")
    declared = function["parameters"]["properties"]
    for required in function["parameters"].get("required", ()):
        if required not in call.arguments:
            return Mistake("missing", f"{name}: the required {required} is missing")
    for argument, value in call.arguments.items():
        if argument not in declared or argument not in allowed:
            return Mistake("unexpected", f"{name}: unexpected argument {argument}")
        mistake = _check_argument(_Parameter.of(declared[argument], language), value, list(allowed[argument]))
        if mistake is not None:
            return Mistake(mistake.kind, f"{name}: {argument} {mistake.reason}")
    for argument, values in allowed.items():
        if argument not in call.arguments and "" not in values:
            return Mistake("missing", f"{name}: {argument} is missing; expected {_alternatives(values)}")
    return None


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A declared parameter.

    kind, python_type            its declared type, and the Python type of its values
    item_kind, item_python_type  those of its elements, None if they are not compared
    """

    language: str
    kind: str
    item_kind: str | None
    python_type: type
    item_python_type: type | None

    @classmethod
    def of(cls, declared: Mapping[str, Any], language: str) -> _Parameter:
        types = {"python": _PYTHON, "java": literals.JAVA, "javascript": literals.JAVASCRIPT}[language]
        kind = declared.get("type", "any")
        has_items = types.get(kind) is list
        item = declared.get("items", {}).get("type", "any") if has_items else None
        return cls(language, kind, item, types.get(kind, str), types.get(item, str) if item is not None else None)

    def read(self, value: Any) -> Any:
        """Convert a value to the form in which it is compared."""
        if self.language == "python":
            # An integer of 1,024 bits or more may be too large for a float.
            is_integer = type(value) is int and self.kind == "float" and value.bit_length() < 1024
            return float(value) if is_integer else value
        convert = literals.java if self.language == "java" else literals.javascript
        return convert(value, self.kind, self.item_kind)


def _check_argument(parameter: _Parameter, argument: Any, allowed: list[Any]) -> Mistake | None:
    if parameter.language != "python" and type(argument) is not str:
        return Mistake("type", f"is {_quote(argument)}; it must be source text")
    value = parameter.read(argument)
    other = _first_type(allowed)
    if type(value) not in {parameter.python_type, other}:
        return Mistake(
            "type", f"is {_quote(argument)}, not of type {parameter.kind}; expected {_alternatives(allowed)}"
        )
    if type(value) is parameter.python_type and not _elements_fit(parameter, value, allowed):
        return Mistake("type", f"is {_quote(argument)}, whose elements are not of type {parameter.item_kind}")
    is_verbatim = other is not None and other is not parameter.python_type
    is_right = value in allowed if is_verbatim else _is_allowed(parameter, value, allowed)
    return None if is_right else Mistake("value", f"is {_quote(argument)}; expected {_alternatives(allowed)}")


def _first_type(allowed: Sequence[Any]) -> type | None:
    return next((type(value) for value in allowed if value != ""), None)


def _elements_fit(parameter: _Parameter, value: Any, allowed: Sequence[Any]) -> bool:
    if parameter.item_python_type is None:
        return True
    # An optional argument has an allowed value that is not a list: then elements may have any type.
    return any(
        type(other) is not list
        or all(type(element) in {parameter.item_python_type, _first_type(other)} for element in value)
        for other in allowed
    )


def _is_allowed(parameter: _Parameter, value: Any, allowed: Sequence[Any]) -> bool:
    if parameter.python_type is dict:
        return any(_same_object(value, other) for other in allowed)
    if parameter.python_type is list and parameter.item_python_type is dict:
        return any(
            len(value) == len(other) and all(map(_same_object, value, other))
            for other in allowed
            if _is_sequence(other)
        )
    if parameter.python_type is list:
        # An optional list may also be empty: "" is an empty sequence.
        return _comparable_list(value) in [_comparable_list(other) for other in allowed if _is_sequence(other)]
    if parameter.python_type is str:
        return _comparable(value) in [_comparable(other) for other in allowed if type(other) is str]
    return value in allowed


def _same_object(value: Any, allowed: Any) -> bool:
    """Return True if an object has an allowed value under every key, and no other keys."""
    if type(value) is not dict or type(allowed) is not dict:
        return False
    choices = {key: values if _is_sequence(values) else [values] for key, values in allowed.items()}
    return all(
        key in choices and _comparable(entry) in _comparable_list(choices[key]) for key, entry in value.items()
    ) and all(key in value or "" in values for key, values in choices.items())


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | str)


def _comparable_list(values: Sequence[Any]) -> list[Any]:
    return [_comparable(value) for value in values]


def _comparable(value: Any) -> Any:
    """Normalize a string for comparison; other values stay as they are."""
    return value.translate(_IGNORED).lower() if type(value) is str else value


def _names(expected: Mapping[str, Any]) -> str:
    return ", ".join(map(tool_name, expected))


def _quote(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}…"


def _alternatives(values: Sequence[Any]) -> str:
    texts = [_quote(value) for value in values if value != ""]
    return " or ".join(texts[:4]) + (" …" if len(texts) > 4 else "") + (", or left out" if "" in values else "")

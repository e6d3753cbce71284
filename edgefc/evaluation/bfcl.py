"""What a right answer is by the rules of the Berkeley Function-Calling Leaderboard (BFCL), for its single turns.

Written from what its checker does, and compared with it: `python -m benchmarks.checker`. `expected` lists, for each
call, `{function: {argument: [allowed values]}}`; "" among the values means that the argument may be left out.

- As many calls as expected. Parallel ones in any order: each expected call takes the first of the answer's that fits.
- Every required argument is there, none that is not declared and expected, and those left out may be.
- An argument has its declared type, exactly: a boolean is no integer. An integer may stand for a float.
- Strings are equal without case, spaces and `,./-_*^`, and with either quotes; so are strings in lists and objects.
- Objects are compared key by key with the values allowed for each, lists of objects one by one.
- Where the first allowed value has another type than the declared one (a variable's name for a number), a value of
  that type is right when it is the same to the letter.
- Java's and JavaScript's arguments are source text (see `literals`).
- `irrelevance`: nothing is called. `relevance`: something is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgefc.evaluation import literals
from edgefc.evaluation.cases import Answer, Call, Case, Problem

CATEGORIES = (
    "simple_python", "simple_java", "simple_javascript", "multiple", "parallel", "parallel_multiple", "irrelevance",
    "live_simple", "live_multiple", "live_parallel", "live_parallel_multiple", "live_irrelevance", "live_relevance",
)  # fmt: skip
WITHOUT_EXPECTED = ("irrelevance", "live_irrelevance", "live_relevance")

_PYTHON: dict[str, type] = {
    "string": str, "integer": int, "float": float, "boolean": bool, "array": list, "tuple": list, "dict": dict,
    "any": str,
}  # fmt: skip
_IGNORED = str.maketrans("'", '"', " ,./-_*^")


def check_expected(case: Case) -> str:
    """What is wrong with a case's `ground_truth` or function docs; "" when nothing is."""
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


def judge(case: Case, answer: Answer) -> Problem | None:
    """None when the answer is right."""
    called = ", ".join(call.name for call in answer.calls)
    if case.category.endswith("irrelevance"):
        return Problem("call", f"called {called}, and no tool fits") if called else None
    if case.category.endswith("relevance"):
        return None if called else Problem("no call", "called nothing")
    return check_calls(case.category, case.functions, answer.calls, case.expected)


def check_calls(
    category: str,
    functions: Sequence[Mapping[str, Any]],
    calls: Sequence[Call],
    expected: Sequence[Mapping[str, Mapping[str, Any]]],
) -> Problem | None:
    """None when these are the expected calls of the functions, whose docs are BFCL's."""
    if len(calls) != len(expected):
        kind = "count" if calls else "no call"
        return Problem(kind, f"{len(calls)} calls; {len(expected)} expected: {', '.join(map(_names, expected))}")
    language = category.removeprefix("simple_") if category in {"simple_java", "simple_javascript"} else "python"
    left = list(calls)
    for wanted in expected:
        ((name, arguments),) = wanted.items()
        function = next((f for f in functions if f["name"] == name), functions[0])
        candidates = left if "parallel" in category else left[:1]
        problems = [check_call(function, call, arguments, language) for call in candidates]
        if None not in problems:
            # Of several calls, what is wrong with one of the right name says most.
            best = next((p for p in problems if p is not None and p.kind != "name"), problems[0])
            assert best is not None
            return best
        left.pop(problems.index(None))
    return None


def tool_name(function: str) -> str:
    """OpenAI's names have no dots."""
    return function.replace(".", "_")


def check_call(
    function: Mapping[str, Any], call: Call, allowed: Mapping[str, Sequence[Any]], language: str
) -> Problem | None:
    """None when the call is the expected one."""
    name = tool_name(function["name"])
    if call.name != name:
        return Problem("name", f"calls {call.name}; expected {name}")
    declared = function["parameters"]["properties"]
    for required in function["parameters"].get("required", ()):
        if required not in call.arguments:
            return Problem("missing", f"{name}: the required {required} is missing")
    for argument, value in call.arguments.items():
        if argument not in declared or argument not in allowed:
            return Problem("unexpected", f"{name}: {argument} should not be given")
        problem = _check_argument(_Parameter.of(declared[argument], language), value, list(allowed[argument]))
        if problem is not None:
            return Problem(problem.kind, f"{name}: {argument} {problem.reason}")
    for argument, values in allowed.items():
        if argument not in call.arguments and "" not in values:
            return Problem("missing", f"{name}: {argument} is missing; expected {_listed(values)}")
    return None


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A declared parameter; `item` is of the elements, where they are compared too."""

    language: str
    kind: str
    item_kind: str | None
    reads_as: type
    item: type | None

    @classmethod
    def of(cls, declared: Mapping[str, Any], language: str) -> _Parameter:
        types = {"python": _PYTHON, "java": literals.JAVA, "javascript": literals.JAVASCRIPT}[language]
        kind = declared.get("type", "any")
        has_items = types.get(kind) is list
        item = declared.get("items", {}).get("type", "any") if has_items else None
        return cls(language, kind, item, types.get(kind, str), types.get(item, str) if item is not None else None)

    def read(self, value: Any) -> Any:
        """A value as it is compared."""
        if self.language == "python":
            # Beyond 2**1023, an integer is no float.
            is_integer = type(value) is int and self.kind == "float" and value.bit_length() < 1024
            return float(value) if is_integer else value
        convert = literals.java if self.language == "java" else literals.javascript
        return convert(value, self.kind, self.item_kind)


def _check_argument(parameter: _Parameter, given: Any, allowed: list[Any]) -> Problem | None:
    if parameter.language != "python" and type(given) is not str:
        return Problem("type", f"is {_shown(given)}; it must be source text")
    value = parameter.read(given)
    other = _type_of(allowed)
    if type(value) not in {parameter.reads_as, other}:
        return Problem("type", f"is {_shown(given)}, no {parameter.kind}; expected {_listed(allowed)}")
    if type(value) is parameter.reads_as and not _elements_fit(parameter, value, allowed):
        return Problem("type", f"is {_shown(given)}, whose elements are no {parameter.item_kind}")
    verbatim = other is not None and other is not parameter.reads_as
    right = value in allowed if verbatim else _is_allowed(parameter, value, allowed)
    return None if right else Problem("value", f"is {_shown(given)}; expected {_listed(allowed)}")


def _type_of(allowed: Sequence[Any]) -> type | None:
    return next((type(value) for value in allowed if value != ""), None)


def _elements_fit(parameter: _Parameter, value: Any, allowed: Sequence[Any]) -> bool:
    if parameter.item is None:
        return True
    # An argument that may be left out has an allowed value that is no list: then any elements will do here.
    return any(
        type(other) is not list or all(type(element) in {parameter.item, _type_of(other)} for element in value)
        for other in allowed
    )


def _is_allowed(parameter: _Parameter, value: Any, allowed: Sequence[Any]) -> bool:
    if parameter.reads_as is dict:
        return any(_same_object(value, other) for other in allowed)
    if parameter.reads_as is list and parameter.item is dict:
        return any(
            len(value) == len(other) and all(map(_same_object, value, other))
            for other in allowed
            if _is_sequence(other)
        )
    if parameter.reads_as is list:
        # What may be left out may also be empty: "" is an empty sequence.
        return _plain_list(value) in [_plain_list(other) for other in allowed if _is_sequence(other)]
    if parameter.reads_as is str:
        return _plain(value) in [_plain(other) for other in allowed if type(other) is str]
    return value in allowed


def _same_object(value: Any, allowed: Any) -> bool:
    """Whether an object has the allowed value under every key, and no others."""
    if type(value) is not dict or type(allowed) is not dict:
        return False
    choices = {key: values if _is_sequence(values) else [values] for key, values in allowed.items()}
    return all(key in choices and _plain(entry) in _plain_list(choices[key]) for key, entry in value.items()) and all(
        key in value or "" in values for key, values in choices.items()
    )


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | str)


def _plain_list(values: Sequence[Any]) -> list[Any]:
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    """A string as it is compared; anything else as it is."""
    return value.translate(_IGNORED).lower() if type(value) is str else value


def _names(expected: Mapping[str, Any]) -> str:
    return ", ".join(map(tool_name, expected))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}…"


def _listed(values: Sequence[Any]) -> str:
    shown = [_shown(value) for value in values if value != ""]
    return " or ".join(shown[:4]) + (" …" if len(shown) > 4 else "") + (", or left out" if "" in values else "")

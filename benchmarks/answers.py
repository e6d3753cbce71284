"""Generates right and wrong answers to BFCL's cases from their expected calls, for comparing checkers, not models."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from edgefc.evaluation.bfcl import tool_name

Calls = list[dict[str, Any]]


def answers(case: dict[str, Any], rng: random.Random) -> Iterator[tuple[str, Calls]]:
    """Yield pairs of a kind of change and the calls, the right answer first.

    case  needs `category`, `raw_functions` and `ground_truth`
    """
    properties = {f["name"]: f["parameters"]["properties"] for f in case["raw_functions"]}
    language = case["category"].removeprefix("simple_")
    right, full = (
        [_call(expected, properties, language, rng, with_optional=with_optional) for expected in case["ground_truth"]]
        for with_optional in (False, True)
    )
    yield "right", right
    seen = {json.dumps(right)}  # as text: 5 and 5.0 differ here
    for kind, calls in _changed_answers(right, full, language, rng):
        if (text := json.dumps(calls)) not in seen:
            seen.add(text)
            yield kind, calls


def _changed_answers(right: Calls, full: Calls, language: str, rng: random.Random) -> Iterator[tuple[str, Calls]]:
    yield "with optional arguments", full
    for change in CHANGES:
        calls = copy.deepcopy(rng.choice([right, full]))
        if change(calls, rng) is not False:
            yield change.__name__, calls
    for value_change in VALUES:
        for start in (right, full):
            calls = copy.deepcopy(start)
            if _change_one_value(calls, rng, value_change):
                yield value_change.__name__, calls
    if language in SOURCE:
        for text in rng.sample(SOURCE[language], 12):
            calls = copy.deepcopy(rng.choice([right, full]))
            if _change_one_value(calls, rng, lambda _value, _rng, text=text: text):
                yield "other source text", calls


def _call(
    expected: dict[str, Any], properties: dict[str, Any], language: str, rng: random.Random, *, with_optional: bool
) -> dict[str, Any]:
    ((name, allowed),) = expected.items()
    arguments = {}
    for argument, values in allowed.items():
        choices = [value for value in values if value != ""]
        if choices and (with_optional or "" not in values):
            parameter = properties.get(name, {}).get(argument, {})
            value = _choose(rng.choice(choices) if rng.random() < 0.4 else choices[0], with_optional=with_optional)
            arguments[argument] = _source_text(value, parameter, language) if language in SOURCE else value
    return {"name": tool_name(name), "arguments": arguments}


def _choose(value: Any, *, with_optional: bool) -> Any:
    """Choose values inside an expected value: an object's values are lists of allowed ones as well."""
    if isinstance(value, list):
        return [_choose(entry, with_optional=with_optional) for entry in value]
    if not isinstance(value, dict) or not all(isinstance(entry, list) for entry in value.values()):
        return value
    return {
        key: next(v for v in entry if v != "")
        for key, entry in value.items()
        if any(v != "" for v in entry) and (with_optional or "" not in entry)
    }


def _source_text(value: Any, parameter: dict[str, Any], language: str) -> str:
    """Write a value as source text of the declared type."""
    kind, item = parameter.get("type", "any"), (parameter.get("items") or {}).get("type", "String")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"' if language == "javascript" and kind == "String" and len(value) % 2 else value
    if isinstance(value, list):
        if language == "javascript":
            return json.dumps(value)
        parts = ", ".join(_source_text(entry, {"type": item}, language) for entry in value)
        return f"new ArrayList<>(Arrays.asList({parts}))" if kind == "ArrayList" else f"new {item}[]{{{parts}}}"
    if isinstance(value, dict):
        if language == "javascript":
            return "{" + ", ".join(f"{key}: {json.dumps(entry)}" for key, entry in value.items()) + "}"
        puts = " ".join(f'put("{key}", {json.dumps(entry)});' for key, entry in value.items())
        return f"new HashMap<String, Object>() {{{{ {puts} }}}}"
    suffixes = {"long": "L", "float": "f"} if language == "java" else {"Bigint": "n"}
    return f"{value}{suffixes.get(kind, '')}"


# -- changes of the calls -------------------------------------------------------------------------------------------


def drop_an_argument(calls: Calls, rng: random.Random) -> bool | None:
    arguments = rng.choice(calls)["arguments"]
    return None if arguments and arguments.pop(rng.choice(list(arguments))) else False


def add_an_argument(calls: Calls, rng: random.Random) -> None:
    rng.choice(calls)["arguments"]["another"] = rng.choice([1, "x", None, [], ""])


def rename_the_function(calls: Calls, rng: random.Random) -> None:
    call = rng.choice(calls)
    name = call["name"]
    call["name"] = rng.choice([name + "_2", name.upper(), name.replace("_", "."), name[:-1]])


def rename_an_argument(calls: Calls, rng: random.Random) -> bool | None:
    arguments = rng.choice(calls)["arguments"]
    if not arguments:
        return False
    name = rng.choice(list(arguments))
    arguments[rng.choice([name.upper(), name + "s"])] = arguments.pop(name)
    return None


def no_calls(calls: Calls, _: random.Random) -> None:
    calls.clear()


def one_call_less(calls: Calls, rng: random.Random) -> None:
    calls.pop(rng.randrange(len(calls)))


def the_same_twice(calls: Calls, rng: random.Random) -> None:
    calls.append(copy.deepcopy(rng.choice(calls)))


def one_twice_and_one_not(calls: Calls, _: random.Random) -> None:
    calls[-1] = copy.deepcopy(calls[0])


def other_order(calls: Calls, rng: random.Random) -> None:
    calls.reverse()
    for call in calls:
        items = list(call["arguments"].items())
        rng.shuffle(items)
        call["arguments"] = dict(items)


def arguments_of_another(calls: Calls, _: random.Random) -> None:
    calls[0]["arguments"], calls[-1]["arguments"] = calls[-1]["arguments"], calls[0]["arguments"]


def empty_arguments(calls: Calls, rng: random.Random) -> None:
    rng.choice(calls)["arguments"].clear()


CHANGES: list[Callable[[Calls, random.Random], bool | None]] = [
    drop_an_argument, add_an_argument, rename_the_function, rename_an_argument, no_calls, one_call_less,
    the_same_twice, one_twice_and_one_not, other_order, arguments_of_another, empty_arguments,
]  # fmt: skip


# -- changes of one value -------------------------------------------------------------------------------------------


def _change_one_value(calls: Calls, rng: random.Random, change: Callable[[Any, random.Random], Any]) -> bool:
    """Change one value: a whole argument, or with equal chance a value inside it; False if there is none."""
    container: Any = rng.choice(calls)["arguments"] if calls else {}
    if not container:
        return False
    key: Any = rng.choice(list(container))
    while isinstance(container[key], list | dict) and container[key] and rng.random() < 0.5:
        container = container[key]
        key = rng.choice(list(container) if isinstance(container, dict) else range(len(container)))
    container[key] = change(container[key], rng)
    return True


def spell_otherwise(value: Any, rng: random.Random) -> Any:
    """Change spelling and punctuation, which a lenient comparison of strings may ignore."""
    if isinstance(value, list):
        return [spell_otherwise(entry, rng) for entry in value]
    if not isinstance(value, str):
        return value
    return rng.choice([
        value.upper(), value.lower(), value.replace(" ", ""), value.replace(" ", "-"), value.replace(" ", "^"),
        f"*{value}*", f" {value}.", value + "!",
        value.replace("'", '"'), value.replace('"', "'"), value.replace(",", ""), value.replace("_", " "),
        value.replace("é", "e"), value + ";", value.replace("/", ""), f'"{value}"', value + "\n",
    ])  # fmt: skip


def another_value(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + rng.choice([1, -1, 0.5, 1e-9, 0])
    if isinstance(value, str):
        return rng.choice([value + "x", value[1:], "", value * 2, "zz"])
    if isinstance(value, list):
        return rng.choice([value[::-1], value[1:], [*value, *value[:1]], [], [value], value[:1]])
    if value is None:
        return 0
    return rng.choice(
        [{}, dict(list(value.items())[1:]), {**value, "another": 1}, {k.upper(): v for k, v in value.items()}]
    )


def another_type(value: Any, rng: random.Random) -> Any:
    choices: list[Any] = [None, str(value), [value], {"value": value}, True, 0, 1.0, "", [], {}, 7, "7"]
    if isinstance(value, bool):
        choices += [int(value), str(value).lower()] * 3
    elif isinstance(value, int | float):
        choices += [float(value), int(value), str(value), value == 1] * 3
    return rng.choice(choices)


def number_form(value: Any, _: random.Random) -> Any:
    """Swap 5 and 5.0 at any depth."""
    if isinstance(value, list):
        return [number_form(entry, _) for entry in value]
    if isinstance(value, dict):
        return {key: number_form(entry, _) for key, entry in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def numbers_as_text(value: Any, _: random.Random) -> Any:
    if isinstance(value, list):
        return [numbers_as_text(entry, _) for entry in value]
    return str(value) if isinstance(value, int | float) else value


def as_json_text(value: Any, _: random.Random) -> Any:
    return json.dumps(value)


def empty_value(value: Any, _: random.Random) -> Any:
    return type(value)() if isinstance(value, str | list | dict) else 0


def nothing(_value: Any, rng: random.Random) -> Any:
    return rng.choice([None, "", [], {}])


VALUES = [
    spell_otherwise, another_value, another_type, number_form, numbers_as_text, as_json_text, empty_value, nothing,
    spell_otherwise, another_value, another_type, another_value, number_form,
]  # fmt: skip
SOURCE = {
    "java": [
        "5", "5L", "5l", "-5L", "5.0", "5.0f", "5F", "1e3", "1e3f", "1_000", "true", "false", "True", "'c'", '"text"',
        "new int[]{1, 2}", "new int[] { 1,2 }", "new int[]{}", "new String[]{\"a\", \"b\"}",
        "new Object[]{1, \"abc\", true, 2L}",
        "new ArrayList<>()", "new ArrayList<Integer>(Arrays.asList(1, 2))", 'new ArrayList<>(Arrays.asList("a", "b"))',
        'new ArrayList<String>() {{ add("a"); add("b"); }}', "Arrays.asList(1, 2)", "List.of(1)", "[1, 2]", "{}",
        'new HashMap<String, Object>() {{ put("limit", 50); put("schemaFilter", "public"); }}', "new HashMap<>()",
        'new HashMap<String, String>() { { put("limit", "50"); } }', 'new HashMap<>() {{\n put("a", 1);\n}}', "null",
        "",
    ],
    "javascript": [
        "5", "5n", "-5", "5.0", "-5.25", "1e3", "true", "false", "TRUE", "'text'", '"text"', "`text`", "text", "null",
        "[1, 2]", "[ 1,2 ]", "[]", "['a', \"b\"]", "[1, 'two', true, x]", "[[1, 2], [3, 4]]", " [ [1,2] ] ",
        "[[1, 2], 3]",
        "new Array(1, 2)", "new Array('a', 'b')", "new Array()", "new Array([1, 2], [3])", "[{a: 1}, {b: 2}]",
        "{}", "{'a': 1}", '{"a": "x, y", b: [1, 2]}', "{a: {b: 1}, c: 2}", "{a: 'http://x', b: true}", "{a:\n1}", "{ }",
        "{a: [1, 'x:y'], b}", "() => { return 1; }", "undefined", "",
    ],
}  # fmt: skip

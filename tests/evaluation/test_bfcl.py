"""BFCL's rules: the same verdicts as its own checker, and the reasons that only edgefc gives."""

from __future__ import annotations

import collections
import copy
from typing import Any

import pytest

from edgefc.evaluation import literals
from edgefc.evaluation.bfcl import CATEGORIES, WITHOUT_EXPECTED, check_calls, judge
from edgefc.evaluation.cases import Case, ModelAnswer
from edgefc.types import Call
from tests.evaluation.checkout import entries


def call_of(name: str, arguments: dict[str, Any]) -> Call:
    return Call("", name, arguments)


def calls_of(calls: list[dict[str, Any]]) -> list[Call]:
    return [call_of(call["name"], call["arguments"]) for call in calls]


@pytest.mark.parametrize("category", [name for name in CATEGORIES if name not in WITHOUT_EXPECTED])
def test_the_verdicts_are_the_reference_checkers(category: str) -> None:
    verdicts: collections.Counter[bool] = collections.Counter()
    for entry in entries():
        if entry["category"] == category:
            for calls, right in entry["answers"]:
                mistake = check_calls(category, entry["functions"], calls_of(calls), entry["expected"])
                assert (mistake is None) == right, (entry["id"], calls, mistake)
                verdicts[right] += 1
    assert min(verdicts[True], verdicts[False]) >= 8


def test_judging_changes_nothing() -> None:
    for entry in entries()[:20]:
        before = copy.deepcopy(entry)
        for calls, _ in entry["answers"]:
            check_calls(entry["category"], entry["functions"], calls_of(calls), entry["expected"])
        assert entry == before


DOCS = [
    {
        "name": "maps.route",
        "parameters": {
            "type": "dict",
            "properties": {
                "to": {"type": "string"},
                "stops": {"type": "integer"},
                "km": {"type": "float"},
                "via": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["to"],
        },
    }
]
ALLOWED = {"to": ["St. Gallen"], "stops": [2, ""], "km": [5.0, ""], "via": [["Zug"], ""]}
RIGHT: dict[str, Any] = {"to": "St Gallen"}


@pytest.mark.parametrize(
    ("name", "arguments", "kind"),
    [
        ("maps_route", RIGHT, None),
        ("maps_route", {"to": "st.gallen", "stops": 2, "km": 5, "via": ["ZUG"]}, None),
        ("maps.route", RIGHT, "name"),
        ("maps_route", {}, "missing"),
        ("maps_route", {**RIGHT, "speed": 1}, "unexpected"),
        ("maps_route", {"to": "Bern"}, "value"),
        ("maps_route", {**RIGHT, "stops": 2.0}, "type"),
        ("maps_route", {**RIGHT, "stops": True}, "type"),
        ("maps_route", {**RIGHT, "km": 10**400}, "type"),
        ("maps_route", {**RIGHT, "via": "Zug"}, "type"),
        ("maps_route", {**RIGHT, "via": [1]}, "value"),  # elements of an optional list may have any type
        ("maps_route", {**RIGHT, "via": ["Zug", "Zug"]}, "value"),
    ],
)
def test_a_mistake_has_a_kind_and_names_the_function(name: str, arguments: dict[str, Any], kind: str | None) -> None:
    mistake = check_calls("simple_python", DOCS, [call_of(name, arguments)], [{"maps.route": ALLOWED}])
    assert (mistake.kind if mistake else None) == kind
    if mistake is not None:
        assert "maps_route" in mistake.reason


def test_parallel_calls_may_come_in_any_order_but_each_counts_once() -> None:
    expected = [{"maps.route": {"to": [city]}} for city in ("Bern", "Chur")]
    bern, chur = (call_of("maps_route", {"to": city}) for city in ("Bern", "Chur"))
    assert check_calls("parallel", DOCS, [chur, bern], expected) is None
    assert check_calls("parallel", DOCS, [bern, bern], expected) is not None
    mistake = check_calls("parallel", DOCS, [bern], expected)
    assert mistake is not None
    assert mistake.kind == "count"


def test_a_key_of_an_object_may_have_a_single_allowed_value_instead_of_a_list() -> None:
    docs = [{"name": "f", "parameters": {"properties": {"at": {"type": "dict"}}}}]
    for value, right in ((7, True), (8, False)):
        mistake = check_calls("simple_python", docs, [call_of("f", {"at": {"x": value}})], [{"f": {"at": [{"x": 7}]}}])
        assert (mistake is None) == right


@pytest.mark.parametrize(
    ("category", "calls", "right"),
    [
        ("irrelevance", (), True),
        ("live_irrelevance", (call_of("f", {}),), False),
        ("live_relevance", (call_of("f", {}),), True),
        ("live_relevance", (), False),
    ],
)
def test_relevance_is_decided_by_calling_anything(category: str, calls: tuple[Call, ...], right: bool) -> None:
    case = Case("1", category, [{"role": "user", "content": "?"}], [], None)
    assert (judge(case, ModelAnswer("call" if calls else "answer", calls)) is None) == right


@pytest.mark.parametrize(
    ("text", "kind", "item", "value"),
    [
        ("5L", "long", None, 5),
        ("5", "long", None, "5"),
        ("9" * 5000, "integer", None, "9" * 5000),
        ("5.0f", "float", None, 5.0),
        ("5.0", "double", None, 5.0),
        ("true", "boolean", None, True),
        ("new int[]{1, 2}", "Array", "integer", [1, 2]),
        ("{1, 2}", "Array", "integer", "{1, 2}"),
        ('new ArrayList<String>(Arrays.asList("a", "b"))', "ArrayList", "String", ["a", "b"]),
        ('new HashMap<String, Object>() {{ put("a", 1); put("b", true); }}', "HashMap", None, {"a": 1, "b": True}),
        ("mapController", "any", None, "mapController"),
    ],
)
def test_java_source_is_read(text: str, kind: str, item: str | None, value: object) -> None:
    assert literals.java(text, kind, item) == value


@pytest.mark.parametrize(
    ("text", "kind", "item", "value"),
    [
        ("5n", "Bigint", None, 5),
        ("'text'", "String", None, "text"),
        ("text", "String", None, "text"),
        ("[1, 'two', true]", "array", None, [1, "two", True]),
        ("[[1, 2], [3]]", "array", "array", [[1, 2], [3]]),
        ("new Array('a')", "array", "String", ["a"]),
        ("{'a': 1, b: [1, 2], c: x}", "dict", None, {"a": 1, "b": [1, 2], "c": "x"}),
        ("function", "any", None, "function"),
    ],
)
def test_javascript_source_is_read(text: str, kind: str, item: str | None, value: object) -> None:
    assert literals.javascript(text, kind, item) == value

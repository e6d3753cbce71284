"""Limits at their boundary: hostile sizes end in a typed error or a small grammar, never in a large one."""

from __future__ import annotations

import gc
import json
import threading
import time
from typing import Any

import pytest

from edgefc.cache import TextCache
from edgefc.errors import SchemaError
from edgefc.grammar import compile_schema, deadline, schema_gbnf
from edgefc.grammar.json_schema.document import MAX_BYTES, MAX_DEPTH
from tests.grammar.executors import Guidance, LlamaCpp, accepts


def nested(depth: int, wrap: Any = lambda inner: {"type": "array", "items": inner, "maxItems": 1}) -> Any:
    schema: Any = {"type": "null"}
    for _ in range(depth):
        schema = wrap(schema)
    return schema


WRAPS = {
    "items": lambda inner: {"type": "array", "items": inner},
    "properties": lambda inner: {"type": "object", "properties": {"a": inner}},
    "anyOf": lambda inner: {"anyOf": [inner, {"type": "integer"}]},
    "allOf": lambda inner: {"allOf": [inner]},
}


@pytest.mark.parametrize("keyword", WRAPS)
def test_schemas_may_nest_up_to_the_limit(keyword: str) -> None:
    wrap = WRAPS[keyword]
    deep = MAX_DEPTH // (2 if keyword in {"anyOf", "allOf"} else 1)
    LlamaCpp(schema_gbnf(nested(deep, wrap)))
    with pytest.raises(SchemaError):
        compile_schema(nested(deep + 1, wrap))


@pytest.mark.parametrize("keyword", WRAPS)
@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_much_deeper_schemas_are_refused(keyword: str, depth: int) -> None:
    with pytest.raises(SchemaError):
        compile_schema(nested(depth, WRAPS[keyword]))


def test_a_schema_may_have_one_mebibyte() -> None:
    empty = len(json.dumps({"description": ""}))
    compile_schema({"description": "a" * (MAX_BYTES - empty)})
    with pytest.raises(SchemaError):
        compile_schema({"description": "a" * (MAX_BYTES - empty + 1)})
    with pytest.raises(SchemaError):
        compile_schema({"description": "é" * (MAX_BYTES // 2)})


def test_a_long_chain_of_references_is_followed_or_refused() -> None:
    for length in (100, 10_000):
        definitions: dict[str, Any] = {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(length)}
        definitions[str(length)] = {"type": "null"}
        try:
            grammar = compile_schema({"$ref": "#/$defs/0", "$defs": definitions})
        except SchemaError:
            assert length > 100
        else:
            assert accepts(grammar, "null")


def test_shared_definitions_cost_once() -> None:
    definitions: dict[str, Any] = {
        str(n): {"type": "array", "prefixItems": [{"$ref": f"#/$defs/{n + 1}"}] * 2, "items": False, "minItems": 2}
        for n in range(30)
    }
    definitions["30"] = {"type": "null"}
    assert len(schema_gbnf({"$ref": "#/$defs/0", "$defs": definitions})) < 10_000


def test_combinations_that_multiply_are_refused() -> None:
    both = {"anyOf": [{"minimum": 1}, {"maxLength": 2}]}
    with pytest.raises(SchemaError):
        compile_schema({"allOf": [both] * 30})
    definitions: dict[str, Any] = {str(n): {"anyOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(30)}
    definitions["30"] = {"type": "null"}
    with pytest.raises(SchemaError):
        compile_schema({"$ref": "#/$defs/0", "$defs": definitions})


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1000, 1999, 2000, 2001, 250_000, 250_001, 10**9, 10**30])
@pytest.mark.parametrize("keywords", [("string", "minLength", "maxLength"), ("array", "minItems", "maxItems")])
def test_every_count_has_a_small_grammar(keywords: tuple[str, str, str], count: int) -> None:
    kind, low, high = keywords
    for schema in ({high: count}, {low: count}, {low: count, high: count}, {low: count // 2, high: count}):
        try:
            grammar = compile_schema({"type": kind, "items": {"enum": [1, 2]}, **schema})
        except SchemaError:
            assert count > 10**9
            continue
        assert len(grammar.gbnf) < 3_000
        LlamaCpp(grammar.gbnf)
        Guidance(grammar.lark)


def test_counts_are_exact_around_groups_of_repetitions() -> None:
    for low, high in ((499, 501), (0, 1001), (1003, None), (1000, 1000)):
        schema = {"type": "array", "items": {"const": 1}, "minItems": low}
        grammar = compile_schema(schema if high is None else {**schema, "maxItems": high})
        for count in (0, 498, 499, 500, 501, 502, 999, 1000, 1001, 1002, 1003, 1004, 1500):
            fits = low <= count and (high is None or count <= high)
            assert accepts(grammar, json.dumps([1] * count)) == fits, (low, high, count)


def test_the_grammar_of_optional_properties_is_linear() -> None:
    properties = {f"p{n}": {"type": "null"} for n in range(300)}
    grammar = compile_schema({"type": "object", "properties": properties})
    assert len(grammar.gbnf) < 40_000
    assert accepts(grammar, '{"p3": null, "p250": null, "p299": null}')
    assert not accepts(grammar, '{"p250": null, "p3": null}')


def test_large_enums_are_compiled_and_larger_ones_refused() -> None:
    grammar = compile_schema({"enum": [f"value {n}" for n in range(3_000)]})
    assert accepts(grammar, '"value 2999"')
    assert not accepts(grammar, '"value 3000"')
    with pytest.raises(SchemaError):
        compile_schema({"enum": list(range(60_000))})


def test_the_same_schema_gives_the_same_text() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array"}, "b": {"type": "object"}}}
    assert compile_schema(schema) is compile_schema(json.loads(json.dumps(schema)))


def test_a_cache_stays_within_its_bound() -> None:
    cache: TextCache[str] = TextCache(len, bound=100)
    for number in range(1_000):
        assert cache.get(f"content {number}", lambda: "x" * 30) == "x" * 30
        assert cache.total <= 100
    assert cache.get("large", lambda: "y" * 101) == "y" * 101
    assert cache.total <= 100
    assert cache.get("content 999", lambda: "new") == "x" * 30
    assert cache.get("content 1", lambda: "new") == "new"


def test_an_enum_written_as_a_tree_accepts_exactly_its_values() -> None:
    values = [
        "",
        *("ab"[:n] for n in (1, 2)),
        *("a" * n for n in range(3, 60)),
        *(f"value {n}" for n in range(40)),
        "é",
        "éa",
        7,
        77,
    ]
    grammar = compile_schema({"enum": values})
    assert [value for value in values if not accepts(grammar, json.dumps(value, ensure_ascii=False))] == []
    assert [text for text in ('"aa"', '"b"', '"value"', '"value 40"', '"value 1', '"éb"', "777", "", '"') if accepts(grammar, text)] == []  # fmt: skip


def test_garbage_collections_do_not_count_as_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(time, "thread_time", lambda: next(clock) * 1.0)
    gc.disable()
    try:
        with deadline.deadline(2.5):  # begins at 0
            gc.collect()  # 1 to 2
            deadline.tick()  # 3, of which 1 was spent collecting
            with pytest.raises(deadline.OutOfTimeError):
                deadline.tick()  # 4
    finally:
        gc.enable()


def test_a_deadline_that_ends_during_a_collection_of_another_thread_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began, end, ended = threading.Event(), threading.Event(), threading.Event()

    def other() -> None:
        with deadline.deadline(1):
            began.set()
            end.wait(60)
        ended.set()

    def end_the_other(phase: str, _: object) -> None:
        if phase == "stop":
            end.set()
            ended.wait(60)

    monkeypatch.setattr(time, "thread_time", lambda: 100.0)
    thread = threading.Thread(target=other)
    thread.start()
    began.wait(60)
    gc.disable()
    gc.callbacks.append(end_the_other)
    try:
        with deadline.deadline(1):
            gc.collect()
            deadline.tick()
    finally:
        gc.callbacks.remove(end_the_other)
        gc.enable()
        end.set()
        thread.join()


def test_no_callback_stays_registered_for_garbage_collections() -> None:
    """Python drops exceptions raised there, a Ctrl-C among them."""
    before = list(gc.callbacks)
    with deadline.deadline(1):
        assert len(gc.callbacks) == len(before) + 1
    assert gc.callbacks == before

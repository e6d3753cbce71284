"""Bounds of numbers, checked with arithmetic: every integer around small ranges, and random decimals."""

from __future__ import annotations

import random
import re
from decimal import Decimal

import pytest

from edgefc.errors import SchemaError
from edgefc.grammar import compile_schema, numbers
from edgefc.grammar.lark import _regex
from edgefc.grammar.rules import NOTHING, Node
from tests.grammar.executors import accepts


def matcher(node: Node) -> re.Pattern[str]:
    """Compile a node with Python's re; llguidance reads the same text apart from its escapes."""
    text = "(?!)" if node == NOTHING else _regex(node)
    return re.compile(re.sub(r"\\x\{([0-9A-F]+)\}", lambda found: f"\\x{int(found[1], 16):02x}", text))


@pytest.mark.parametrize("low", [None, -1000, -101, -100, -99, -10, -9, -1, 0, 1, 9, 10, 42, 99, 100, 101, 999])
def test_only_integers_within_bounds_are_accepted(low: int | None) -> None:
    for high in (None, -999, -100, -42, -10, -1, 0, 1, 5, 10, 11, 19, 20, 99, 100, 109, 110, 111, 999, 1000, 1234):
        pattern = matcher(numbers.integer(low, high))
        for value in range(-1300, 1300):
            fits = (low is None or low <= value) and (high is None or value <= high)
            assert bool(pattern.fullmatch(str(value))) == fits, (low, high, value)


def test_only_decimals_within_bounds_are_accepted() -> None:
    rng = random.Random(1)
    edges = [
        "0",
        "1",
        "-1",
        "0.5",
        "-0.5",
        "2.25",
        "-3.75",
        "10",
        "99.99",
        "-0.001",
        "0.001",
        "12.5",
        "1E+20",
        "-1E+20",
    ]
    texts = [sign + whole + part for sign in ("", "-") for whole in ("0", "1", "2", "3", "9", "10", "12", "99", "100") for part in ("", ".0", ".5", ".50", ".24", ".25", ".26", ".75", ".76", ".99", ".990", ".9901", ".001", ".0010", ".0011", ".0009")]  # fmt: skip
    for _ in range(400):
        low, high = ((Decimal(rng.choice(edges)), rng.random() < 0.5) if rng.random() < 0.8 else None for _ in range(2))
        pattern = matcher(numbers.decimal(low, high))
        for text in texts:
            value = Decimal(text)
            if value.is_signed() and value == 0:
                continue  # a negative zero need not be accepted
            fits = (low is None or value > low[0] or (value == low[0] and not low[1])) and (
                high is None or value < high[0] or (value == high[0] and not high[1])
            )
            assert bool(pattern.fullmatch(text)) == fits, (low, high, text)
        assert not pattern.fullmatch("00")
        assert not pattern.fullmatch("1.")
        assert not pattern.fullmatch(".5")


def test_an_excluded_bound_is_not_reached_by_rounding() -> None:
    pattern = matcher(numbers.decimal((Decimal(0), True), (Decimal(1), True)))
    closest = max(
        (f"0.{'9' * count}" for count in range(1, 30)), key=lambda text: (bool(pattern.fullmatch(text)), len(text))
    )
    assert float(closest) < 1


def test_no_number_runs_on() -> None:
    pattern = matcher(numbers.number())
    for size in range(1, 17):
        digits = "12345678901234567890"
        assert pattern.fullmatch(f"{digits[:size]}.{digits[: 17 - size]}")
        assert not pattern.fullmatch(f"{digits[:size]}.{digits[: 18 - size]}")
    assert pattern.fullmatch("12345678901234567")
    assert pattern.fullmatch("-0.00001e-30")
    assert not any(pattern.fullmatch(text) for text in ("123456789012345678", "1e100", "0." + "1" * 18, "01", "1.", ""))
    integers = matcher(numbers.integer())
    assert integers.fullmatch(str(2**63 - 1))
    assert not integers.fullmatch("1" * 20)
    assert matcher(numbers.integer(10**25)).fullmatch("1" + "0" * 25), "a bound may demand more digits"


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e16 / 3, -123456.789, 5e-7, 1.7976931348623157e88, 2.5e-9, 1e22])
def test_every_double_of_a_usual_size_can_be_written_exactly(value: float) -> None:
    assert matcher(numbers.number()).fullmatch(repr(value))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "not": {"enum": [3, 5]}},
        {"type": "integer", "not": {"const": 7}},
        {"type": "number", "not": {"type": "integer"}},
    ],
)
def test_numbers_with_exceptions_do_not_run_on(schema: dict[str, object]) -> None:
    grammar = compile_schema(schema)
    assert not grammar.unenforced
    text = "1" * 9 + ("" if schema["type"] == "integer" else ".25")
    assert accepts(grammar, text)
    assert not accepts(grammar, "1" * 40)
    assert not accepts(grammar, f"1.{'1' * 40}")


def test_a_multiple_of_more_digits_than_decimals_have() -> None:
    with pytest.raises(SchemaError, match="no number is within the bounds"):
        compile_schema({"type": "number", "multipleOf": 1e300, "maximum": 9007199254740992, "exclusiveMinimum": 1})

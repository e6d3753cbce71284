"""Statistics of a generation."""

from __future__ import annotations

import dataclasses

from edgefc.engine import GenerationStats


def test_attempts_add_up_to_one_cost() -> None:
    numbers = {
        field.name: number
        for number, field in enumerate(dataclasses.fields(GenerationStats), 1)
        if field.name not in {"cached_from", "resamples"}
    }
    first = GenerationStats(**numbers, cached_from="disk")  # type: ignore[arg-type]
    later = GenerationStats(**{name: 100 * number for name, number in numbers.items()}, cached_from="slot")  # type: ignore[arg-type]
    total = dataclasses.asdict(first + later + later)
    from_the_first = {"prompt_tokens", "cached_tokens", "seed"}
    assert (total.pop("cached_from"), total.pop("resamples")) == ("disk", 2)
    assert total.pop("completion_tokens") == later.completion_tokens
    for name, value in total.items():
        assert value == numbers[name] * (1 if name in from_the_first else 201), name

"""models.toml and names."""

from __future__ import annotations

import pytest

from edgefc import registry
from edgefc.errors import FormatError, ModelNotFoundError
from edgefc.formats import family_names


def test_every_card_names_a_family_there_is() -> None:
    for card in registry.cards().values():
        assert card.family in family_names(), card.id


def test_demo_is_on_this_machine() -> None:
    assert registry.resolve("demo").path.is_file()


@pytest.mark.parametrize(("name", "near"), [("dem", "demo"), ("arch-function-3", "arch-function-3b")])
def test_an_unknown_name_suggests_near_ones(name: str, near: str) -> None:
    with pytest.raises(ModelNotFoundError, match=near):
        registry.resolve(name)


def test_a_model_that_is_not_here_says_what_to_do() -> None:
    with pytest.raises(ModelNotFoundError, match="--family arch-function"):
        registry.resolve("arch-function-3b")


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        (5, "table"),
        ({"titel": "x"}, "titel"),
        ({"title": "x"}, "lacks"),
        ({"title": 5, "family": "", "size": "", "context": 1, "licence": ""}, "title"),
    ],
)
def test_a_wrong_entry_is_named(entry: object, place: str) -> None:
    with pytest.raises(FormatError, match=place):
        registry._card("m", entry)

"""Dialects: what is found about a model's weights, and how it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import edgefc
from edgefc import formats, inspection
from edgefc.chat import dialect
from edgefc.chat.confidence import auroc
from edgefc.chat.dialect import Dialect
from edgefc.types import Message


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEFC_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_a_finding_is_kept_by_the_file(demo_path: Path) -> None:
    found = Dialect("json-list", 0.1, 0.9, call=0.5, auroc=0.97)
    assert dialect.stored(demo_path) is None
    dialect.keep(demo_path, found)
    assert dialect.stored(demo_path) == found
    family, detection = dialect.family_in_dialect({}, demo_path.name, found)
    assert (family.name, family.decision and family.decision.call) == ("json-list", 0.5)
    assert "90%" in detection.reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 2, "models": {}}',
        '{"format": 1, "models": {"KEY": {"family": "nothing", "declared": 0, "any_call": 1}}}',
        '{"format": 1, "models": {"KEY": {"family": "hermes", "declared": NaN, "any_call": 1}}}',
        '{"format": 1, "models": {"KEY": {"family": "hermes"}}}',
        '{"format": 1, "models": {"KEY": {"family": "hermes", "declared": null, "any_call": 1}}}',
        '{"format": 1, "models": {"KEY": 5}}',
    ],
)
def test_a_damaged_file_is_as_none(text: str, demo_path: Path, cache: Path) -> None:
    dialect.keep(demo_path, Dialect("hermes", 0.0, 0.0))
    (path,) = cache.glob("dialects.json")
    (key,) = json.loads(path.read_text())["models"]
    path.write_text(text.replace("KEY", key))
    assert dialect.stored(demo_path) is None
    dialect.keep(demo_path, Dialect("hermes", 0.9, 0.9))
    assert dialect.stored(demo_path) == Dialect("hermes", 0.9, 0.9)


def test_a_loaded_model_speaks_its_dialect(family_model: Callable[[str], Path]) -> None:
    path = family_model("hermes")
    with edgefc.load(path, n_ctx=512, prefix_disk=0) as model:
        assert model.family.name == "generic"  # random weights do not call in any spelling
    dialect.keep(path, Dialect("json-list", 0.1, 0.9, call=-0.25))
    assert inspection.describe(path)["family"] == "json-list"
    assert "90%" in inspection.describe(path)["because"]
    with edgefc.load(path, n_ctx=512, prefix_disk=0) as model:
        assert model.family.name == "json-list"
        assert model.family.decision is not None
        assert model.family.decision.call == -0.25
    with edgefc.load(path, n_ctx=512, prefix_disk=0, family="hermes") as model:
        assert model.family.name == "hermes"


def test_results_of_calls_become_facts_below_the_question() -> None:
    conversation: list[Message] = [
        {"role": "user", "content": "Weather in Oslo and Rome?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
                {"id": "b", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "b", "content": "rain"},
        {"role": "tool", "tool_call_id": "a", "content": "sun"},
        {"role": "assistant", "content": "Sun in Oslo, rain in Rome."},
        {"role": "user", "content": "Thanks."},
    ]
    text = formats.load_family("json-list").render(conversation, None).text
    facts = 'Weather in Oslo and Rome?\n\nResults:\nweather({"city": "Oslo"}): sun\nweather({"city": "Rome"}): rain<|im_end|>'
    assert facts in text
    assert "```" not in text
    assert text.index("Sun in Oslo, rain in Rome.") < text.index("Thanks.")


def test_only_weights_that_call_in_another_spelling_have_another_dialect() -> None:
    hermes = formats.load_family("hermes")
    assert dialect._dialect([(0.1, 0.9), (0.05, 0.7)], hermes).family == "json-list"
    assert dialect._dialect([(0.9, 0.95)], hermes).family == "hermes"  # it says calls as it was tuned to
    assert dialect._dialect([(0.01, 0.2)], hermes).family == "hermes"  # it was not tuned to call at all


def test_the_threshold_lies_between_the_scores() -> None:
    assert -2.5 <= -dialect._threshold([3.0, 2.0, 1.5], [-4.0, -5.0]) <= 1.5
    assert auroc([3.0, 2.0], [1.0, 2.0]) == 0.875
    assert dialect._threshold([50.0, 60.0], [40.0]) == -dialect.MAX_BIAS


def test_probes_are_questions_with_usable_tools() -> None:
    found = dialect.probes()
    assert {probe.calls for probe in found} == {0, 1, 2, 3}
    assert len({probe.question for probe in found}) == len(found)


@pytest.mark.parametrize(
    ("text", "is_call"),
    [("```", True), ("{", True), ("[", True), ("[]", False), ("To", False), ("\n", False), ("<tools>", True)],
)
def test_beginnings_of_calls(text: str, is_call: bool) -> None:
    assert formats.begins_like_call(text) == is_call

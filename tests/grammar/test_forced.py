"""The bound of forced text takes steps in proportion to the grammar."""

from __future__ import annotations

import pytest

from edgefc.grammar import compile_schema, forced


@pytest.mark.parametrize("keys", [[], ["required"], ["additionalProperties"]], ids=str)
def test_steps_grow_with_the_properties_and_no_faster(monkeypatch: pytest.MonkeyPatch, keys: list[str]) -> None:
    steps = [count_steps(monkeypatch, number, keys) for number in (100, 400)]
    assert steps[1] < 6 * steps[0], "quadratic growth would be 16 times"


def count_steps(monkeypatch: pytest.MonkeyPatch, number: int, keys: list[str]) -> int:
    properties = {f"tag{i}": {"type": "string"} for i in range(number)}
    more = {"required": list(properties), "additionalProperties": False}
    steps = 0
    run = forced._Analysis._run

    def counted(self: forced._Analysis, node: forced.Node) -> forced._Run:
        nonlocal steps
        steps += 1
        return run(self, node)

    with monkeypatch.context() as patch:
        patch.setattr(forced._Analysis, "_run", counted)
        compile_schema({"type": "object", "properties": properties, **{key: more[key] for key in keys}})
    assert steps > number
    return steps

"""Patterns of counted repetitions, which llguidance would write out with the interpreter locked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.server_process import CHAT, ServerProcess

PATTERNS = [
    (1, "^(a{1000}){1000}$"), (1, "^(a{1000}){10000}$"), (1, "^((c{100}){100}){100}$"), (1, "^((ab){500}){1000}$"),
    (5, "^(pa{1000}){1000}$"), (1, "^(é{1000}){300}$"), (1, "^(a{500,1000}){500,1000}$"), (1, "^(a{1000}){1000,}$"),
    (1, "^x?(a{1000}){1000}[bc]$"), (20, "^pa{90000}$"),
]  # fmt: skip
HARMLESS = ["^a{10000}$", "^([ab]{1000}){1000}$", "^(a?){100000}$", "^((a|b){1,1000}c){1,1000}$"]


def request(count: int, pattern: str) -> dict[str, Any]:
    properties = {f"p{n}": {"type": "string", "pattern": pattern.replace("p", str(n))} for n in range(count)}
    schema = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return {
        "messages": [{"role": "user", "content": "x"}], "max_tokens": 5, "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    }  # fmt: skip


@pytest.mark.parametrize(("count", "pattern"), PATTERNS)
def test_a_pattern_that_is_too_large_written_out_is_refused(server: ServerProcess, count: int, pattern: str) -> None:
    answer = server.post(CHAT, request(count, pattern))
    assert answer.status == 400, answer.body
    assert "too many" in answer.error["message"] or "bytes of constant text" in answer.error["message"]


def test_other_counts_are_accepted(server: ServerProcess) -> None:
    for pattern in HARMLESS:
        assert server.post(CHAT, request(1, pattern)).status == 200, pattern

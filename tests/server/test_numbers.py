"""Numbers that are no numbers: what a client sends is refused with 400, and no answer fails half-way."""

from __future__ import annotations

import json

import pytest

from edgefc.formats.json_text import has_infinity
from edgefc.types import Call
from tests.server.server_process import CHAT, ServerProcess

LARGE = ["1e999", "-1e999", "1E+400", "9" * 400 + ".0", "NaN", "Infinity", "-Infinity"]
WITH_NUMBER = {
    CHAT: '{"messages": [{"role": "user", "content": "x"}], "max_tokens": 2, "metadata": {"a": NUMBER}}',
    "/v1/responses": '{"input": "x", "max_output_tokens": 16, "metadata": {"a": [NUMBER]}}',
    "/v1/messages": '{"messages": [{"role": "user", "content": "x"}], "max_tokens": 2, "tools": [{"name": "f", '
    '"input_schema": {"type": "object", "properties": {"a": {"maximum": NUMBER}}}}]}',
    "/v1/apply-template": '{"messages": [{"role": "assistant", "content": "x", "x": NUMBER}]}',
}


@pytest.mark.parametrize("path", WITH_NUMBER)
def test_a_number_that_json_cannot_spell_is_refused(server: ServerProcess, path: str) -> None:
    for number in LARGE:
        answer = server.request("POST", path, raw=WITH_NUMBER[path].replace("NUMBER", number).encode())
        assert answer.status in {400, 422}, (number, answer.body)
        assert "error" in answer.json


def test_only_infinities_are_found() -> None:
    for text in ('{"a": [1e308, 1e-999, "1e999", 0e999]}', "1" * 400, '"' + "9" * 400 + '"', "[]"):
        assert not has_infinity(text.encode(), json.loads(text))
    for text in ('{"a": [[{"b": 1e309}]]}', "-1E0400", "9" * 400 + ".5"):
        assert has_infinity(text.encode(), json.loads(text))


def test_the_arguments_of_a_call_can_be_written_as_json_again() -> None:
    call = Call.parse(
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1e999, "b": [-1e999]}'}}
    )
    assert json.loads(json.dumps(call.arguments, allow_nan=False)) == {
        "a": 1.7976931348623157e308,
        "b": [-1.7976931348623157e308],
    }
    with pytest.raises(ValueError, match="NaN is not JSON"):
        Call.parse({"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": NaN}'}})

"""MCP servers of the configuration in the Responses API: approvals, calls that run in the server, refusals."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.mcp.conftest import RAW_SERVER
from tests.server.examples import TOOLS
from tests.server.server_process import ServerProcess

ECHO: Any = {"type": "mcp", "server_label": "raw", "name": "echo"}
UNASKED: Any = [{"type": "mcp", "server_label": "raw", "require_approval": "never", "allowed_tools": ["echo"]}]
ASKED: Any = [{"type": "mcp", "server_label": "raw"}]
QUESTION = "Echo hello"


def _server(mode: str = "normal", **keys: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-I", "-S", str(RAW_SERVER), mode], **keys}


@pytest.fixture(scope="module")
def mcp_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    """Serve the demo model with MCP servers: one that asks, one that may run, one that cannot start."""
    path = tmp_path_factory.mktemp("mcp") / "mcp.json"
    servers = {"raw": _server(), "free": _server(approve="read-only"), "gone": {"command": "edgefc-none"}}
    path.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    with ServerProcess(("--mcp", str(path))) as server:
        yield OpenAI(base_url=f"http://{server.host}:{server.port}/v1", api_key="none", max_retries=0, timeout=300)


def _create(client: OpenAI, **fields: Any) -> Any:
    defaults = {"model": "demo", "input": QUESTION, "temperature": 0, "max_output_tokens": 60}
    return client.responses.create(**{**defaults, **fields})


def _of(response: Any, kind: str) -> list[Any]:
    return [item for item in response.output if item.type == kind]


def test_an_allowed_call_runs_and_its_result_is_read(mcp_client: OpenAI) -> None:
    response = _create(mcp_client, tools=UNASKED, tool_choice=ECHO)
    (listing,) = _of(response, "mcp_list_tools")
    assert [tool.name for tool in listing.tools] == ["echo"]
    call, *_ = _of(response, "mcp_call")
    assert (call.server_label, call.name, call.error, call.status) == ("raw", "echo", None, "completed")
    assert call.output == str(json.loads(call.arguments)["text"])
    assert response.output.index(call) > response.output.index(listing)
    assert _of(response, "message"), "the model answers when it has the result"
    assert not _of(response, "function_call")
    assert not _of(response, "mcp_approval_request")


def test_events_fit_the_items(mcp_client: OpenAI) -> None:
    events = list(_create(mcp_client, tools=UNASKED, tool_choice=ECHO, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    output = events[-1].response.output
    done = {event.output_index: event.item for event in events if event.type == "response.output_item.done"}
    assert [done[index] for index in range(len(output))] == output
    (index,) = [index for index, item in enumerate(output) if item.type == "mcp_call"][:1]
    parts = [event.delta for event in events
             if event.type == "response.mcp_call_arguments.delta" and event.output_index == index]  # fmt: skip
    assert "".join(parts) == output[index].arguments
    of_call = [event.type for event in events if getattr(event, "item_id", None) == output[index].id]
    assert of_call[0] == "response.mcp_call.in_progress"
    assert of_call[-2:] == ["response.mcp_call_arguments.done", "response.mcp_call.completed"]


@pytest.mark.parametrize("approve", [True, False])
def test_a_call_waits_for_approval(approve: bool, mcp_client: OpenAI) -> None:
    first = _create(mcp_client, tools=ASKED, tool_choice=ECHO)
    assert first.status == "completed"
    (question,) = _of(first, "mcp_approval_request")
    assert (question.server_label, question.name) == ("raw", "echo")
    assert not _of(first, "mcp_call")
    answer = {"type": "mcp_approval_response", "approval_request_id": question.id, "approve": approve}
    items = [{"role": "user", "content": QUESTION}, *(item.model_dump() for item in first.output), answer]
    second = _create(mcp_client, tools=ASKED, input=items)
    assert not _of(second, "mcp_list_tools"), "the client has the list"
    call, *_ = _of(second, "mcp_call")
    assert (call.approval_request_id, call.arguments) == (question.id, question.arguments)
    if approve:
        assert (call.output, call.error) == (str(json.loads(call.arguments)["text"]), None)
    else:
        assert call.error.content == [{"type": "text", "text": "the user did not allow this call"}]
    # Sent back once more, the call has its result, and does not run again.
    items += [item.model_dump() for item in second.output]
    third = _create(mcp_client, tools=ASKED, input=[*items, {"role": "user", "content": "Thanks"}], tool_choice="none")
    assert not _of(third, "mcp_call")


def test_the_configuration_allows_calls(mcp_client: OpenAI) -> None:
    tools: Any = [{"type": "mcp", "server_label": "free", "allowed_tools": {"read_only": True}}]
    response = _create(mcp_client, tools=tools, tool_choice={**ECHO, "server_label": "free"})
    assert _of(response, "mcp_call")


def test_functions_of_the_client_stay_its_own(mcp_client: OpenAI) -> None:
    flat = [{"type": "function", **tool["function"]} for tool in TOOLS]
    choice = {"type": "function", "name": "get_weather"}
    response = _create(mcp_client, tools=[*flat, *UNASKED], input="What is the weather in Paris?", tool_choice=choice)
    assert [item.name for item in _of(response, "function_call")] == ["get_weather"]
    assert not _of(response, "mcp_call")


def test_a_server_that_does_not_start_is_told(mcp_client: OpenAI) -> None:
    tools: Any = [{"type": "mcp", "server_label": "gone"}]
    response = _create(mcp_client, tools=tools, input="Hello")
    (listing,) = _of(response, "mcp_list_tools")
    assert "no program 'edgefc-none'" in listing.error
    assert _of(response, "message")


@pytest.mark.parametrize(
    ("entry", "param", "text"),
    [
        ({"server_label": "other"}, "tools[0].server_label", "unknown server 'other'"),
        ({"server_label": "raw", "server_url": "http://127.0.0.1:1"}, "tools[0].server_url", "only the server's"),
        ({"server_label": "raw", "connector_id": "connector_gmail"}, "tools[0].connector_id", "only the server's"),
        ({"server_label": "raw", "require_approval": "sometimes"}, "tools[0].require_approval", "'always'"),
        ({"server_label": "raw", "allowed_tools": {"names": []}}, "tools[0].allowed_tools.names", "unknown field"),
    ],
)
def test_what_a_request_may_not_say(entry: dict[str, Any], param: str, text: str, mcp_client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        _create(mcp_client, tools=[{"type": "mcp", **entry}])
    assert caught.value.param == param
    assert text in str(caught.value)


def test_an_answer_without_its_question_is_refused(mcp_client: OpenAI) -> None:
    answer: Any = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    with pytest.raises(openai.BadRequestError, match="no such mcp_approval_request"):
        _create(mcp_client, tools=ASKED, input=[answer])


def test_a_server_without_mcp_leaves_them_out(client: OpenAI) -> None:
    raw = client.responses.with_raw_response.create(model="demo", input="Hello", tools=ASKED)
    assert "mcp" in raw.headers["x-edgefc-warning"]
    question = {
        "type": "mcp_approval_request",
        "id": "mcpr_1",
        "server_label": "raw",
        "name": "echo",
        "arguments": "{}",
    }
    answer = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    with pytest.raises(openai.BadRequestError, match="Start it with --mcp FILE"):
        _create(client, input=[{"role": "user", "content": QUESTION}, question, answer])

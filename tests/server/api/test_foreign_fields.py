"""What clients of other servers send: read as it was meant, or refused by name, on every endpoint."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.server.examples import HELLO
from tests.server.server_process import HttpResponse, ServerProcess

PARAMETERS = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
ROME: Any = [{"role": "user", "content": "What is the weather in Rome?"}]
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
OPTIONS = {"temperature": 0, "max_tokens": 40}
ENDPOINTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO, **OPTIONS},
    "/v1/completions": {"prompt": "Hello", **OPTIONS},
    "/v1/responses": {"input": "Hello", "temperature": 0, "max_output_tokens": 40},
    "/v1/messages": {"messages": HELLO, **OPTIONS},
}
WARNING = "x-edgefc-warning"  # as it comes


def warning_of(response: HttpResponse) -> str:
    assert response.status == 200, response.body
    return response.headers.get(WARNING, "")


def text_of(response: HttpResponse) -> str:
    """Return the text of an answer of any endpoint."""
    assert response.status == 200, response.body
    body = response.json
    if "choices" in body:
        choice = body["choices"][0]
        return str(choice["text"] if "text" in choice else choice["message"]["content"])
    blocks = body["content"] if "content" in body else [part for item in body["output"] for part in item["content"]]
    return "".join(block["text"] for block in blocks)


def completion_tokens(response: HttpResponse) -> int:
    usage = response.json["usage"]
    return int(usage.get("completion_tokens", usage.get("output_tokens")))


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    "fields",
    [{"min_tokens": 3}, {"mirostat": 2}, {"typical_p": 0.1}, {"ignore_eos": True}, {"bad_words": ["x"]},
     {"chat_template": "x"}, {"use_beam_search": True}, {"dry_multiplier": 0.8}, {"prompt_logprobs": 1}],
    ids=lambda fields: next(iter(fields)),
)  # fmt: skip
def test_a_field_that_must_be_honoured_is_refused_by_name(
    server: ServerProcess, path: str, fields: dict[str, Any]
) -> None:
    refused = server.post(path, {**ENDPOINTS[path], **fields})
    (name,) = fields
    assert refused.status == 400
    assert name in refused.json["error"]["message"]


@pytest.mark.parametrize("path", ENDPOINTS)
def test_fields_that_ask_for_nothing_are_taken(server: ServerProcess, path: str) -> None:
    neutral = {"mirostat": 0, "typical_p": 1.0, "min_tokens": 0, "ignore_eos": False, "echo": None, "dry_multiplier": 0.0,
               "stop": None, "seed": None, "user": "u", "metadata": {}, "priority": 3, "cache_prompt": True}  # fmt: skip
    assert warning_of(server.post(path, {**ENDPOINTS[path], **neutral})) == ""


@pytest.mark.parametrize("path", ENDPOINTS)
def test_aliases_have_the_meaning_of_our_fields(server: ServerProcess, path: str) -> None:
    body = ENDPOINTS[path]
    plain = text_of(server.post(path, body))
    penalized = text_of(server.post(path, {**body, "repeat_penalty": 50.0}))
    assert penalized != plain
    assert text_of(server.post(path, {**body, "repetition_penalty": 50.0})) == penalized
    assert text_of(server.post(path, {**body, "options": {"repeat_penalty": 50.0, "num_ctx": 512}})) == penalized
    contradiction = server.post(path, {**body, "repetition_penalty": 2.0, "repeat_penalty": 1.0})
    assert contradiction.status == 400


@pytest.mark.parametrize("path", [path for path in ENDPOINTS if path != "/v1/messages"])
@pytest.mark.parametrize("alias", ["n_predict", "num_predict", "max_new_tokens"])
def test_the_limits_aliases(server: ServerProcess, path: str, alias: str) -> None:
    body = {name: value for name, value in ENDPOINTS[path].items() if "max_" not in name}
    assert completion_tokens(server.post(path, {**body, alias: 2.0})) == 2
    if path != "/v1/responses":
        assert completion_tokens(server.post(path, {**body, alias: 2, "max_tokens": 30})) == 2, "both hold"


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    "fields",
    [{"guided_choice": ["yes", "no"]}, {"structured_outputs": {"choice": ["yes", "no"]}}, {"guided_regex": "yes|no"}],
    ids=lambda fields: next(iter(fields)),
)
def test_a_constraint_holds(server: ServerProcess, path: str, fields: dict[str, Any]) -> None:
    assert text_of(server.post(path, {**ENDPOINTS[path], **fields})) in {"yes", "no"}


SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"]}


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    "fields",
    [{"guided_json": SCHEMA}, {"format": SCHEMA}, {"structured_outputs": {"json": SCHEMA}}, {"json_schema": SCHEMA},
     {"response_format": {"type": "json_schema", "json_schema": {"name": "c", "schema": SCHEMA, "strict": None}}}],
    ids=lambda fields: next(iter(fields)),
)  # fmt: skip
def test_a_schema_holds(server: ServerProcess, path: str, fields: dict[str, Any]) -> None:
    assert json.loads(text_of(server.post(path, {**ENDPOINTS[path], **fields})))["city"] in {"Rome", "Oslo"}


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_wish_is_taken_and_told(server: ServerProcess, path: str) -> None:
    wishes = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "verbosity": "low"}
    body = {**ENDPOINTS[path], **wishes}
    assert warning_of(server.post(path, body)) == "thinking has no effect; verbosity has no effect"
    streamed = server.post(path, {**body, "stream": True})
    assert warning_of(streamed) == "thinking has no effect; verbosity has no effect"
    assert warning_of(server.post(path, {**ENDPOINTS[path], "thinking": {"type": "disabled"}})) == ""


@pytest.mark.parametrize("path", ENDPOINTS)
def test_whole_floats_minus_one_and_phps_brackets(server: ServerProcess, path: str) -> None:
    body = ENDPOINTS[path]
    fields = {"top_k": -1, "seed": 7.0, "stop_sequences" if path == "/v1/messages" else "stop": {}}
    if path in {"/v1/chat/completions", "/v1/responses", "/v1/messages"}:
        fields |= {"tools": {}, "tool_choice": None}
    limit = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    assert text_of(server.post(path, {**body, **fields, limit: 40.0})) == text_of(server.post(path, body))
    assert server.post(path, {**body, **fields, limit: -1}).status == 200
    assert server.post(path, {**body, limit: -3}).status == 400
    assert server.post(path, {**body, limit: 1.5}).status == 400


CHOICES: list[Any] = [
    {"type": "auto"}, {"type": "required"}, {"type": "any"}, {"type": "tool", "name": "get_weather"}, "any", "required",
    {"type": "function", "name": "get_weather"}, {"type": "function", "function": {"name": "get_weather"}}, None,
]  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_tool_choice_on_every_endpoint(server: ServerProcess, path: str, choice: Any) -> None:
    asked = {"input": ROME[0]["content"]} if path == "/v1/responses" else {"messages": ROME, "max_tokens": 60}
    answer = server.post(path, {**asked, "tools": [WEATHER], "tool_choice": choice, "temperature": 0})
    assert answer.status == 200, answer.body
    assert b"get_weather" in answer.body.partition(b'"tools"')[0]
    none = server.post(path, {**asked, "tools": [WEATHER], "tool_choice": {"type": "none"}, "temperature": 0})
    assert b"get_weather" not in none.body.partition(b'"tools"')[0]


EMOJI = {"type": "string", "pattern": r"^\p{Extended_Pictographic}+$"}
UNSUPPORTED: list[tuple[str, dict[str, Any]]] = [
    ("pattern", EMOJI),
    ("pattern", {"type": "string", "pattern": r"\bTODO\b"}),
    ("pattern", {"type": "string", "pattern": r"(?i)^(yes|no)$"}),
    ("pattern", {"type": "string", "pattern": r"^(?<!x)a"}),
    ("$ref", {"$ref": "#/$defs/Missing"}),
    ("multiple", {"type": "string", "multiple": True}),
    ("type", {"type": "date"}),
]


def other_tool(schema: Any, name: str = "other") -> Any:
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize(("keyword", "schema"), UNSUPPORTED, ids=[str(schema) for _, schema in UNSUPPORTED])
def test_one_tool_that_cannot_be_enforced_is_left_out(
    server: ServerProcess, path: str, keyword: str, schema: dict[str, Any]
) -> None:
    asked = {"input": ROME[0]["content"]} if path == "/v1/responses" else {"messages": ROME, "max_tokens": 60}
    body = {**asked, "temperature": 0, "tools": [other_tool(schema), WEATHER]}
    answer = server.post(path, {**body, "tool_choice": "required"})
    told = warning_of(answer)
    assert told.startswith(f"tools[0] other is left out: properties.a.{keyword}")
    assert b"get_weather" in answer.body.partition(b'"tools"')[0]
    refused = server.post(path, {**body, "x_edgefc_on_unsupported": "refuse"})
    assert refused.status == 400
    assert "tools[0]" in refused.json["error"]["message"]
    named = server.post(path, {**body, "tool_choice": {"type": "function", "name": "other"}})
    assert (named.status, "left out" in named.json["error"]["message"]) == (400, True)


@pytest.mark.parametrize("schema", [schema for keyword, schema in UNSUPPORTED if keyword == "pattern"], ids=str)
def test_a_pattern_can_be_checked_after_decoding(server: ServerProcess, schema: dict[str, Any]) -> None:
    body = {"messages": ROME, **OPTIONS, "tools": [other_tool(schema), WEATHER], "x_edgefc_on_unsupported": "check"}
    assert warning_of(server.post("/v1/chat/completions", body)) == ""
    forced = server.post("/v1/chat/completions", {**body, "tool_choice": "other"})
    assert forced.status in {200, 422}, "a call that fits, or the report that none did"
    if forced.status == 200 and (calls := forced.json["choices"][0]["message"].get("tool_calls")):
        assert "a" in json.loads(calls[0]["function"]["arguments"])


HOSTED: list[Any] = [
    {"type": "web_search"}, {"type": "image_generation"}, {"type": "custom", "name": "patch", "format": {"type": "text"}},
    {"type": "namespace", "name": "mcp", "tools": [WEATHER["function"]]}, {"type": "local_shell"},
    {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}, {"type": "bash_20250124", "name": "bash"},
    {"type": "mcp", "server_label": "x", "server_url": "http://x"}, {"type": "file_search", "vector_store_ids": []},
]  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_tools_that_are_no_functions_are_left_out(server: ServerProcess, path: str) -> None:
    asked = {"input": ROME[0]["content"]} if path == "/v1/responses" else {"messages": ROME, "max_tokens": 60}
    answer = server.post(path, {**asked, "temperature": 0, "tools": [*HOSTED, WEATHER], "tool_choice": "auto"})
    told = warning_of(answer)
    for number, tool in enumerate(HOSTED):
        assert f"tools[{number}] " in told
        assert f"unsupported tool type '{tool['type']}'" in told
    assert b"get_weather" in answer.body.partition(b'"tools"')[0]


def test_the_type_of_a_request_is_json_whatever_its_header_says(server: ServerProcess) -> None:
    data = json.dumps({"messages": HELLO, "max_tokens": 2}).encode()
    for kind in ("application/x-www-form-urlencoded", "text/plain", "nonsense"):
        answer = server.request("POST", "/v1/chat/completions", raw=data, headers={"Content-Type": kind})
        assert answer.status == 200
    with server.socket() as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_errors_name_the_path_the_method_and_the_option(server: ServerProcess) -> None:
    missing = server.request("GET", "/v1/embeddings").error["message"]
    assert "no GET /v1/embeddings" in missing
    assert "/openapi.json" in missing
    assert (
        server.request("GET", "/v1/chat/completions").error["message"] == "/v1/chat/completions has no GET\nUse POST."
    )
    host = server.request("GET", "/health", headers={"Host": "host.docker.internal:80"}).error["message"]
    assert "'host.docker.internal' is not allowed" in host
    assert "--allowed-host host.docker.internal" in host
    origin = server.request("GET", "/health", headers={"Origin": "http://localhost:3000"}).error["message"]
    assert "--allowed-origin http://localhost:3000" in origin


def test_the_log_has_time_path_model_tokens_and_milliseconds(server: ServerProcess) -> None:
    answer = server.post("/v1/chat/completions", {"messages": HELLO, "max_tokens": 5})
    usage, request_id = answer.json["usage"], answer.headers["x-request-id"]
    unknown = server.request("GET", "/nowhere/%1b[2J")
    server.request("GET", "/health")  # its line comes after both
    line = next(line for line in server.lines if request_id in line)
    tokens = rf"{usage['prompt_tokens']}\+{usage['completion_tokens']} tokens"
    assert re.search(rf"\d\d:\d\d:\d\d POST /v1/chat/completions 200 demo {tokens} \d+\.\d ms id=", line)
    line = next(line for line in server.lines if unknown.headers["x-request-id"] in line)
    assert "GET /nowhere/\\x1b[2J 404" in line


@pytest.mark.parametrize(("budget", "is_selected"), [(None, False), (0, False), (100, True)])
def test_a_client_s_tools_are_all_shown_unless_it_says_otherwise(
    server: ServerProcess, budget: int | None, *, is_selected: bool
) -> None:
    others = [{"type": "function", "function": {"name": f"lamp_{n}", "description": "Lamp"}} for n in range(8)]
    body = {"messages": ROME, "tools": [*others, WEATHER], "x_edgefc_tool_budget": budget, **OPTIONS}
    (choice,) = server.post("/v1/chat/completions", body).json["choices"]
    selection = choice["x_edgefc"].get("tool_selection")
    assert (selection is not None) == is_selected
    if selection is not None:
        assert (selection["total"], selection["budget"]) == (9, 100)
        assert {"name": "get_weather", "reason": "rank 1"} in selection["tools"]

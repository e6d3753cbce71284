"""Ollama's API: the requests of its clients, Home Assistant's among them, against the demo model."""

from __future__ import annotations

import json
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgefc.server.api.ollama import parse_keep_alive
from tests.gguf_edit import edit_metadata
from tests.server.examples import HELLO, SCHEMAS, TOOLS, WEATHER
from tests.server.server_process import CHAT, HttpResponse, ServerProcess, read_until

API_CHAT, GENERATE = "/api/chat", "/api/generate"
GREEDY: dict[str, Any] = {"model": "demo", "options": {"temperature": 0}}
WHOLE: dict[str, Any] = {**GREEDY, "stream": False}
# Home Assistant's assist tools, as its serializer writes them: `nullable`, empty `required`, no descriptions.
HOME_TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "HassTurnOn",
            "description": "Turns on/opens/presses a device or entity.",
            "parameters": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "area": {"type": "string"},
                    "domain": {"type": "array", "items": {"type": "string", "enum": ["light", "cover"]}},
                },
                "required": [],
            },
        },
    },
    {
        "type": "function",
        "function": {"name": "GetLiveContext", "parameters": {"type": "object", "properties": {}, "required": []}},
    },
]


def lines_of(answer: HttpResponse) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.body.splitlines()]


def error_of(answer: HttpResponse) -> str:
    """Return the message of an error in Ollama's form."""
    (text,) = answer.json.values()
    assert answer.json == {"error": text}
    return str(text)


def calls_of(parts: list[dict[str, Any]]) -> list[Any]:
    functions = [call["function"] for part in parts for call in part["message"].get("tool_calls", ())]
    return [(function["name"], function["arguments"]) for function in functions]


def test_a_stream_has_the_text_of_the_whole_and_of_openai(server: ServerProcess) -> None:
    whole = server.post(API_CHAT, {**WHOLE, "messages": HELLO}).json
    parts = lines_of(server.post(API_CHAT, {**GREEDY, "messages": HELLO}))
    assert [part["done"] for part in parts] == [False] * (len(parts) - 1) + [True]
    assert len(parts) > 2
    assert "".join(part["message"]["content"] for part in parts) == whole["message"]["content"] != ""
    same = server.post(CHAT, {"messages": HELLO, "temperature": 0}).json
    assert same["choices"][0]["message"]["content"] == whole["message"]["content"]
    for end in (whole, parts[-1]):
        assert (end["model"], end["done_reason"]) == ("demo", "stop")
        assert end["prompt_eval_count"] == same["usage"]["prompt_tokens"]
        assert end["eval_count"] == same["usage"]["completion_tokens"]
        assert end["total_duration"] > end["load_duration"] >= 0


def test_calls_come_whole_and_their_results_are_read(server: ServerProcess) -> None:
    """Ollama's calls have arguments as objects, and results name their tool."""
    body = {"messages": WEATHER, "tools": TOOLS}
    message = server.post(API_CHAT, {**WHOLE, **body}).json["message"]
    parts = lines_of(server.post(API_CHAT, {**GREEDY, **body}))
    assert calls_of(parts) == calls_of([{"message": message}])
    assert [arguments["location"] for _, arguments in calls_of(parts)] == ["Paris", "Oslo"]
    assert [call["function"]["index"] for call in message["tool_calls"]] == [0, 1]
    for name, arguments in calls_of(parts):
        jsonschema.validate(arguments, SCHEMAS[name])

    results = [{"role": "tool", "tool_name": "get_weather", "content": f'{{"temperature": {n}}}'} for n in (18, 7)]
    history = [*WEATHER, {k: v for k, v in message.items() if v}, *results]
    answer = server.post(API_CHAT, {**WHOLE, "messages": history, "tools": TOOLS}).json
    assert answer["message"]["content"].index("18") < answer["message"]["content"].index("7")
    assert answer["x_edgefc"]["outcome"] == "answer"


def test_home_assistant_is_answered(server: ServerProcess) -> None:
    """Its requests: seconds to keep the model, num_ctx, results without id or name, and a history cut at the front."""
    body: dict[str, Any] = {
        "model": "demo", "stream": True, "tools": HOME_TOOLS, "keep_alive": -1, "options": {"num_ctx": 2048},
        "messages": [
            {"role": "system", "content": "You are a voice assistant for Home Assistant."},
            {"role": "tool", "content": '{"data": {"success": true}, "error": null}'},
            {"role": "assistant", "content": "Done."},
            {"role": "user", "content": "Turn on the kitchen light"},
        ],
    }  # fmt: skip
    parts = lines_of(server.post(API_CHAT, {**body, "tool_choice": "required"}))
    called = calls_of(parts)
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in HOME_TOOLS}
    assert called
    for name, arguments in called:
        jsonschema.validate(arguments, schemas[name])
    calls = [{"function": {"name": name, "arguments": arguments}} for name, arguments in called]
    body["messages"] += [
        {"role": "assistant", "content": "", "tool_calls": calls},
        *({"role": "tool", "content": '{"data": {"success": true}, "error": null}'} for _ in calls),
    ]
    parts = lines_of(server.post(API_CHAT, {**body, "keep_alive": "300s", "think": False, "format": None}))
    assert parts[-1]["done"]
    assert all(part["message"]["role"] == "assistant" for part in parts)


def test_generate_answers_a_prompt_and_continues_a_raw_one(server: ServerProcess) -> None:
    same = server.post(API_CHAT, {**WHOLE, "messages": [{"role": "system", "content": "Be brief."}, *HELLO]}).json
    body = {**WHOLE, "prompt": "Hello!", "system": "Be brief."}
    assert server.post(GENERATE, body).json["response"] == same["message"]["content"]
    parts = lines_of(server.post(GENERATE, {**body, "stream": True}))
    assert "".join(part["response"] for part in parts) == same["message"]["content"]

    raw = {**WHOLE, "prompt": "Hello!", "raw": True, "options": {"temperature": 0, "num_predict": 6}}
    text = server.post("/v1/completions", {"prompt": "Hello!", "temperature": 0, "max_tokens": 6}).json["choices"][0]
    whole = server.post(GENERATE, raw).json
    assert (whole["response"], whole["done_reason"], whole["eval_count"]) == (text["text"], "length", 6)
    parts = lines_of(server.post(GENERATE, {**raw, "stream": True}))
    assert "".join(part["response"] for part in parts) == text["text"]


def test_a_format_is_a_schema_or_any_json(server: ServerProcess) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    for format_, expected in ((schema, schema), ("json", {"type": "object"})):
        answer = server.post(API_CHAT, {**WHOLE, "messages": HELLO, "format": format_}).json
        if answer["done_reason"] == "stop":
            jsonschema.validate(json.loads(answer["message"]["content"]), expected)
    assert answer["message"]["content"].startswith("{")
    assert server.post(API_CHAT, {**WHOLE, "messages": HELLO, "format": ""}).status == 200


def test_options_are_honoured(server: ServerProcess) -> None:
    cut = server.post(API_CHAT, {**WHOLE, "messages": HELLO, "options": {"temperature": 0, "num_predict": 12}}).json
    assert (cut["done_reason"], cut["eval_count"]) == ("length", 12)
    stopped = {**WHOLE, "messages": HELLO, "options": {"temperature": 0, "stop": [" so"]}}
    assert server.post(API_CHAT, stopped).json["message"]["content"] == "I have no tools here,"
    hot = {**WHOLE, "messages": HELLO, "options": {"temperature": 3, "seed": 5, "num_predict": 20}}
    assert server.post(API_CHAT, hot).json["message"] == server.post(API_CHAT, hot).json["message"]
    tokens = server.post(API_CHAT, {**WHOLE, "messages": HELLO, "logprobs": True, "top_logprobs": 2}).json
    assert len(tokens["logprobs"]) == tokens["eval_count"]
    assert max(len(token["top_logprobs"]) for token in tokens["logprobs"]) == 2  # a forced token has one
    streamed = lines_of(server.post(API_CHAT, {**GREEDY, "messages": HELLO, "logprobs": True}))
    assert sum(len(part.get("logprobs", ())) for part in streamed) == tokens["eval_count"]


def test_what_has_no_effect_is_named_in_a_header(server: ServerProcess) -> None:
    body = {**WHOLE, "messages": HELLO, "options": {"temperature": 0, "num_gpu": 1, "num_keep": 4, "mirostat": 0}}
    warning = server.post(API_CHAT, body).headers["x-edgefc-warning"]
    assert warning == "options.num_gpu has no effect; options.num_keep has no effect"


@pytest.mark.parametrize(
    ("fields", "beginning"),
    [
        ({"options": {"num_ctx": 1 << 20}}, "options.num_ctx: 1048576 tokens do not fit"),
        ({"options": {"num_predict": 0}}, "options.num_predict: "),
        ({"options": {"temperature": -1}}, "options.temperature: "),
        ({"options": {"stop": ""}}, "options.stop: "),
        ({"options": {"mirostat": 2}}, "options.mirostat: unsupported value 2"),
        ({"options": 5}, "options: "),
        ({"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}, "messages[0].images: images are not"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role: "),
        ({"think": True}, "think: demo does not support thinking"),
        ({"keep_alive": "5 minutes"}, "keep_alive: "),
        ({"format": "xml"}, "format: must be a JSON schema, or 'json'"),
        ({"format": {"type": "strin"}}, "format.type: unknown type 'strin'"),
        ({"template": "{{ .Prompt }}"}, "template: "),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0]"),
        ({"model": None}, "model: "),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(
    server: ServerProcess, fields: dict[str, Any], beginning: str
) -> None:
    answer = server.post(API_CHAT, {"model": "demo", "messages": HELLO, "options": {}, **fields})
    assert answer.status == 400
    assert error_of(answer).startswith(beginning), answer.json


@pytest.mark.parametrize("field", ["context", "suffix", "images"])
def test_fields_of_generate_are_refused_by_name(server: ServerProcess, field: str) -> None:
    answer = server.post(GENERATE, {"model": "demo", "prompt": "x", field: [1]})
    assert answer.status == 400
    assert error_of(answer).startswith(f"{field}: ")


def test_other_errors_have_ollamas_form(server: ServerProcess) -> None:
    assert "POST /api/pull" in error_of(server.post("/api/pull", {"model": "x"}))
    assert server.post("/api/pull", {}).status == 404
    assert "invalid JSON" in error_of(server.request("POST", API_CHAT, raw=b"{"))
    foreign = server.request("GET", "/api/tags", headers={"Host": "evil.example"})
    assert (foreign.status, bool(error_of(foreign))) == (403, True)
    page = server.post(API_CHAT, {"model": "demo", "messages": HELLO}, Origin="http://evil.example")
    assert (page.status, bool(error_of(page))) == (403, True)


def test_models_are_described(server: ServerProcess) -> None:
    (listed,) = server.request("GET", "/api/tags").json["models"]
    assert (listed["name"], listed["model"], listed["details"]["format"]) == ("demo", "demo", "gguf")
    assert listed["details"]["quantization_level"] == "Q8_0"
    assert len(listed["digest"]) == 64
    assert server.request("HEAD", "/").status == 200
    shown = server.post("/api/show", {"name": "demo"}).json
    assert shown["capabilities"] == ["completion", "tools"]
    assert shown["model_info"][f"{shown['model_info']['general.architecture']}.context_length"] == 2048
    assert shown["license"] == "Apache-2.0"
    assert server.request("GET", "/api/version").json["version"]
    card = server.request("GET", "/v1/models/demo").json
    assert (card["context_length"], card["capabilities"]) == (2048, ["completion", "tools"])
    assert card["meta"].items() >= {"family": "demo", "quantization": "Q8_0", "licence": "Apache-2.0"}.items()
    assert [model["name"] for model in server.request("GET", "/api/ps").json["models"]] == ["demo"]


def test_a_request_says_how_long_a_model_is_kept(demo_path: Path, tmp_path: Path) -> None:
    """Without messages it only loads, or unloads; both also through a worker, whose streams are lines, too."""
    other = tmp_path / "other.gguf"
    edit_metadata(demo_path, other, {"general.name": "other"})
    with ServerProcess(("--n-ctx", "512", "--worker"), models=("demo", str(other))) as server:

        def loaded() -> set[str]:
            return {model["name"] for model in server.request("GET", "/api/ps").json["models"]}

        def wait_for(names: set[str]) -> None:
            for _ in range(200):
                if loaded() == names:
                    return
                time.sleep(0.05)
            pytest.fail(f"loaded: {loaded()}")

        assert server.request("GET", "/v1/models/other").json["meta"].items() >= {
            "loaded": False, "quantization": "Q8_0", "architecture": "qwen2"}.items()  # fmt: skip
        loading = lines_of(server.post(GENERATE, {"model": "other:latest"}))
        assert [part["done_reason"] for part in loading] == ["load"]
        assert loaded() == {"demo", "other"}
        unloading = server.post(API_CHAT, {"model": "other", "messages": [], "keep_alive": 0}).json
        assert unloading["done_reason"] == "unload"
        wait_for({"demo"})
        parts = lines_of(server.post(API_CHAT, {**GREEDY, "model": "other", "messages": HELLO, "keep_alive": "0s"}))
        assert parts[-1]["done"]
        wait_for({"demo"})
        missing = server.post(API_CHAT, {"model": "third", "messages": HELLO})
        assert (missing.status, error_of(missing).splitlines()[0]) == (404, "model: unknown model 'third'")


def test_models_are_described_while_they_are_loaded_and_unloaded(demo_path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    edit_metadata(demo_path, other, {"general.name": "other"})
    answers: list[HttpResponse] = []
    is_over = threading.Event()
    with ServerProcess(("--n-ctx", "512"), models=("demo", str(other))) as server, ThreadPoolExecutor() as clients:

        def describe(path: str) -> None:
            while not is_over.is_set():
                answers.append(server.request("GET", path))

        paths = ("/api/ps", "/api/tags", "/v1/models", "/v1/models/other", "/metrics")
        asking = [clients.submit(describe, path) for path in paths for _ in range(2)]
        for _ in range(10):
            assert server.post(GENERATE, {"model": "other"}).status == 200
            assert server.post(API_CHAT, {"model": "other", "messages": [], "keep_alive": 0}).status == 200
        is_over.set()
        for one in asking:
            one.result()
    assert {answer.status for answer in answers} == {200}


def test_a_stream_that_breaks_off_ends_with_an_error(tiny_model: Path) -> None:
    endless = {"model": "x", "messages": HELLO, "options": {"num_predict": 1500}, "x_edgefc_loop_guard": False}
    options = ("--n-ctx", "2048", "--family", "hermes", "--worker")
    with ServerProcess(options, models=(str(tiny_model),)) as server:
        data = json.dumps(endless).encode()
        with server.socket() as connection:
            head = f"POST {API_CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
            connection.sendall(head.encode() + data)
            read_until(connection, b'"done":false')
            server.worker_process().kill()
            rest = read_until(connection, b"0\r\n\r\n")
        assert b'{"error":"the model\'s process crashed and is restarting"}\n' in rest


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(0, 0), (5, 5), (1.5, 1.5), (-1, math.inf), ("-1", math.inf), ("-1m", math.inf), ("10", 10), ("90s", 90),
     ("1h30m", 5400), ("1.5m", 90), ("500ms", 0.5), ("24h", 86_400)],
)  # fmt: skip
def test_durations_are_read_as_go_reads_them(value: float | str, seconds: float) -> None:
    assert parse_keep_alive(value) == seconds


@pytest.mark.parametrize("value", ["", "5 m", "m", "1d", "5m3", "forever", "1e3s"])
def test_other_durations_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match="a duration such as"):
        parse_keep_alive(value)

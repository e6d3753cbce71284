"""`edgefc serve --ray`: the answers of a single server, from replicas that have their tools in the cache."""

from __future__ import annotations

import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from edgefc.errors import RequestError
from tests.ray.processes import NEEDS_RAY, nothing_left
from tests.server.examples import TOOLS, WEATHER
from tests.server.server_process import CHAT, HttpResponse, ServerProcess

pytestmark = NEEDS_RAY
CALL: dict[str, Any] = {"messages": WEATHER, "tools": TOOLS, "temperature": 0}
IMPORTS_RAY = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its use of pydantic
REPLICA = "x-edgefc-replica"


def calls(response: HttpResponse) -> list[tuple[str, str]]:
    assert response.status == 200, response.body
    functions = [call["function"] for call in response.json["choices"][0]["message"]["tool_calls"]]
    return [(function["name"], function["arguments"]) for function in functions]


def deltas(response: HttpResponse) -> list[list[Any]]:
    """Return what a stream's events say of calls, in their order."""
    *events, last = response.body.decode().strip().split("\n\n")
    assert last == "data: [DONE]"
    found = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events]
    return [[call["function"] for call in delta.get("tool_calls", ())] for delta in found]


def tool_set(number: int) -> list[dict[str, Any]]:
    properties = {"place": {"type": "string"}}
    parameters = {"type": "object", "properties": properties, "required": ["place"]}
    return [
        {"type": "function", "function": {"name": f"get_{word}_{number}", "parameters": parameters}}
        for word in ("weather", "time")
    ]


def test_replicas_answer_as_one_server_and_tool_sets_stay_warm(server: ServerProcess) -> None:
    with ServerProcess(("--ray", "replicas=2", "--n-threads", "1")) as ray, nothing_left(ray.process.pid):
        check_answers(ray, server)
        check_errors(ray, server)
        names = check_warm_share(ray)
        text = ray.request("GET", "/metrics").body.decode()
        assert all(f'edgefc_model_steps_total{{replica="{name}"}}' in text for name in names)
        assert ray.request("GET", "/health").json == {"status": "ok"}
    assert ray.process.returncode == 0


def check_answers(ray: ServerProcess, server: ServerProcess) -> None:
    assert calls(ray.post(CHAT, CALL)) == calls(server.post(CHAT, CALL))
    stream = {**CALL, "stream": True}
    assert deltas(ray.post(CHAT, stream)) == deltas(server.post(CHAT, stream))
    question = {"model": "demo", "input": "Hello", "temperature": 0}
    assert [item["content"] for item in ray.post("/v1/responses", question).json["output"]] == [
        item["content"] for item in server.post("/v1/responses", question).json["output"]
    ]
    message = {"model": "demo", "max_tokens": 30, "messages": WEATHER, "temperature": 0}
    assert ray.post("/v1/messages", message).json["content"] == server.post("/v1/messages", message).json["content"]
    assert ray.request("GET", "/v1/models").json["data"][0]["id"] == "demo"


def check_errors(ray: ServerProcess, server: ServerProcess) -> None:
    for raw in (b"{", b"[]", b"\xff", b"", json.dumps({**CALL, "tools": "none"}).encode()):
        ours, theirs = ray.request("POST", CHAT, raw=raw), server.request("POST", CHAT, raw=raw)
        assert (ours.status, ours.json) == (theirs.status, theirs.json)
        assert REPLICA in ours.headers
    assert ray.post(CHAT, CALL, Host="evil.example").status == 403
    assert ray.request("GET", "/v1/nothing").status == 404


def check_warm_share(ray: ServerProcess) -> set[str]:
    """20 tool sets, asked in turn by 4 clients; returns the names of the replicas."""
    sets, rng = [tool_set(number) for number in range(20)], random.Random(1)

    def ask(number: int) -> HttpResponse:
        question = [{"role": "user", "content": f"What is the weather in {rng.choice(['Oslo', 'Rome'])}?"}]
        answer = ray.post(CHAT, {"messages": question, "tools": sets[number], "temperature": 0, "max_tokens": 8})
        assert answer.status == 200, answer.body
        return answer

    homes = [ask(number).headers[REPLICA] for number in range(20)]
    order = [number for number in range(20) for _ in range(10)]
    rng.shuffle(order)
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(ask, order))
    cached = [answer.json["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in answers]
    warm = [
        answer.headers[REPLICA] == homes[number] and count > 0
        for number, answer, count in zip(order, answers, cached, strict=True)
    ]
    assert sum(warm) >= 0.95 * len(warm), f"{sum(warm)} of {len(warm)}"
    assert len(set(homes)) == 2
    return set(homes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ray": "replicas=0"}, "invalid number of replicas 0"),
        ({"ray": "replicas=3..2"}, "invalid number of replicas 3..2"),
        ({"ray": "many"}, "invalid value 'many'"),
        ({"ray": "replicas=2,gpus=-1"}, "invalid value 'gpus=-1'"),
        ({"worker": True}, "worker: cannot be used with --ray"),
        ({"engine": "vllm=http://127.0.0.1:1"}, "engine: cannot be used with --ray"),
        ({"model": ["demo", "other"]}, "model: cannot be used with --ray"),
        ({"memory": 1.0}, "memory: cannot be used with --ray"),
        ({"keep_alive": "10m"}, "keep_alive: cannot be used with --ray"),
        ({"transcripts": "answers.jsonl"}, "transcripts: cannot be used with --ray"),
    ],
)
@IMPORTS_RAY
def test_a_wrong_option_is_named_before_ray_starts(options: dict[str, Any], said: str) -> None:
    import ray

    from edgefc.cli.serve import serve

    with pytest.raises(RequestError, match=re.escape(said)):
        serve(**{"model": ["demo"], "ray": "replicas=2", **options})
    assert not ray.is_initialized()


@IMPORTS_RAY
def test_a_request_is_routed_by_its_tools_and_system_message_in_every_api() -> None:
    from edgefc.ray.routing import routing_key

    def key(**body: Any) -> str:
        return routing_key(json.dumps(body).encode())

    user, other = {"role": "user", "content": "a"}, {"role": "user", "content": "b"}
    system = {"role": "system", "content": "be brief"}
    assert key(messages=[user], tools=TOOLS) == key(messages=[other], tools=TOOLS, temperature=0) != ""
    assert key(messages=[user], tools=TOOLS) != key(messages=[user], tools=TOOLS[:1])
    assert key(messages=[system, user]) == key(messages=[system, other]) != key(messages=[user])
    assert key(messages=[user, other]) == key(messages=[user]) != key(messages=[other])
    assert key(input="a", tools=TOOLS, instructions="x") == key(input=[other], tools=TOOLS, instructions="x")
    assert key(system="x", messages=[user]) == key(system="x", messages=[other]) != key(messages=[user])
    assert key(prompt="abc") == key(prompt="abc", seed=1) != key(prompt="abd")
    assert key(messages=3, tools=0) == key() == routing_key(b"") == routing_key(b"{") == routing_key(b"[1]") == ""

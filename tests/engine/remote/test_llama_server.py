"""llama-server as the engine: the same answers as edgefc's own, from the same weights."""

from __future__ import annotations

import contextlib
import functools
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import edgefc
from benchmarks import peer
from edgefc import Model, Reply
from edgefc.errors import CancelledError, EngineClosedError, InvalidCallError, RequestError
from tests.engine.remote.conftest import BINARY, N_CTX
from tests.engine.remote.questions import FAMILIES, QUESTIONS, TOOLS, facts, first_control_tokens, messages

Pair = tuple[Model, Model]

NEARLY_TIED = 0.1  # nats


@pytest.fixture(scope="module")
def pair(llama_server: str, demo_path: Path) -> Iterator[Callable[[str], Pair]]:
    """Return a function that gives the demo model in the prompts of a family: computed here, and by llama-server."""
    opened: list[Model] = []

    @functools.cache
    def open_both(family: str) -> Pair:
        local = edgefc.load(demo_path, family=family, n_ctx=N_CTX, n_threads=1)
        remote = edgefc.load(demo_path, family=family, engine=llama_server)
        opened.extend((local, remote))
        return local, remote

    yield open_both
    for model in opened:
        model.close()


def assert_same(reply: Reply, expected: Reply) -> None:
    """Compare answers with logprobs; they may part where the model hardly prefers one token to another.

    ggml rounds differently in batches of different sizes, and a prompt cache changes these.
    """
    if facts(reply) == facts(expected):
        return
    for token, other in zip(expected.logprobs or (), reply.logprobs or (), strict=False):
        if token.token != other.token:
            likely = dict(token.top)
            assert token.logprob - likely.get(other.token, -math.inf) < NEARLY_TIED, (facts(reply), facts(expected))
            return
    assert facts(reply) == facts(expected)


@pytest.mark.parametrize("choice", ["auto", "required"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_answers(pair: Callable[[str], Pair], family: str, choice: str) -> None:
    local, remote = pair(family)
    for question in QUESTIONS:
        options = {"tools": TOOLS, "tool_choice": choice, "max_tokens": 60, "temperature": 0, "logprobs": 5}
        expected = local.chat(messages(question), **options)
        assert_same(remote.chat(messages(question), **options), expected)
        stream = remote.chat(messages(question), stream=True, **options)
        text = "".join(delta.get("content", "") for delta in stream)
        assert_same(stream.reply, expected)
        assert text == (stream.reply.content or "")


@pytest.mark.parametrize("family", ["mistral", "functiongemma"])
def test_control_tokens_are_demanded_as_tokens(family_model: Callable[[str], Path], family: str) -> None:
    """With random weights, which would as soon spell them."""
    if BINARY is None:
        pytest.skip("needs llama-server: `python benchmarks/peer.py` builds one, EDGEFC_LLAMA_SERVER names it")
    path = family_model(family)
    with peer.Server(BINARY, path, n_ctx=N_CTX, threads=1) as server:
        here, there = first_control_tokens(path, family, f"llama-server=http://127.0.0.1:{server.port}", N_CTX)
        assert here == there


def test_the_model_is_as_sure_there_as_here(pair: Callable[[str], Pair]) -> None:
    local, remote = pair("demo")
    for choice in ("auto", "required"):
        sure = [m.chat(messages(QUESTIONS[0]), tools=TOOLS, tool_choice=choice).confidence for m in (local, remote)]
        assert all(sure)
        assert sure[1].calls[0].probability == pytest.approx(sure[0].calls[0].probability, abs=0.01)


def test_logprobs_and_usage(pair: Callable[[str], Pair]) -> None:
    local, remote = (model.chat(messages("Hello!"), logprobs=3, max_tokens=8) for model in pair("demo"))
    assert remote.usage["prompt_tokens"] == local.usage["prompt_tokens"]
    assert [t.token for t in remote.logprobs] == [t.token for t in local.logprobs]
    assert [t.logprob for t in remote.logprobs] == pytest.approx([t.logprob for t in local.logprobs], abs=0.02)
    assert [[token for token, _ in t.top] for t in remote.logprobs] == [
        [token for token, _ in t.top] for t in local.logprobs
    ]


def test_a_grammar_of_the_caller_and_stop_strings(pair: Callable[[str], Pair]) -> None:
    _, remote = pair("demo")
    reply = remote.chat(messages("Hello!"), grammar='root ::= "né" [0-9]{3} "🎉" "end"')
    assert reply.content.startswith("né")
    assert reply.content.endswith("🎉end")
    assert remote.chat(messages("Hello!"), grammar='root ::= "one two three"', stop=" three").content == "one two"


def test_many_threads_get_their_own_answers(pair: Callable[[str], Pair]) -> None:
    _, remote = pair("demo")
    cities = ("Paris", "Rome", "Oslo", "Lima", "Cairo", "Delhi")
    streams = [
        remote.chat(messages(f"What is the weather in {city}?"), tools=TOOLS, tool_choice="required", stream=True)
        for city in cities
    ]
    assert [stream.reply.calls[0].arguments["city"] for stream in streams] == list(cities)


def test_a_stream_can_be_left_and_a_model_closed(llama_server: str, demo_path: Path) -> None:
    model = edgefc.load(demo_path, engine=llama_server)
    stream = model.chat(messages("Tell me a story"), grammar="root ::= [a-z ]*", max_tokens=-1, stream=True)
    for delta in stream:
        if "content" in delta:
            break
    stream.cancel()
    with pytest.raises(CancelledError):
        _ = stream.reply
    running = model.chat(messages("Tell me a story"), grammar="root ::= [a-z ]*", max_tokens=-1, stream=True)
    model.close()
    with pytest.raises(EngineClosedError):
        _ = running.reply
    with pytest.raises(EngineClosedError):
        model.chat(messages("Hello!"))


def test_calls_are_sampled_until_they_are_valid(pair: Callable[[str], Pair]) -> None:
    """What no grammar enforces is checked here; the next attempt continues before the invalid call."""
    _, remote = pair("demo")
    numbers = {"type": "array", "uniqueItems": True, "minItems": 2, "maxItems": 3,
               "items": {"type": "integer", "minimum": 0, "maximum": 9}}  # fmt: skip
    parameters = {"type": "object", "properties": {"numbers": numbers}, "required": ["numbers"]}
    tools = [{"type": "function", "function": {"name": "pick", "parameters": parameters}}]
    resampled = 0
    for seed in range(12):
        options = {"tools": tools, "tool_choice": "required", "temperature": 2.0, "seed": seed, "max_tokens": 120}
        with contextlib.suppress(InvalidCallError):
            reply = remote.chat(messages("Pick two numbers, then two others"), **options)
            resampled += reply.stats.resamples
            for call in reply.calls:
                assert len(set(call.arguments["numbers"])) == len(call.arguments["numbers"])
    assert resampled > 0, "none of them had equal numbers at first, so this showed nothing"


@pytest.mark.parametrize(("option", "value"), [("trace", True), ("lora", {"sql": 1.0})], ids=["trace", "adapters"])
def test_what_it_cannot_do_is_refused_by_name(pair: Callable[[str], Pair], option: str, value: object) -> None:
    _, remote = pair("demo")
    with pytest.raises(RequestError, match="llama-server at http") as caught:
        remote.chat(messages("Hello!"), **{option: value})  # type: ignore[call-overload]
    assert caught.value.param == option


def test_snapshots_are_refused(pair: Callable[[str], Pair]) -> None:
    with pytest.raises(RequestError, match="keeps its own KV caches"):
        pair("demo")[1].warm(tools=TOOLS)


@pytest.mark.parametrize("option", ["n_gpu_layers", "n_threads", "n_parallel", "prefix_disk", "lora"])
def test_options_of_a_local_engine_are_refused(llama_server: str, demo_path: Path, option: str) -> None:
    with pytest.raises(RequestError) as caught:
        edgefc.load(demo_path, engine=llama_server, **{option: 1})
    assert caught.value.param == option


def test_a_context_above_the_server_s_is_refused(llama_server: str, demo_path: Path) -> None:
    with pytest.raises(RequestError, match="at most"):
        edgefc.load(demo_path, engine=llama_server, n_ctx=1 << 20)


FRONT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "llama_cpp":
            raise ImportError("it is not installed")

sys.meta_path.insert(0, Blocked())
import edgefc
import edgefc.cli.serve, edgefc.evaluation.run, edgefc.server
from edgefc.errors import MissingPackageError
from tests.engine.remote.questions import FAMILIES, QUESTIONS, TOOLS, facts, first_control_tokens, messages

path, engine = sys.argv[1:]
try:
    edgefc.load(path)
except MissingPackageError as error:
    assert "pip install llama-cpp-python" in str(error), error
else:
    raise AssertionError("it loaded")
with edgefc.load(path, engine=engine) as model:
    for question in QUESTIONS:
        print(facts(model.chat(messages(question), tools=TOOLS, max_tokens=60)))
"""


def test_a_front_needs_no_llama_cpp(pair: Callable[[str], Pair], llama_server: str, demo_path: Path) -> None:
    command = [sys.executable, "-c", FRONT, str(demo_path), llama_server]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    local, _ = pair("demo")
    expected = [str(facts(local.chat(messages(q), tools=TOOLS, max_tokens=60))) for q in QUESTIONS]
    assert done.stdout.splitlines() == expected

"""Engines that fail or lie: errors that name them, nothing half delivered, no call that its schema forbids."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import edgefc
from benchmarks import peer
from edgefc import Model
from edgefc.engine.remote.target import RemoteTarget
from edgefc.errors import RemoteEngineBusyError, RemoteEngineError
from tests.engine.remote.conftest import BINARY, N_CTX
from tests.engine.remote.questions import QUESTIONS, TOOLS, messages
from tests.engine.remote.stub import Faults, Stub

# 1,000 in the nightly run.
N_VIOLATED = int(os.environ.get("EDGEFC_VIOLATED_REQUESTS", "60"))
SCHEMAS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}


@pytest.fixture(scope="module")
def model(stub: Stub, demo_path: Path) -> Iterator[Model]:
    """A model whose engine answers truly while it is loaded."""
    target = RemoteTarget(stub.kind, stub.url, silence_s=1.0)
    with edgefc.load(demo_path, engine=target) as model:
        yield model


@pytest.fixture(autouse=True)
def no_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "stub" in request.fixturenames:
        request.getfixturevalue("stub").faults = Faults()


def ask(model: Model, question: str = QUESTIONS[0], **options: Any) -> edgefc.Reply:
    return model.chat(messages(question), tools=TOOLS, **{"tool_choice": "required", "max_tokens": 60, **options})


@pytest.mark.parametrize(
    ("faults", "reason", "hint"),
    [
        (Faults(ignores_grammar=True), "does not enforce grammars", "guidance"),
        (Faults(other_tokenizer=True), "another tokenizer", "Its model must be the one that is loaded here"),
        (Faults(tells_logits=True), "does not tell the model's logprobs", "LOGPROB"),
        (Faults(adds_bos=True), "changes prompts", "guidance"),
    ],
    ids=["no grammar", "another tokenizer", "logits for logprobs", "longer prompts"],
)
def test_what_cannot_be_proven_is_refused_at_the_start(
    stub: Stub, demo_path: Path, faults: Faults, reason: str, hint: str
) -> None:
    stub.faults = faults
    with pytest.raises(RemoteEngineError, match=f"{stub.kind} at {stub.url}.*{reason}") as caught:
        edgefc.load(demo_path, engine=stub.engine)
    assert hint.lower() in str(caught.value).lower()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_engine_is_asked_again_and_then_named(stub: Stub, model: Model, status: int) -> None:
    stub.faults = Faults(busy=2, status=status, retry_after="0")
    assert ask(model).outcome == "call"
    stub.faults = Faults(busy=100, status=status, retry_after="0")
    with pytest.raises(RemoteEngineBusyError, match=f"{stub.kind} at .* is busy .status {status}.: too many requests"):
        ask(model)
    assert stub.faults.busy == 96, "one try and three more"


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (Faults(die_after=4), "broke off"),
        (Faults(hang_after=4), "was silent for 1 seconds"),
        (Faults(ignores_grammar=True), "does not enforce the grammar"),
    ],
    ids=["dies", "hangs", "ignores the grammar"],
)
def test_a_fault_amid_an_answer_ends_it(stub: Stub, model: Model, faults: Faults, reason: str) -> None:
    stub.faults, before = faults, stub.requests
    with pytest.raises(RemoteEngineError, match=f"{stub.kind} at {stub.url} {reason}"):
        model.chat(messages("Hello!"), grammar="root ::= [0-9]{40}")
    assert stub.requests == before + 1, "an answer that has begun is not asked for again"
    stub.faults = Faults()
    assert ask(model).outcome == "call"


def test_a_stream_that_is_left_frees_the_engine(stub: Stub, model: Model) -> None:
    stub.faults = Faults(hang_after=4)
    with model.chat(messages(QUESTIONS[0]), tools=TOOLS, tool_choice="required", stream=True) as stream:
        next(delta for delta in stream if "tool_calls" in delta)
        assert stub.running == 1
    while stub.running:
        pass  # ends when the stub sees that the connection was closed


def test_no_call_that_its_schema_forbids_is_accepted(stub: Stub, model: Model) -> None:
    stub.faults = Faults(violations=0.02)
    outcomes = {"call": 0, "cut": 0, "refused": 0}
    for number in range(N_VIOLATED):
        question = f"What is the weather in {('Paris', 'Rome', 'Oslo')[number % 3]} {number}?"
        try:
            reply = ask(model, question, stream=bool(number % 2))
            reply = reply.reply if number % 2 else reply  # type: ignore[union-attr]
        except RemoteEngineError:
            outcomes["refused"] += 1
            continue
        outcomes["call" if reply.outcome == "call" else "cut"] += 1
        for call in reply.calls:
            Draft202012Validator(SCHEMAS[call.name]).validate(call.arguments)
    assert min(outcomes["call"], outcomes["refused"]) > N_VIOLATED // 20, outcomes


def test_another_program_at_the_address_is_no_engine(stub: Stub, demo_path: Path) -> None:
    with pytest.raises(RemoteEngineError, match=r"llama-server at .* refused the request .status 404.") as caught:
        edgefc.load(demo_path, engine=f"llama-server={stub.url}")
    assert "Is it a llama-server" in str(caught.value)


def test_nobody_at_the_address(demo_path: Path) -> None:
    with pytest.raises(RemoteEngineError, match=r"vllm at http://127\.0\.0\.1:9 cannot be reached"):
        edgefc.load(demo_path, engine="vllm=http://127.0.0.1:9")


def test_a_llama_server_with_another_model(tiny_model: Path, llama_server: str) -> None:
    with pytest.raises(RemoteEngineError, match="has another vocabulary"):
        edgefc.load(tiny_model, engine=llama_server, family="demo")


def test_a_llama_server_that_is_killed(demo_path: Path) -> None:
    if BINARY is None:
        pytest.skip("needs llama-server: `python benchmarks/peer.py` builds one, EDGEFC_LLAMA_SERVER names it")
    with peer.Server(BINARY, demo_path, n_ctx=N_CTX, threads=1) as server:
        engine = f"llama-server=http://127.0.0.1:{server.port}"
        with edgefc.load(demo_path, engine=engine) as model:
            stream = model.chat(messages("Hello"), grammar="root ::= [a-z ]*", max_tokens=-1, stream=True)
            next(delta for delta in stream if "content" in delta)
            server._process.kill()
            with pytest.raises(RemoteEngineError, match=r"llama-server at http.* broke off"):
                _ = stream.reply

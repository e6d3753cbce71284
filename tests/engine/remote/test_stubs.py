"""vLLM and SGLang as the engine, both played by a stub with their fields: edgefc's side runs for real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import edgefc
from edgefc import Model
from edgefc.errors import RemoteEngineError, RequestError
from tests.engine.remote.questions import QUESTIONS, TOOLS, facts, messages
from tests.engine.remote.stub import N_CTX, Stub

MORE_QUESTIONS = (*QUESTIONS, "Send an email to bob@example.com", "What are the weather and the time in Rome?")


@pytest.fixture(scope="module")
def remote(stub: Stub, demo_path: Path) -> Iterator[Model]:
    with edgefc.load(demo_path, engine=stub.engine) as model:
        yield model


@pytest.fixture(scope="module")
def local(demo_path: Path) -> Iterator[Model]:
    with edgefc.load(demo_path, n_ctx=N_CTX, n_threads=1) as model:
        yield model


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_the_same_answers(local: Model, remote: Model, choice: str) -> None:
    for question in MORE_QUESTIONS:
        options = {"tools": TOOLS, "tool_choice": choice, "max_tokens": 60, "temperature": 0}
        expected = local.chat(messages(question), **options)
        reply = remote.chat(messages(question), **options)
        assert facts(reply) == facts(expected), question
        assert facts(remote.chat(messages(question), stream=True, **options).reply) == facts(expected)
        assert reply.confidence is not None
        assert expected.confidence is not None
        for there, here in zip(reply.confidence.calls, expected.confidence.calls, strict=True):
            assert there.probability == pytest.approx(here.probability, abs=0.03)


def test_logprobs_and_usage(local: Model, remote: Model) -> None:
    here, there = (model.chat(messages("Hello!"), logprobs=3, max_tokens=8) for model in (local, remote))
    assert there.usage["prompt_tokens"] == here.usage["prompt_tokens"]
    assert [t.token for t in there.logprobs] == [t.token for t in here.logprobs]
    assert [t.logprob for t in there.logprobs] == pytest.approx([t.logprob for t in here.logprobs], abs=0.02)


def test_sampling_biases_and_penalties_are_passed_on(remote: Model) -> None:
    token = remote.engine.tokenizer.encode_text("~")[0]
    text = remote.complete("Hello", temperature=0.5, seed=3, logit_bias={token: 100.0}, max_tokens=3)
    assert text.completion.text == "~~~"
    assert remote.complete("Hello", frequency_penalty=1.0, repeat_penalty=1.1, max_tokens=4).completion.token_ids
    with pytest.raises(RequestError, match="no such window"):
        remote.chat(messages("Hello!"), penalty_last_n=16)


def test_a_key_is_sent(demo_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Stub(demo_path, "vllm", key="secret") as stub:
        with pytest.raises(RemoteEngineError, match="status 401") as caught:
            edgefc.load(demo_path, engine=stub.engine)
        assert "EDGEFC_ENGINE_KEY" in str(caught.value)
        monkeypatch.setenv("EDGEFC_ENGINE_KEY", "secret")
        with edgefc.load(demo_path, engine=f"{stub.engine}/v1/") as model:
            assert model.complete("Hello", max_tokens=4).completion.token_ids


def test_sglang_may_stream_increments(demo_path: Path, local: Model) -> None:
    with Stub(demo_path, "sglang") as stub:
        stub.faults.increments = True
        with edgefc.load(demo_path, engine=stub.engine) as model:
            options = {"tools": TOOLS, "max_tokens": 60}
            reply = model.chat(messages(QUESTIONS[0]), **options)
            assert facts(reply) == facts(local.chat(messages(QUESTIONS[0]), **options))

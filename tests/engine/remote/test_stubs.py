"""vLLM and SGLang as the engine, both played by a stub with their fields: edgefc's side runs for real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import edgefc
from edgefc import Model
from edgefc.errors import RemoteEngineError, RequestError
from tests.engine.remote.questions import FAMILIES, QUESTIONS, TOOLS, facts, first_control_tokens, messages
from tests.engine.remote.stub import N_CTX, Stub

CLOSE = 0.2  # nats between two tokens whose order may be another in other batches
MORE_QUESTIONS = (*QUESTIONS, "Send an email to bob@example.com", "What are the weather and the time in Rome?")


@pytest.fixture(scope="module")
def remote(stub: Stub, demo_path: Path) -> Iterator[Model]:
    with edgefc.load(demo_path, engine=stub.engine) as model:
        yield model


@pytest.fixture(scope="module")
def guidance(demo_path: Path) -> Iterator[Stub]:
    with Stub(demo_path, "vllm", "guidance") as stub:
        yield stub


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
        assert reply.confidence.call == pytest.approx(expected.confidence.call, abs=0.03)
        for there, here in zip(reply.confidence.calls, expected.confidence.calls, strict=True):
            assert there.probability == pytest.approx(here.probability, abs=0.03)


def test_grammars_are_in_the_notation_of_the_backend(stub: Stub, remote: Model) -> None:
    stub.grammars.clear()
    assert remote.chat(messages(MORE_QUESTIONS[-1]), tools=TOOLS, tool_choice="required", max_tokens=60).calls
    assert {"::=" in text for text in stub.grammars} == {stub.backend == "xgrammar"}


def test_xgrammar_is_never_asked_in_lark(demo_path: Path) -> None:
    with Stub(demo_path, "vllm", "xgrammar") as stub:
        edgefc.load(demo_path, engine=stub.engine).close()
        assert all("::=" in text for text in stub.grammars)


def test_a_callers_grammar(remote: Model, local: Model) -> None:
    options = {"grammar": 'root ::= "naïve " [0-9]{3}', "temperature": 0, "max_tokens": 20}
    assert remote.chat(messages("Hello!"), **options).content == local.chat(messages("Hello!"), **options).content


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


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_answers_in_lark(guidance: Stub, demo_path: Path, family: str) -> None:
    with (
        edgefc.load(demo_path, family=family, n_ctx=N_CTX, n_threads=1) as local,
        edgefc.load(demo_path, family=family, engine=guidance.engine) as remote,
    ):
        compared = 0
        for choice in ("auto", "required"):
            for question in QUESTIONS:
                options = {"tools": TOOLS, "tool_choice": choice, "max_tokens": 60, "temperature": 0, "logprobs": 5}
                expected, reply = (model.chat(messages(question), **options) for model in (local, remote))
                count = min(map(_clear_choices, (expected, reply)))  # before the grammar, and behind it
                compared += count
                assert [item.token for item in reply.logprobs][:count] == [
                    item.token for item in expected.logprobs[:count]
                ]
                if count == len(expected.logprobs):
                    assert facts(reply) == facts(expected), (choice, question)
    assert compared > 20


def _clear_choices(reply: edgefc.Reply) -> int:
    """Return the number of tokens before one that is about as likely as another, where rounding may decide."""
    for number, chosen in enumerate(reply.logprobs):
        if any(token != chosen.token and abs(value - chosen.logprob) < CLOSE for token, value in chosen.top):
            return number
    return len(reply.logprobs)


@pytest.mark.parametrize("family", ["mistral", "functiongemma"])
def test_control_tokens_are_demanded_as_tokens(family_model: Callable[[str], Path], family: str) -> None:
    """With random weights, which would as soon spell them."""
    path = family_model(family)
    with Stub(path, "vllm", "guidance") as stub:
        here, there = first_control_tokens(path, family, stub.engine, N_CTX)
        assert here == there
        assert not any("::=" in text for text in stub.grammars[1:]), "control tokens are ids"

"""Real weights in a server of another kind: the calls that edgefc's own engine makes with the same file.

EDGEFC_REMOTE_ENGINE, such as `vllm=http://127.0.0.1:8000`, names a vLLM or SGLang with Qwen2.5-Coder 0.5B, and
EDGEFC_REMOTE_MODEL its folder, which `benchmarks/hf_weights.py` makes.
"""

from __future__ import annotations

import os

import pytest

import edgefc
from benchmarks import peer
from edgefc import Model
from tests.engine.remote.conftest import BINARY, N_CTX
from tests.engine.remote.questions import TOOLS, messages
from tests.engine.remote.stub import Stub
from tests.real import weights
from tests.real.conftest import find_model

QUESTIONS = (("What is the weather in Paris?", "auto"), ("Weather in Paris, in celsius", "required"))
ENGINE, MODEL = os.environ.get("EDGEFC_REMOTE_ENGINE", ""), os.environ.get("EDGEFC_REMOTE_MODEL", "")


def calls(reply: edgefc.Reply) -> list[tuple[str, object]]:
    return [(call.name, call.arguments) for call in reply.calls]


def assert_the_same_calls(local: Model, remote: Model) -> None:
    assert remote.family.name == local.family.name
    for question, choice in QUESTIONS:
        options = {"tools": TOOLS, "tool_choice": choice, "max_tokens": 60, "temperature": 0}
        expected, reply = (model.chat(messages(question), **options) for model in (local, remote))
        assert reply.outcome == expected.outcome, question
        assert calls(reply) == calls(expected), question
        if expected.confidence is not None and expected.confidence.call is not None:
            assert reply.confidence is not None
            assert reply.confidence.call == pytest.approx(expected.confidence.call, abs=0.05)


@pytest.mark.parametrize("name", [weights.NAME, "qwen2.5-coder-0.5b"])
def test_the_same_calls(name: str) -> None:
    real_path = find_model(name)
    if BINARY is None:
        pytest.skip("needs llama-server: `python benchmarks/peer.py` builds one, EDGEFC_LLAMA_SERVER names it")
    with peer.Server(BINARY, real_path, n_ctx=N_CTX, threads=1) as server:
        engine = f"llama-server=http://127.0.0.1:{server.port}"
        with (
            edgefc.load(real_path, n_ctx=N_CTX, n_threads=1) as local,
            edgefc.load(real_path, engine=engine) as remote,
        ):
            assert_the_same_calls(local, remote)


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_a_call_is_decided_on_by_the_model_alone(kind: str) -> None:
    """Its probability before the grammar is asked for, where a server tells the one after it."""
    real_path = find_model(weights.NAME)
    with (
        Stub(real_path, kind, "guidance") as stub,
        edgefc.load(real_path, n_ctx=N_CTX, n_threads=1, family="json-list") as local,
        edgefc.load(real_path, engine=stub.engine, family="json-list") as remote,
    ):
        assert_the_same_calls(local, remote)


@pytest.mark.skipif(not (ENGINE and MODEL), reason="EDGEFC_REMOTE_ENGINE and EDGEFC_REMOTE_MODEL must name a server")
@pytest.mark.parametrize("family", [None, "hermes"])
def test_the_same_calls_of_the_users_server(family: str | None) -> None:
    with (
        edgefc.load(find_model("qwen2.5-coder-0.5b"), n_ctx=N_CTX, n_threads=1, family=family) as local,
        edgefc.load(MODEL, engine=ENGINE, family=family) as remote,
    ):
        assert_the_same_calls(local, remote)

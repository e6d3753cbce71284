"""Real weights in llama-server: the calls that edgefc's own engine makes with the same file."""

from __future__ import annotations

import pytest

import edgefc
from benchmarks import peer
from tests.engine.remote.conftest import BINARY, N_CTX
from tests.engine.remote.questions import TOOLS, messages
from tests.real import weights
from tests.real.conftest import find_model

QUESTIONS = (("What is the weather in Paris?", "auto"), ("Weather in Paris, in celsius", "required"))


def calls(reply: edgefc.Reply) -> list[tuple[str, object]]:
    return [(call.name, call.arguments) for call in reply.calls]


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
            assert remote.family.name == local.family.name
            for question, choice in QUESTIONS:
                options = {"tools": TOOLS, "tool_choice": choice, "max_tokens": 60, "temperature": 0}
                expected, reply = (model.chat(messages(question), **options) for model in (local, remote))
                assert reply.outcome == expected.outcome, question
                assert calls(reply) == calls(expected), question

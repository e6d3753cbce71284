"""A real llama-server, where one is built, and stubs of vLLM and SGLang."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import peer
from tests.engine.remote.stub import Stub

# Looked for before the tests' own cache folder takes the place of the user's.
BINARY = peer.find()
N_CTX = 2048


@pytest.fixture(scope="session")
def llama_server(demo_path: Path) -> Iterator[str]:
    """The `engine` of a llama-server that computes the demo model."""
    if BINARY is None:
        pytest.skip("needs llama-server: `python benchmarks/peer.py` builds one, EDGEFC_LLAMA_SERVER names it")
    with peer.Server(BINARY, demo_path, n_ctx=N_CTX, threads=1, slots=2) as server:
        yield f"llama-server=http://127.0.0.1:{server.port}"


@pytest.fixture(
    scope="module",
    params=[("vllm", "xgrammar"), ("vllm", "guidance"), ("sglang", "xgrammar"), ("sglang", "guidance")],
    ids="-".join,
)
def stub(request: pytest.FixtureRequest, demo_path: Path) -> Iterator[Stub]:
    """A stub of each kind, with each backend."""
    with Stub(demo_path, *request.param) as stub:
        yield stub

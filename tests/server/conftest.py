"""A server with the demo model, started as users start it, and OpenAI's client for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.server.server_process import ServerProcess


@pytest.fixture(scope="session")
def server(demo_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess() as server:
        yield server


@pytest.fixture(scope="session")
def client(server: ServerProcess) -> OpenAI:
    return server.client()

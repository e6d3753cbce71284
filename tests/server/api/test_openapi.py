"""Requests that schemathesis generates from /openapi.json: the server fails at none, and answers as described."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.property_settings import NIGHTLY
from tests.server.server_process import ServerProcess


def test_generated_requests_find_no_fault(server: ServerProcess, tmp_path: Path) -> None:
    """All checks but one: the server also refuses what no schema describes, such as an unknown role."""
    program = Path(sys.executable).with_name("schemathesis")
    if not program.exists():
        pytest.skip("needs schemathesis")
    command = [
        str(program), "run", f"http://{server.host}:{server.port}/openapi.json", "--no-color", "--seed", "1",
        "--max-examples", str(max(10, NIGHTLY // 100)), "--exclude-checks", "positive_data_acceptance", "--request-timeout", "120",
    ]  # fmt: skip
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "openapi_hooks", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, cwd=tmp_path, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout[-8000:]
    assert server.request("GET", "/health").status == 200

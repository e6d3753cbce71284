"""Requests made from the server's own description of itself, by schemathesis: none breaks it, none is told otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.conftest import Serving


def test_requests_made_of_the_description_find_no_fault(server: Serving, tmp_path: Path) -> None:
    """All checks but one: what only the meaning of a request shows, such as a role there is not, is refused as well."""
    program = Path(sys.executable).with_name("schemathesis")
    if not program.exists():
        pytest.skip("needs schemathesis")
    command = [
        str(program), "run", f"http://{server.host}:{server.port}/openapi.json", "--no-color", "--seed", "1",
        "--max-examples", "25", "--exclude-checks", "positive_data_acceptance", "--request-timeout", "120",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-8000:]
    assert server.ask("GET", "/health").status == 200

"""`edgefc serve`: its options, from the command line, the environment and a file."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgefc.server import Settings
from tests.server.conftest import Serving


def refused(*options: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "edgefc", "serve", *options],
        capture_output=True, text=True, timeout=120, env={**os.environ, **environment}, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_says_how_to_call_it(server: Serving) -> None:
    told = "".join(server.lines)
    assert f"demo (demo) at {server.url}: context 2048 tokens, 4 requests at a time" in told
    server.wait_until_idle()
    assert f"curl {server.url}/chat/completions --json" in told
    assert f"OpenAI(base_url='{server.url}'" in told


def test_options_come_from_a_file_the_environment_and_the_command_line(tmp_path: Path, demo_path: Path) -> None:
    config = tmp_path / "edgefc.toml"
    config.write_text('n-ctx = 512\nparallel = 2\nwaiting = 3\napi-key = ["from-file"]\n', encoding="utf-8")
    environment = {"EDGEFC_PARALLEL": "3", "EDGEFC_CONFIG": str(config)}
    with Serving(("--n-ctx", "1024"), environment) as server:
        told = "".join(server.lines)
        assert "context 1024 tokens, 3 requests at a time" in told
        assert server.ask("GET", "/v1/models").status == 401
        assert server.ask("GET", "/v1/models", headers={"Authorization": "Bearer from-file"}).status == 200
        assert "from-file" not in "".join(server.lines)


def test_a_file_with_what_there_is_not(tmp_path: Path) -> None:
    config = tmp_path / "edgefc.toml"
    for text, named in (("prot = 1\n", "prot"), ("port = \n", "edgefc.toml"), ("port = 'x'\n", "port")):
        config.write_text(text, encoding="utf-8")
        assert named in refused("--config", str(config))
    assert "nothing.toml" in refused("--config", str(tmp_path / "nothing.toml"))


def test_what_would_let_others_in_is_refused_before_a_model_is_loaded() -> None:
    assert "no key is set" in refused("--host", "0.0.0.0")
    assert "empty key" in refused("--api-key", "")
    assert "timeout" in refused("--timeout", "0")
    assert "there is no model" in refused("no-such-model") or "no-such-model" in refused("no-such-model")


def test_a_port_that_is_taken(demo_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        message = refused("--port", str(taken.getsockname()[1]))
    assert "Choose another --port" in message


def test_an_ipv6_loopback(demo_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with Serving(("--host", "::1")) as server:
        assert server.ask("GET", "/health").status == 200


def test_loopback_is_told_by_the_address() -> None:
    for host, loopback in (("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)):
        assert Settings(host=host).is_loopback is loopback
    assert not Settings(host="0.0.0.0", api_keys=("x",)).is_loopback

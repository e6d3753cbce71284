"""`edgefc serve` and its options, from the command line, the environment and a file."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgefc.server import Settings
from edgefc.server.run import listening_socket
from tests.server.server_process import ServerProcess


def stderr_of_refusal(*options: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "edgefc", "serve", *options],
        capture_output=True, text=True, timeout=120, env={**os.environ, **environment}, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_banner_shows_how_to_call_the_server(server: ServerProcess) -> None:
    server.wait_until_idle()
    banner = "".join(server.lines)
    assert f"demo (demo) at {server.url}: context 2048 tokens, 4 requests at a time" in banner
    assert f"curl {server.url}/chat/completions --json" in banner
    assert f"OpenAI(base_url='{server.url}'" in banner


def test_options_come_from_a_file_the_environment_and_the_command_line(tmp_path: Path, demo_path: Path) -> None:
    config = tmp_path / "edgefc.toml"
    config.write_text('n-ctx = 512\nparallel = 2\nwaiting = 3\napi-key = ["from-file"]\n', encoding="utf-8")
    environment = {"EDGEFC_PARALLEL": "3", "EDGEFC_CONFIG": str(config)}
    with ServerProcess(("--n-ctx", "1024"), environment) as server:
        banner = "".join(server.lines)
        assert "context 1024 tokens, 3 requests at a time" in banner
        assert server.request("GET", "/v1/models").status == 401
        assert server.request("GET", "/v1/models", headers={"Authorization": "Bearer from-file"}).status == 200
        assert "from-file" not in "".join(server.lines)


def test_mistakes_in_the_configuration_file(tmp_path: Path) -> None:
    config = tmp_path / "edgefc.toml"
    for text, word in (("prot = 1\n", "prot"), ("port = \n", "edgefc.toml"), ("port = 'x'\n", "port")):
        config.write_text(text, encoding="utf-8")
        assert word in stderr_of_refusal("--config", str(config))
    assert "nothing.toml" in stderr_of_refusal("--config", str(tmp_path / "nothing.toml"))


def test_unsafe_settings_are_refused_before_a_model_is_loaded() -> None:
    assert "no key is set" in stderr_of_refusal("--host", "0.0.0.0")
    assert "empty key" in stderr_of_refusal("--api-key", "")
    assert "timeout" in stderr_of_refusal("--timeout", "0")
    assert "there is no model" in stderr_of_refusal("no-such-model") or "no-such-model" in stderr_of_refusal(
        "no-such-model"
    )


def test_a_port_in_use(demo_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        message = stderr_of_refusal("--port", str(taken.getsockname()[1]))
    assert "Choose another --port" in message


def test_responses_do_not_wait_for_acknowledgements() -> None:
    """asyncio sets TCP_NODELAY on the connections of such a listener only."""
    with listening_socket(Settings(port=0)) as (listener, _):
        assert listener.proto == socket.IPPROTO_TCP


def test_an_ipv6_loopback(demo_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with ServerProcess(("--host", "::1")) as server:
        assert server.request("GET", "/health").status == 200


def test_loopback_addresses() -> None:
    for host, loopback in (("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)):
        assert Settings(host=host).is_loopback is loopback
    assert not Settings(host="0.0.0.0", api_keys=("x",)).is_loopback

"""`edgefc launch`: settings for other programs, and models that no command has to name twice."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edgefc.cli.client_settings import CLIENTS, ServerAddress
from edgefc.errors import RequestError
from tests.cli.conftest import Edgefc
from tests.server.server_process import ServerProcess

SERVER = ServerAddress("http://127.0.0.1:8080", "qwen2.5-coder:1.5b", 8192)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "APPDATA", "EDGEFC_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("client", CLIENTS)
def test_settings_name_server_and_model(client: str, edgefc: Edgefc, home: Path) -> None:
    text = CLIENTS[client](SERVER).text
    assert SERVER.url in text
    assert SERVER.model in text or client == "open-webui"
    done = edgefc("launch", client, "--print")
    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1:8080" in done.stdout
    report = json.loads(edgefc("launch", client, "--port", "9", "--json").stdout)
    assert (report["client"], report["model"], report["url"]) == (client, "demo", "http://127.0.0.1:9")
    assert not list(home.iterdir())


def test_a_key_stays_in_the_environment(edgefc: Edgefc) -> None:
    for client in CLIENTS:
        printed = edgefc("launch", client, "--api-key", "sk-secret", "--print")
        assert "sk-secret" not in printed.stdout + printed.stderr
        assert "EDGEFC_API_KEY" in printed.stdout + printed.stderr


def test_continue_reads_its_settings_as_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    (model,) = yaml.safe_load(CLIENTS["continue"](SERVER).text)["models"]
    assert model["model"] == "qwen2.5-coder:1.5b"
    assert model["capabilities"] == ["tool_use"]


def test_a_file_is_merged_and_its_content_saved(home: Path) -> None:
    path = home / "opencode" / "opencode.json"
    path.parent.mkdir()
    path.write_text('{"theme": "dark", "provider": {"other": {"npm": "x"}, "edgefc": {"name": "old"}}}')
    before = path.read_bytes()
    CLIENTS["opencode"](SERVER).write()
    data: Any = json.loads(path.read_text())
    assert data["theme"] == "dark"
    assert data["provider"]["other"] == {"npm": "x"}
    assert data["provider"]["edgefc"]["options"]["baseURL"] == "http://127.0.0.1:8080/v1"
    assert path.with_name("opencode.json.before-edgefc").read_bytes() == before


@pytest.mark.parametrize("content", ["// mine\n{}", "[1]", "{"])
def test_a_file_that_would_lose_something_is_not_changed(content: str, home: Path) -> None:
    path = home / "zed" / "settings.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(RequestError, match="was not changed"):
        CLIENTS["zed"](SERVER).write()
    assert path.read_text() == content
    other = home / ".continue" / "config.yaml"
    other.parent.mkdir()
    other.write_text("models: []\n")
    with pytest.raises(RequestError, match="it exists"):
        CLIENTS["continue"](SERVER).write()


def test_the_server_starts_with_the_address_of_the_settings(home: Path) -> None:
    """Without a terminal to ask on, the client's file is written with --yes only."""
    words = [sys.executable, "-m", "edgefc", "launch", "opencode", "--port", "18733"]
    for options, is_written in (([], False), (["--yes"], True)):
        with subprocess.Popen([*words, *options], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                              stdin=subprocess.DEVNULL,
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as process:  # fmt: skip
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            assert any(re.search(r"at http://127.0.0.1:18733/v1", line) for line in lines)
            process.terminate()
            process.stderr.read()
        assert (home / "opencode" / "opencode.json").exists() is is_written


def test_unknown_clients_and_ports_are_refused(edgefc: Edgefc) -> None:
    unknown = edgefc("launch", "emacs", "--print")
    assert (unknown.returncode, "home-assistant" in unknown.stderr) == (2, True)
    assert edgefc("launch", "zed", "--port", "0", "--print").returncode == 2


def test_the_default_model_is_a_path_in_every_folder(edgefc: Edgefc, home: Path, demo_path: Path) -> None:
    (home / "mine.gguf").symlink_to(demo_path)
    assert edgefc("config", "set", "model", "mine.gguf").returncode == 0
    assert tomllib.loads((home / "config.toml").read_text())["model"] == str(demo_path.resolve())
    assert json.loads(edgefc("launch", "zed", "--json").stdout)["model"] == demo_path.stem


def test_serve_answers_with_its_default_model(demo_path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.symlink_to(demo_path)
    with ServerProcess(("--n-ctx", "256", "--default-model", "demo"), models=(str(other), "demo")) as server:
        answer = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1})
        assert answer.json["model"] == "demo"

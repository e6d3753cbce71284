"""Models from pull to rm, as a user does it: the demo model's file, from a hub on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal
from tests.models.fake_hub import HubServer

REPO = "acme/demo-GGUF"
FILE = "demo-Q8_0.gguf"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def server(demo_path: Path) -> Iterator[HubServer]:
    with HubServer() as made:
        tokenizer = demo_path.with_name("tokenizer.json").read_bytes()
        made.add(REPO, {FILE: demo_path, "tokenizer.json": tokenizer, "LICENSE": b"Apache"})
        yield made


@pytest.fixture
def run(server: HubServer, tmp_path: Path) -> Run:
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "EDGEFC_MODELS_DIR": str(tmp_path / "models"),
        "EDGEFC_CONFIG_DIR": str(tmp_path / "config"),
    }

    def call(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edgefc", *words],
            capture_output=True, text=True, cwd=tmp_path, env={**environment, **more}, timeout=120, check=False,
        )  # fmt: skip

    call.environment = environment  # type: ignore[attr-defined]
    return call


def test_the_whole_life_of_a_model(run: Run, server: HubServer, tmp_path: Path) -> None:
    pulled = run("pull", REPO, "--json")
    assert pulled.returncode == 0, pulled.stderr
    assert f"{FILE}  " in pulled.stderr
    facts = json.loads(pulled.stdout)
    assert (facts["name"], facts["licence"]) == (f"{REPO}:Q8_0", "apache-2.0")

    answered = run("run", "What's 17*23?", "-m", REPO)
    assert "391" in answered.stdout, answered.stderr
    shown = json.loads(run("show", REPO, "--json").stdout)
    assert shown["path"] == facts["path"]
    assert shown["family"] == "demo"

    listed = json.loads(run("list", "--json").stdout)
    assert [(model["name"], model["program"]) for model in listed] == [("demo", "edgefc"), (f"{REPO}:Q8_0", "edgefc")]
    assert REPO in run("list").stdout
    assert "arch-function-3b" in run("list", "--all").stdout
    assert json.loads(run("verify", "--json").stdout) == {f"{REPO}:Q8_0": []}

    bundled = run("bundle", REPO)
    archive = tmp_path / bundled.stdout.strip()
    assert archive.is_file(), bundled.stderr
    assert run("bundle", REPO).returncode == 2, "nothing is overwritten"
    refused = run("rm", REPO)
    assert (refused.returncode, REPO in run("list").stdout) == (2, True), "without a terminal, nobody was asked"
    assert "--yes" in refused.stderr
    assert run("rm", REPO, "--yes").returncode == 0
    assert [model["name"] for model in json.loads(run("list", "--json").stdout)] == ["demo"]
    asked = len(server.requests)
    assert run("unbundle", str(archive), EDGEFC_OFFLINE="1").returncode == 0
    assert "391" in run("run", "What's 17*23?", "-m", REPO, EDGEFC_OFFLINE="1").stdout
    assert len(server.requests) == asked

    path = Path(facts["path"])
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    damaged = run("verify")
    assert damaged.returncode == 1
    assert "sha256" in damaged.stdout


def test_errors_say_what_to_do(run: Run, server: HubServer) -> None:
    for words, wanted in (
        (("pull", "acme/nothing"), "no repository acme/nothing"),
        (("pull", "arch-functoin-3b"), "Did you mean arch-function-3b"),
        (("pull", REPO, "-q", "Q2_K"), "It has Q8_0"),
        (("pull", REPO, "--offline"), "Leave out --offline"),
        (("pull", f"{server.url}/nothing.gguf"), "nothing.gguf"),
        (("rm", "demo"), "edgefc demo is part of edgefc"),
        (("run", "hi", "-m", REPO), f"edgefc pull {REPO}"),
        (("rm", "nothing"), "Models here: none"),
        (("unbundle", "nothing.tar"), "Check the path."),
        (("pull", "demo"), "nothing to fetch"),
    ):
        done = run(*words)
        assert done.returncode == 2, words
        assert wanted in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


def test_a_licence_that_forbids_commerce_is_told_first(run: Run, server: HubServer, demo_path: Path) -> None:
    server.add("Salesforce/xLAM-2-1b-fc-r-gguf", {FILE: demo_path})
    done = run("pull", "xlam-2-1b")
    assert "forbid" in done.stderr, done.stderr
    assert done.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals are a Unix thing")
def test_ctrl_c_keeps_what_came(run: Run, server: HubServer) -> None:
    fault = server.fault(FILE, server="cdn", method="GET", rate=2 << 20)
    process = subprocess.Popen(
        [sys.executable, "-m", "edgefc", "pull", REPO],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=run.environment,  # type: ignore[attr-defined]
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while not fault.hits:
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    server.clear_faults()
    assert run("pull", REPO).returncode == 0
    assert [r.range for r in server.requests_for(FILE, server="cdn") if r.range]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
def test_chat_offers_to_pull(run: Run, server: HubServer) -> None:
    with Terminal("chat", REPO, env=run.environment) as terminal:  # type: ignore[attr-defined]
        terminal.wait_for("Download it now? [y/N]")
        assert not server.requests, "nothing is asked before the answer"
        terminal.type("y")
        terminal.wait_for("/help")
        terminal.wait_for("> ")
        terminal.type("/exit")
        assert terminal.process.wait(60) == 0

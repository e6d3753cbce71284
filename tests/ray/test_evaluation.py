"""`edgefc eval --ray`: the results of a local run, whatever happens to the replicas."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgefc.errors import EdgefcError, EngineClosedError, RequestError
from tests.ray.processes import NEEDS_RAY, wait_for_replicas

pytestmark = NEEDS_RAY
IMPORTS_RAY = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its use of pydantic
COMMAND = [sys.executable, "-m", "edgefc", "eval", "demo", "--limit=4", "--max-tokens=64", "--grammar=on,off",
           "--n-threads=1"]  # fmt: skip
COSTS = {"seconds", "model_steps"}  # depend on what is computed at the same time


def entries(path: Path) -> list[dict[str, Any]]:
    """Read a run's file, without what an answer costs."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in COSTS} for line in lines]


def test_results_are_those_of_a_local_run_when_replicas_are_killed(tmp_path: Path) -> None:
    local, spread = tmp_path / "local", tmp_path / "spread"
    subprocess.run([*COMMAND, "--out", str(local)], check=True, capture_output=True)
    files = sorted(local.iterdir())
    spread.mkdir()
    earlier = files[1].read_bytes().splitlines(keepends=True)[:4]
    (spread / files[1].name).write_bytes(b"".join(earlier) + b'{"id": "examp')  # a run that was cut off

    command = [*COMMAND, "--out", str(spread), "--ray", "replicas=2", "--resume"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            for mode in ("on", "off"):
                while process.poll() is None and not any(
                    path.read_bytes().count(b"\n") >= 8 for path in spread.glob(f"*grammar-{mode}*")
                ):
                    time.sleep(0.01)
                wait_for_replicas(process.pid, 2)[0].kill()
            started = psutil.Process(process.pid).children(recursive=True)
            said, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert not psutil.wait_procs(started, 20)[1]
    found = sorted(spread.iterdir())
    assert [entries(path) for path in found] == [entries(path) for path in files]
    assert len(entries(found[0])) == 1 + 36
    assert found[1].read_bytes().startswith(b"".join(earlier))


def test_sigterm_ends_a_run_and_ray_with_it(tmp_path: Path) -> None:
    command = [*COMMAND, "--limit=100", "--out", str(tmp_path / "runs"), "--ray", "replicas=1"]
    with (
        tempfile.TemporaryDirectory() as folder,  # Ray's sockets there have names of at most 107 characters
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "TMPDIR": folder}
        ) as process,
    ):
        try:
            while process.poll() is None and not any(
                path.read_bytes().count(b"\n") >= 4 for path in (tmp_path / "runs").glob("*.jsonl")
            ):
                time.sleep(0.01)
            started = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
        assert not list(Path(folder).glob("edgefc-ray-*"))
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "SIGTERM" not in said
    assert not psutil.wait_procs(started, 20)[1]


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such sockets")
@IMPORTS_RAY
def test_the_names_of_rays_sockets_are_short_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgefc.ray import cluster

    monkeypatch.setattr(tempfile, "tempdir", "/var/tmp/x")
    assert cluster._short_folder() == "/var/tmp/x"
    monkeypatch.setattr(tempfile, "tempdir", "/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T")  # as on macOS
    assert cluster._short_folder() == "/tmp"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engine=vllm=http://127.0.0.1:1"], "engine: cannot be used with --ray"),
        (["--ray=replicas=0"], "invalid number of replicas 0"),
        (["--parallel=65"], "parallel: must be between 1 and 64"),
    ],
)
@IMPORTS_RAY
def test_a_wrong_option_is_named_before_ray_starts(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    from edgefc.cli.app import main

    with pytest.raises(SystemExit, match="2"):
        main(["eval", "demo", "--limit=1", "--ray=replicas=2", *options])
    assert said in " ".join(capsys.readouterr().err.split())
    assert not ray.is_initialized()


@IMPORTS_RAY
def test_a_case_that_no_replica_survives_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import RayTaskError

    from edgefc.ray import evaluation, replicas

    monkeypatch.setattr(replicas, "FIRST_PAUSE_S", 1e-6)
    asked: list[EdgefcError] = []

    class Response:
        def __init__(self, error: EdgefcError) -> None:
            asked.append(error)
            self._error = RayTaskError("judge", "a traceback", error).as_instanceof_cause()

        def result(self, *, timeout_s: float) -> None:
            assert timeout_s > 0
            raise self._error

    def ask(error: EdgefcError) -> None:
        evaluation._ReplicaCall(lambda: Response(error), "case_1").wait()  # type: ignore[arg-type]

    with pytest.raises(EngineClosedError, match=r"(?s)case_1: no replica has answered in 8 tries.*--resume"):
        ask(EngineClosedError("the engine has stopped"))
    assert len(asked) == replicas.MAX_TRIES
    with pytest.raises(RequestError, match=r"^tool_budget: wrong$"):
        ask(RequestError("tool_budget", "wrong"))

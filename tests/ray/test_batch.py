"""`edgefc batch --ray`: each request is answered once, whatever happens to the replicas."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.ray.processes import NEEDS_RAY, wait_for_replicas
from tests.server.test_batch import answers, line

pytestmark = NEEDS_RAY


def test_a_batch_loses_and_repeats_nothing_when_replicas_are_killed(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(line(str(number), max_tokens=8) for number in range(1000)) + line("bad", tools="none"))
    earlier = json.dumps({"custom_id": "0", "response": {"status_code": 200}}) + "\n"
    target.write_text(earlier + '{"custom_id": "1", "resp')  # a run that was cut off
    command = [sys.executable, "-m", "edgefc", "batch", str(source), "-o", str(target), "-m", "demo",
               "--n-threads=1", "--ray", "replicas=2", "--resume"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            for least in (100, 400):
                while process.poll() is None and target.read_bytes().count(b"\n") < least:
                    time.sleep(0.01)
                wait_for_replicas(process.pid, 2)[0].kill()
            started = psutil.Process(process.pid).children(recursive=True)
            said, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 1, said  # a request is refused
    assert "1 refused; the first: bad: 400" in said
    found = answers(target)
    assert found.keys() == {*map(str, range(1000)), "bad"}
    assert {entry["response"]["status_code"] for name, entry in found.items() if name != "bad"} == {200}
    assert target.read_text().startswith(earlier)
    assert not psutil.wait_procs(started, 20)[1]

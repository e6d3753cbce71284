"""The image of the Dockerfile serves the demo model, where docker is at hand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAME = "edgefc-test"
KEY = "sk-docker"


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip()


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """Return the address of a running container."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs docker and its daemon")
    docker("build", "-t", NAME, ".")
    number = docker("run", "--rm", "--detach", "-p", "127.0.0.1::8080", "-e", f"EDGEFC_API_KEY={KEY}", NAME)
    try:
        yield f"http://{docker('port', number, '8080').splitlines()[0]}"
    finally:
        docker("stop", "--time", "5", number)


def test_the_image_serves_the_demo_model(container: str) -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{container}/health").close()
            break
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    body = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4}
    request = urllib.request.Request(f"{container}/v1/chat/completions", json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {KEY}")
    with urllib.request.urlopen(request) as response:
        assert json.load(response)["choices"][0]["message"]["content"]


def test_the_image_gets_what_it_needs_and_nothing_else() -> None:
    """Each file that .dockerignore lets in is there, and all that bootstrap.py and the package's build read are in it."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in kept)
    build = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = {
        "bootstrap.py",
        "pyproject.toml",
        "requirements",
        "edgefc",
        *re.findall(r'^"([\w.]+)" = "edgefc/data', build, re.MULTILINE),
    }
    needed |= {
        re.search(r'^readme = "(.+)"', build, re.MULTILINE)[1],
        re.search(r'^license-files = \["(.+)"\]', build, re.MULTILINE)[1],
    }  # type: ignore[index]
    assert needed == kept

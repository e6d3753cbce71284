"""Builds and runs llama-server and llama-bench of the llama.cpp that the pinned llama-cpp-python contains.

    python benchmarks/peer.py        find or build them, and print their location

Search order: EDGEFC_LLAMA_SERVER (the path of a llama-server, with llama-bench beside it), an earlier build in edgefc's
cache folder, a fresh build there from llama-cpp-python's source release (about ten minutes on two cores). Source,
compiler and flags are those of the library that edgefc computes with, so only the programs differ.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import bootstrap
from edgefc import hardware, paths

SERVER, BENCH = "llama-server", "llama-bench"
# The build is moved, so programs find their libraries by relative paths; the web interface would be downloaded.
OPTIONS = ("CMAKE_BUILD_TYPE=Release", "CMAKE_BUILD_RPATH_USE_ORIGIN=ON", "LLAMA_CURL=OFF", "LLAMA_OPENSSL=OFF",
           "LLAMA_BUILD_UI=OFF", "LLAMA_USE_PREBUILT_UI=OFF", "LLAMA_BUILD_TESTS=OFF",
           "LLAMA_BUILD_EXAMPLES=OFF")  # fmt: skip
START_TIMEOUT_S = 300


def find() -> Path | None:
    """Find an existing llama-server; None when there is none."""
    if configured := os.environ.get("EDGEFC_LLAMA_SERVER"):
        if not Path(configured).is_file():
            sys.exit(f"EDGEFC_LLAMA_SERVER is {configured}, but there is no such file")
        return Path(configured)
    built = _build_folder() / "build" / "bin" / SERVER
    return built if built.is_file() else None


def find_or_build() -> Path:
    return find() or _build()


def _build_folder() -> Path:
    return paths.cache_dir() / f"peer-{importlib.metadata.version(bootstrap.LLAMA)}"


def _build() -> Path:
    """Build into the folder that `find` searches, completely or not at all."""
    folder = _build_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as work:
        source = download(Path(work))
        configure(source, Path(work) / "build")
        cores = str(hardware.usable_cores())
        print(f"compiling {SERVER} and {BENCH}: about ten minutes on two cores", file=sys.stderr, flush=True)
        build = str(Path(work) / "build")
        _run(["cmake", "--build", build, "--config", "Release", "-j", cores, "--target", SERVER, BENCH])
        binaries = Path(work) / "done" / "build" / "bin"
        binaries.parent.mkdir(parents=True)
        shutil.copytree(Path(work) / "build" / "bin", binaries, symlinks=True)
        shutil.rmtree(folder, ignore_errors=True)
        binaries.parents[1].replace(folder)
    server = folder / "build" / "bin" / SERVER
    _run([str(server), "--version"])  # check that it starts after the move
    return server


def download(folder: Path) -> Path:
    """Unpack llama.cpp's source, which llama-cpp-python's contains; returns the folder with its CMakeLists.txt."""
    archive = download_source_package(folder)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()
    return next(folder.glob("*/vendor/llama.cpp/CMakeLists.txt")).parent


def download_source_package(folder: Path) -> Path:
    """Download the archive of llama-cpp-python's source, whose hash is pinned."""
    requirement = bootstrap.split_lock(bootstrap.lock("run").read_text(encoding="utf-8"))[1]
    version = importlib.metadata.version(bootstrap.LLAMA)
    if f"=={version}" not in requirement:
        sys.exit(f"{bootstrap.LLAMA} {version} is installed, but requirements/run.txt pins another: run bootstrap.py")
    pinned = folder / "requirement.txt"
    pinned.write_text(requirement, encoding="utf-8")
    # Neither a wheel nor the dependencies are needed.
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download", "--no-deps"]
    command += ["--no-binary", bootstrap.LLAMA, "--require-hashes", "-r", str(pinned), "-d", str(folder)]
    _run(command)
    return next(folder.glob("*.tar.gz"))


def configure(source: Path, build: Path) -> None:
    options = [f"-D{option}" for option in OPTIONS]
    if flags := bootstrap.compiler_flags():
        options += [f"-DCMAKE_C_FLAGS={flags}", f"-DCMAKE_CXX_FLAGS={flags}"]
    _run(["cmake", "-S", str(source), "-B", str(build), *options])


def _run(command: list[str]) -> None:
    """Run a command quietly; if it fails, exit with the end of its output."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout[-4000:]}\n`{' '.join(command[:4])} …` failed; the end of its output is above")


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer of llama-server.

    seconds     from sending the request to the last byte of the answer
    arrivals    the same to each token, if they were streamed
    timings     the server's own: prompt_n, prompt_ms, predicted_n, predicted_ms
    """

    text: str
    tokens: list[int]
    stopped: bool
    seconds: float
    arrivals: list[float]
    timings: dict[str, float]

    @property
    def computed_seconds(self) -> float:
        """The server's own time, without HTTP and without waiting for a slot."""
        return (self.timings["prompt_ms"] + self.timings["predicted_ms"]) / 1000


class StartError(RuntimeError):
    """llama-server did not start, for example because it cannot use the model's template."""


class Server:
    """A llama-server on a free port of this machine, running inside a `with` block; any thread may send requests.

    n_ctx       context of each request
    chat        chat completions by the model's own template; else prompts are token ids
    slots       None stands for the server's default, which is four that share the context
    load_s      seconds from its start until it was ready
    """

    def __init__(
        self,
        binary: Path,
        model: Path,
        *,
        n_ctx: int,
        threads: int,
        slots: int | None = 1,
        chat: bool = False,
        more: tuple[str, ...] = (),
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = [
            str(binary), "-m", str(model), "-t", str(threads), "-tb", str(threads), "-c", str(n_ctx * (slots or 4)),
            *(() if slots is None else ("-np", str(slots))), "--host", "127.0.0.1", "--port", str(self.port),
            # A model's own template can keep the server from starting, and is not needed for token ids.
            "--no-ui", *(("--jinja",) if chat else ("--no-jinja", "--chat-template", "chatml")), *more,
        ]  # fmt: skip
        self.load_s = 0.0

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        started = time.perf_counter()
        # Settings for other llama.cpp programs must not change this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log, env=environment)
        try:
            while not self._is_ready():
                if self._process.poll() is not None or time.perf_counter() - started > START_TIMEOUT_S:
                    raise StartError(f"llama-server did not start; the end of its log:\n{self.log()[-2000:]}")
                time.sleep(0.005)
        except BaseException:
            self.__exit__()
            raise
        self.load_s = time.perf_counter() - started
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def peak_memory(self) -> int:
        """Return the server's peak memory in bytes, mapped files included."""
        return peak_memory(self._process.pid)

    def complete(
        self,
        prompt: list[int],
        *,
        max_tokens: int,
        grammar: str = "",
        trigger: str = "",
        stop: tuple[str, ...] = (),
        stream: bool = False,
        endless: bool = False,
    ) -> Completion:
        """Generate greedily. With `trigger`, the grammar applies from this text on; before it, all is allowed."""
        body: dict[str, Any] = {
            "prompt": prompt, "n_predict": max_tokens, "cache_prompt": True, "return_tokens": True, "stop": list(stop),
            # The cheapest greedy sampler chain; the default one sorts forty candidates first.
            "temperature": 0, "samplers": ["top_k"], "top_k": 1, "stream": stream, "ignore_eos": endless,
        }  # fmt: skip
        if grammar:
            body["grammar"] = grammar
        if trigger:
            # common_grammar_trigger_type: 1 is a word
            body |= {"grammar_lazy": True, "grammar_triggers": [{"type": 1, "value": trigger}]}
        text, tokens, arrivals, last = "", [], [], {}
        data = json.dumps(body)
        started = time.perf_counter()
        for part in self._post(data, stream=stream):
            new = part.get("tokens", []) if stream else []
            arrivals += [time.perf_counter() - started] * len(new)
            text += part["content"]
            tokens += part.get("tokens", [])
            last = part
        return Completion(
            text, tokens, last["stop_type"] != "limit", time.perf_counter() - started, arrivals, last["timings"]
        )

    def _post(self, data: str, *, stream: bool) -> Iterator[dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3600)
        try:
            connection.request("POST", "/completion", data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise RuntimeError(f"llama-server answered {response.status}: {response.read()[:500]!r}")
            if not stream:
                yield json.loads(response.read())
                return
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line[len(b"data: ") :])
        finally:
            connection.close()

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("GET", "/health")
                return connection.getresponse().status == http.HTTPStatus.OK
            finally:
                connection.close()
        return False


def bench(server: Path, model: Path, *, prompt: int, generate: int, threads: int) -> dict[str, float]:
    """Run llama-bench; returns tokens per second for `prompt` and `generate`."""
    command = [str(server.with_name(BENCH)), "-m", str(model), "-p", str(prompt), "-n", str(generate), "-t",
               str(threads), "-fa", "1", "-r", "1", "-o", "json"]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"prompt" if test["n_prompt"] else "generate": test["avg_ts"] for test in json.loads(done.stdout)}


def peak_memory(pid: int | str = "self") -> int:
    """Return a process's peak resident memory in bytes (Linux only)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) * 1024


if __name__ == "__main__":
    print(find_or_build())

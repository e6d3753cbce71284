"""llama-server and llama-bench of the llama.cpp that the pinned llama-cpp-python contains, and how to talk to them.

    python benchmarks/peer.py        find or build them, and print where they are

Looked for in this order: EDGEFC_LLAMA_SERVER (the path of a llama-server, llama-bench beside it), a build kept in
edgefc's cache folder, a fresh build there from llama-cpp-python's source release (about ten minutes on two cores). The
same source, compiler and flags as the library that edgefc computes with: what differs between the two is the program.
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

from edgefc import paths

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import bootstrap
from edgefc import hardware

SERVER, BENCH = "llama-server", "llama-bench"
# What is built is moved, so libraries are looked for beside the programs; a page for browsers would be downloaded.
OPTIONS = ("CMAKE_BUILD_TYPE=Release", "CMAKE_BUILD_RPATH_USE_ORIGIN=ON", "LLAMA_CURL=OFF", "LLAMA_OPENSSL=OFF",
           "LLAMA_BUILD_UI=OFF", "LLAMA_USE_PREBUILT_UI=OFF", "LLAMA_BUILD_TESTS=OFF",
           "LLAMA_BUILD_EXAMPLES=OFF")  # fmt: skip
START_S = 300


def find() -> Path | None:
    """The llama-server that is here already."""
    if given := os.environ.get("EDGEFC_LLAMA_SERVER"):
        if not Path(given).is_file():
            sys.exit(f"EDGEFC_LLAMA_SERVER is {given}, and there is no such file")
        return Path(given)
    kept = _folder() / "build" / "bin" / SERVER
    return kept if kept.is_file() else None


def find_or_build() -> Path:
    return find() or _build()


def _folder() -> Path:
    return paths.cache_dir() / f"peer-{importlib.metadata.version(bootstrap.LLAMA)}"


def _build() -> Path:
    """Kept where `find` looks, whole or not at all."""
    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as place:
        source = download(Path(place))
        configure(source, Path(place) / "build")
        cores = str(hardware.usable_cores())
        print(f"compiling {SERVER} and {BENCH}: about ten minutes on two cores", file=sys.stderr, flush=True)
        build = str(Path(place) / "build")
        _run(["cmake", "--build", build, "--config", "Release", "-j", cores, "--target", SERVER, BENCH])
        binaries = Path(place) / "done" / "build" / "bin"
        binaries.parent.mkdir(parents=True)
        shutil.copytree(Path(place) / "build" / "bin", binaries, symlinks=True)
        shutil.rmtree(folder, ignore_errors=True)
        binaries.parents[1].replace(folder)
    server = folder / "build" / "bin" / SERVER
    _run([str(server), "--version"])  # it starts where it is now
    return server


def download(place: Path) -> Path:
    """llama.cpp's source, from llama-cpp-python's. The folder that holds its CMakeLists.txt."""
    archive = source_package(place)
    with tarfile.open(archive) as packed:
        packed.extractall(place, filter="data")
    archive.unlink()
    return next(place.glob("*/vendor/llama.cpp/CMakeLists.txt")).parent


def source_package(place: Path) -> Path:
    """The archive of llama-cpp-python's source, whose hash is pinned, fetched into a folder."""
    requirement = bootstrap.split_lock(bootstrap.lock("run").read_text(encoding="utf-8"))[1]
    version = importlib.metadata.version(bootstrap.LLAMA)
    if f"=={version}" not in requirement:
        sys.exit(f"{bootstrap.LLAMA} {version} is installed, and requirements/run.txt pins another: run bootstrap.py")
    pinned = place / "requirement.txt"
    pinned.write_text(requirement, encoding="utf-8")
    # No wheel is wanted, nor what the source needs to become one.
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download", "--no-deps"]
    command += ["--no-binary", bootstrap.LLAMA, "--require-hashes", "-r", str(pinned), "-d", str(place)]
    _run(command)
    return next(place.glob("*.tar.gz"))


def configure(source: Path, build: Path) -> None:
    options = [f"-D{option}" for option in OPTIONS]
    if flags := bootstrap.compiler_flags():
        options += [f"-DCMAKE_C_FLAGS={flags}", f"-DCMAKE_CXX_FLAGS={flags}"]
    _run(["cmake", "-S", str(source), "-B", str(build), *options])


def _run(command: list[str]) -> None:
    """Quietly; the end of what it says is shown when it fails."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout[-4000:]}\n`{' '.join(command[:4])} …` failed; its last words are above")


@dataclass(frozen=True, slots=True)
class Completion:
    """What llama-server answered.

    seconds     from sending the request to its last byte
    arrivals    the same to each token, where they were streamed
    timings     its own: prompt_n, prompt_ms, predicted_n, predicted_ms
    """

    text: str
    tokens: list[int]
    stopped: bool
    seconds: float
    arrivals: list[float]
    timings: dict[str, float]

    @property
    def own_seconds(self) -> float:
        """Without HTTP, and without waiting for a slot."""
        return (self.timings["prompt_ms"] + self.timings["predicted_ms"]) / 1000


class Server:
    """A llama-server on a free port of this machine, running from `with` to its end. Any thread may ask it.

    n_ctx       context of each request; slots None: the server's own default, which is four that share the context
    load_s      seconds from its start until it was ready
    """

    def __init__(
        self, binary: Path, model: Path, *, n_ctx: int, threads: int, slots: int | None = 1, more: tuple[str, ...] = ()
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = [
            str(binary), "-m", str(model), "-t", str(threads), "-tb", str(threads), "-c", str(n_ctx * (slots or 4)),
            *(() if slots is None else ("-np", str(slots))), "--host", "127.0.0.1", "--port", str(self.port),
            # Prompts come as token ids; a model's own template, which is not used, can keep the server from starting.
            "--no-ui", "--no-jinja", "--chat-template", "chatml", *more,
        ]  # fmt: skip
        self.load_s = 0.0

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        started = time.perf_counter()
        # What is set for other llama.cpp programs must not change this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log, env=environment)
        try:
            while not self._is_ready():
                if self._process.poll() is not None or time.perf_counter() - started > START_S:
                    raise RuntimeError(f"llama-server did not start; its last words:\n{self.log()[-2000:]}")
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
        """The most bytes it had in memory at a time, files it has mapped included."""
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
        """Generate greedily. `trigger`: the grammar begins with this text, and until it comes all is allowed."""
        body: dict[str, Any] = {
            "prompt": prompt, "n_predict": max_tokens, "cache_prompt": True, "return_tokens": True, "stop": list(stop),
            # The leanest greedy chain there is; the default one sorts forty candidates first.
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
    """llama-bench's tokens a second: `prompt` and `generate`."""
    command = [str(server.with_name(BENCH)), "-m", str(model), "-p", str(prompt), "-n", str(generate), "-t",
               str(threads), "-fa", "1", "-r", "1", "-o", "json"]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"prompt" if test["n_prompt"] else "generate": test["avg_ts"] for test in json.loads(done.stdout)}


def peak_memory(pid: int | str = "self") -> int:
    """A process' peak of resident memory, in bytes (Linux only)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) * 1024


if __name__ == "__main__":
    print(find_or_build())

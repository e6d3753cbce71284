"""A child process for work that nothing inside Python can bound: it answers one request at a time, and can be killed.

Requests and answers are lines of JSON. The child has no more rights than it needs: no files to write, no more memory
and processor time than a request may take, none of the parent's environment but what Python needs to start.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

POLL_S = 0.02
WALL_FACTOR = 15  # on a busy machine a request may wait this many times as long as it may compute
MAX_ANSWER = 64 << 20  # bytes
_ENVIRONMENT = (
    "PATH",
    "LD_LIBRARY_PATH",
    "PYTHONHOME",
    "SYSTEMROOT",
    "VIRTUAL_ENV",
    "TMPDIR",
    "TEMP",
    "LANG",
    "LC_ALL",
)


class ChildError(Exception):
    """The child was killed, or died, while it answered; the reason in words."""


class ChildProcess:
    """A Python process that runs a module, started when it is first needed. Thread-safe.

    module   the module to run; it calls `serve`
    seconds  of processor time that a request may take
    memory   bytes that the process may take
    """

    def __init__(self, module: str, *, seconds: float, memory: int) -> None:
        self._module, self._seconds, self._memory = module, seconds, memory
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._parent = 0  # id of the process that started the child: a fork must not share its pipes
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        atexit.register(self.close)

    def ask(self, request: Any) -> Any:
        """Send a request and return its answer, both JSON values. Raises ChildError."""
        line = json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        with self._lock:
            process = self._running()
            try:
                return json.loads(self._exchange(process, line).decode("utf-8", "surrogatepass"))
            except BaseException:  # KeyboardInterrupt too: the next request must not get this one's answer
                self._stop()
                raise

    def close(self) -> None:
        """End the process; the next request starts another one."""
        with self._lock:
            self._stop()

    def kill(self) -> None:
        """End the process at once, from any thread: a request in work raises ChildError."""
        if (process := self._process) is not None:
            process.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the process, a new one if there is none."""
        if self._process is not None and self._parent == os.getpid() and self._process.poll() is None:
            return self._process
        self._stop()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # The package that is running here, from wherever it was imported; `-P`: never from the current folder.
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
        if not sys.executable:
            raise ChildError("no process can be started: the path of Python is unknown")
        command = [sys.executable, "-P", "-m", self._module, str(self._seconds), str(self._memory)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
        except OSError as error:
            raise ChildError(f"no process can be started: {error.strerror}") from None
        self._parent, self._answers = os.getpid(), queue.SimpleQueue()
        threading.Thread(target=_read_lines, args=(self._process, self._answers), daemon=True).start()
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], line: bytes) -> bytes:
        assert process.stdin is not None
        try:
            watched = psutil.Process(process.pid)
            cpu_before, started = _cpu_seconds(watched), time.monotonic()
            process.stdin.write(line)
            process.stdin.flush()
            while True:
                with contextlib.suppress(queue.Empty):
                    if answer := self._answers.get(timeout=POLL_S):
                        return answer
                    raise ChildError(_end_reason(process.wait()))
                if _cpu_seconds(watched) - cpu_before > self._seconds:
                    raise ChildError(f"takes longer than {self._seconds:g} s")
                if time.monotonic() - started > WALL_FACTOR * self._seconds:
                    raise ChildError(f"gives no answer within {WALL_FACTOR * self._seconds:g} s")
                if watched.memory_info().rss > self._memory:
                    raise ChildError(f"needs more than {self._memory >> 20} MiB of memory")
        except (OSError, psutil.Error):
            raise ChildError(_end_reason(process.wait())) from None

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or self._parent != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what could not be sent is of no use
                if pipe is not None:
                    pipe.close()


def serve(answer: Callable[[Any], Any]) -> None:
    """Answer requests until stdin ends (the child's side). `answer` raises MemoryError to end the process as well."""
    seconds, memory = float(sys.argv[1]), int(sys.argv[2])
    limit_cpu = _set_limits(memory)
    for line in sys.stdin.buffer:
        limit_cpu(seconds)
        written = json.dumps(answer(json.loads(line.decode("utf-8", "surrogatepass"))), ensure_ascii=False)
        del line
        sys.stdout.buffer.write(written.encode("utf-8", "surrogatepass") + b"\n")
        sys.stdout.buffer.flush()


def _set_limits(memory: int) -> Callable[[float], None]:
    """Limit this process, where that is possible; returns a function that grants processor time."""
    try:
        import resource
    except ImportError:
        return lambda _: None
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def grant(seconds: float) -> None:
        # In case that the parent is killed, and can no longer kill.
        until = int(time.process_time() + seconds) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))

    return grant


def _read_lines(process: subprocess.Popen[bytes], answers: queue.SimpleQueue[bytes]) -> None:
    """Pass on the lines that a process writes; an empty one at its end (the reader thread)."""
    assert process.stdout is not None
    with contextlib.suppress(OSError, ValueError):  # closed meanwhile
        while (line := process.stdout.readline(MAX_ANSWER)) and line.endswith(b"\n"):
            answers.put(line)
    answers.put(b"")


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _end_reason(status: int) -> str:
    return f"ended its process with signal {-status}" if status < 0 else "ended its process"

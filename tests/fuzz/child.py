"""The child process of the fuzzer: runs the cases of one target, one line of JSON each, and measures its memory."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import threading
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from edgefc.errors import EdgefcError
from tests.fuzz.targets import BrokenPromiseError, Target, create

ADDRESS_SPACE, FILE_SIZE = 6 << 30, 1 << 28
CASE_GROWTH = 200 << 20  # bytes that a case may take for a while


def main() -> None:
    name, model, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a library prints is no answer
    dump_on_signal()
    limit_process()
    set_folders(folder)
    background: list[str] = []
    catch_in_threads(background)
    target = create(name, model)
    target.start(folder)
    try:
        send(answers, {"ready": True})
        for line in sys.stdin:
            send(answers, run_case(target, json.loads(line), background))
    finally:
        target.close()


def send(stream: Any, answer: dict[str, Any]) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()


def run_case(target: Target, case: Any, background: list[str]) -> dict[str, Any]:
    """Run a case; the answer has its `outcome` in a word, and `kind` and `message` if it is a finding."""
    processes = [os.getpid(), *target.processes()]
    before = resident(processes)
    reset_peaks(processes)
    answer: dict[str, Any] = {}
    try:
        answer["outcome"] = target.run(case)
    except (EdgefcError, *target.allowed) as error:
        answer["outcome"] = type(error).__name__
    except BrokenPromiseError as error:
        answer = {"outcome": "broken promise", "kind": "promise", "message": str(error)}
    except BaseException as error:  # SystemExit too: a library must not end the process
        answer = untyped(error)
    if background:
        answer = {"outcome": "untyped", "kind": "untyped", "message": "in a thread: " + background.pop()}
        background.clear()
    growth = peak(processes) - before
    if growth > CASE_GROWTH and "kind" not in answer:
        answer |= {"outcome": "growth", "kind": "growth", "message": f"{growth >> 20} MiB more at its peak"}
    return {**answer, "resident": resident(processes)}


def untyped(error: BaseException) -> dict[str, Any]:
    lines = traceback.format_exception(error)
    text = "".join([*lines[:40], *lines[-20:]] if len(lines) > 60 else lines)
    return {"outcome": "untyped", "kind": "untyped", "message": text[-6000:]}


# -- the process --------------------------------------------------------------------------------------------------


def dump_on_signal() -> None:
    """Write the stacks of all threads to stderr when the process crashes, or the parent asks for them."""
    faulthandler.enable()
    if hasattr(faulthandler, "register"):
        import signal

        faulthandler.register(signal.SIGUSR1)


def limit_process() -> None:
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def set_folders(folder: Path) -> None:
    """Give the process folders of its own, and no network."""
    for name in ("cache", "config", "models", "home"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[f"EDGEFC_{name.upper()}_DIR"] = str(folder / name)
    os.environ |= {"HOME": str(folder / "home"), "EDGEFC_OFFLINE": "1"}


def catch_in_threads(found: list[str]) -> None:
    """Collect exceptions that end a thread, or are lost in a destructor."""

    def in_thread(hook: threading.ExceptHookArgs) -> None:
        if hook.exc_value is not None:
            found.append(untyped(hook.exc_value)["message"])

    def in_destructor(hook: Any) -> None:
        if hook.exc_value is not None:
            found.append(untyped(hook.exc_value)["message"])

    threading.excepthook = in_thread
    sys.unraisablehook = in_destructor


def resident(processes: Iterable[int]) -> int:
    total = 0
    for process in processes:
        try:
            total += psutil.Process(process).memory_info().rss
        except psutil.Error:
            continue
    return total


def reset_peaks(processes: Iterable[int]) -> None:
    """Begin to measure the peaks anew (Linux)."""
    for process in processes:
        try:
            Path(f"/proc/{process}/clear_refs").write_text("5")
        except OSError:
            continue


def peak(processes: Iterable[int]) -> int:
    """Return the most memory that each process had since `reset_peaks`; elsewhere than on Linux, what it has now."""
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) << 10
        except (OSError, StopIteration):
            total += resident([process])
    return total


if __name__ == "__main__":
    main()

"""The machine's processors and memory, and the defaults that follow from them."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path


def usable_cores() -> int:
    """Count the processors this process may use, respecting affinity and container limits."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def processor() -> str:
    """Return the processor's name, as far as it is available without running another program."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Hardware", "CPU part")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def default_threads() -> int:
    """Return one thread per physical core: decoding is bound by memory, so hyper-threads only get in the way.

    With two processors or fewer, all are used: there the second hides the memory latency of the first.
    """
    import psutil

    physical = psutil.cpu_count(logical=False) or 1
    return max(min(physical, usable_cores()), min(2, usable_cores()))


def free_memory() -> int:
    """Return the bytes of memory available without swapping."""
    import psutil

    free: int = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):
        folder = Path("/sys/fs/cgroup")
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            used = int((folder / "memory.current").read_text(encoding="ascii"))
            lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
            # Cached pages of files, such as a model just fetched, count as used but are freed on demand.
            cached = sum(int(line.split()[1]) for line in lines if line.startswith(("active_file ", "inactive_file ")))
            free = min(free, int(limit) - used + cached)
    return free


def cpu_has_amx() -> bool:
    """Return True if the processor has AMX tiles (Linux on x86 only; elsewhere no build uses them)."""
    if platform.machine() not in {"x86_64", "AMD64"}:
        return False
    try:
        return "amx_tile" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


COMFORTABLE = 0.75  # share of the free memory that one program should use


@dataclass(frozen=True, slots=True)
class Machine:
    """Resources for computing; memory in bytes."""

    cores: int
    memory: int
    gpu: str
    gpu_memory: int

    @property
    def room(self) -> int:
        """Bytes that a model may use: of the GPU, if more fits there."""
        return max(int(self.memory * COMFORTABLE), self.gpu_memory)

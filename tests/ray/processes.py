"""Processes of Ray, and that none is left."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'edgefc[ray]'")


@contextmanager
def nothing_left(pid: int) -> Iterator[None]:
    """Check at the end that all that the process started by then is gone, too."""
    main = psutil.Process(pid)
    started: list[psutil.Process] = []
    try:
        yield
        started = main.children(recursive=True)
        assert started
    finally:
        main.terminate()
        psutil.wait_procs([main], 60)
        _, left = psutil.wait_procs(started, 20)
        for process in left:
            process.kill()
    assert not left


def replicas_of(pid: int) -> list[psutil.Process]:
    """Return the processes of replicas that a process, or one that it started, has."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if "ServeReplica" in title and ":edgefc" in title.rpartition("ServeReplica")[2]:
            found.append(process)
    return found


def wait_for_replicas(pid: int, count: int) -> list[psutil.Process]:
    for _ in range(1200):
        if len(found := replicas_of(pid)) >= count:
            return found
        time.sleep(0.05)
    pytest.fail(f"there are not {count} replicas")

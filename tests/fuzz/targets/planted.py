"""Faults of each kind, to test the fuzzer with."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from edgefc.errors import StoreError
from tests.fuzz.targets import BaseTarget, BrokenPromiseError, Case

KINDS = ("sound", "typed", "untyped", "thread", "crash", "exit", "hang", "growth", "promise")


class Planted(BaseTarget):
    seconds = 3.0

    def make(self, rng: Random, seeds: Sequence[Case]) -> Case:
        return rng.choice(KINDS)

    def start(self, folder: Path) -> None:
        return

    def run(self, case: Case) -> str:
        memory: list[Any] = []
        match case:
            case "typed":
                raise StoreError("planted")
            case "untyped":
                raise KeyError("planted")
            case "thread":
                thread = threading.Thread(target=lambda: 1 // 0)
                thread.start()
                thread.join()
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "exit":
                os._exit(0)
            case "hang":
                while True:
                    time.sleep(0)
            case "growth":
                memory.append(bytearray(300 << 20))
            case "promise":
                raise BrokenPromiseError("planted")
        return "sound"


TARGET = Planted

"""Compute devices that llama.cpp can use, and the machine they are part of."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from edgefc import hardware
from edgefc.engine import llama
from edgefc.hardware import Machine


class Device(NamedTuple):
    """What llama.cpp can compute on; memory in bytes, 0 where it does not say."""

    name: str
    description: str
    is_gpu: bool
    free: int
    total: int


def devices() -> list[Device]:
    """llama.cpp's own list, from ggml's C interface, which is not bound elsewhere. Empty where it is not exported."""
    llama.initialise()
    lib = ctypes.CDLL(llama.api._lib._name)  # noqa: SLF001
    try:
        count, get, kind = lib.ggml_backend_dev_count, lib.ggml_backend_dev_get, lib.ggml_backend_dev_type
    except AttributeError:  # Windows looks into one library alone
        return []
    count.restype, get.restype, get.argtypes = ctypes.c_size_t, ctypes.c_void_p, [ctypes.c_size_t]
    kind.argtypes, kind.restype = [ctypes.c_void_p], ctypes.c_int
    texts = (lib.ggml_backend_dev_name, lib.ggml_backend_dev_description)
    for text in texts:
        text.argtypes, text.restype = [ctypes.c_void_p], ctypes.c_char_p
    size = ctypes.POINTER(ctypes.c_size_t)
    memory = lib.ggml_backend_dev_memory
    memory.argtypes, memory.restype = [ctypes.c_void_p, size, size], None
    found: list[Device] = []
    for number in range(count()):
        device = get(number)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        memory(device, ctypes.byref(free), ctypes.byref(total))
        name, description = ((text(device) or b"").decode("utf-8", "replace") for text in texts)
        # ggml_backend_dev_type: 0 is the processor, 1 a GPU, 2 one that shares its memory, then accelerators.
        found.append(Device(name, description, kind(device) in {1, 2}, free.value, total.value))
    return found


def machine() -> Machine:
    """What this machine has, as llama.cpp and the operating system tell it."""
    gpus = [device for device in devices() if device.is_gpu]
    best = max(gpus, key=lambda device: device.free, default=None)
    return Machine(
        hardware.usable_cores(),
        hardware.free_memory(),
        best.description if best else "",
        best.free if best else 0,
    )

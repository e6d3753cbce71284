"""Compute devices that llama.cpp can use, and the machine as a whole."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from edgefc import hardware
from edgefc.engine import llama
from edgefc.hardware import Machine

# ggml_backend_dev_type: 0 is the processor, 1 a GPU, 2 a GPU that shares its memory; accelerators follow.
GPU_TYPES = {1, 2}


class Device(NamedTuple):
    """A device llama.cpp can compute on; memory in bytes, 0 where it is not reported."""

    name: str
    description: str
    is_gpu: bool
    free: int
    total: int


def devices() -> list[Device]:
    """List llama.cpp's devices through ggml's C interface, which llama_cpp does not bind. Empty without exports."""
    llama.initialise()
    lib = ctypes.CDLL(llama.api._lib._name)  # noqa: SLF001
    try:
        count, get, get_type = lib.ggml_backend_dev_count, lib.ggml_backend_dev_get, lib.ggml_backend_dev_type
    except AttributeError:  # Windows searches one library only
        return []
    count.restype, get.restype, get.argtypes = ctypes.c_size_t, ctypes.c_void_p, [ctypes.c_size_t]
    get_type.argtypes, get_type.restype = [ctypes.c_void_p], ctypes.c_int
    text_getters = (lib.ggml_backend_dev_name, lib.ggml_backend_dev_description)
    for get_text in text_getters:
        get_text.argtypes, get_text.restype = [ctypes.c_void_p], ctypes.c_char_p
    size_pointer = ctypes.POINTER(ctypes.c_size_t)
    get_memory = lib.ggml_backend_dev_memory
    get_memory.argtypes, get_memory.restype = [ctypes.c_void_p, size_pointer, size_pointer], None
    result: list[Device] = []
    for number in range(count()):
        device = get(number)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        get_memory(device, ctypes.byref(free), ctypes.byref(total))
        name, description = ((get_text(device) or b"").decode("utf-8", "replace") for get_text in text_getters)
        result.append(Device(name, description, get_type(device) in GPU_TYPES, free.value, total.value))
    return result


def machine() -> Machine:
    """Describe this machine as llama.cpp and the operating system report it."""
    gpus = [device for device in devices() if device.is_gpu]
    best = max(gpus, key=lambda device: device.free, default=None)
    return Machine(
        hardware.usable_cores(),
        hardware.free_memory(),
        best.description if best else "",
        best.free if best else 0,
    )

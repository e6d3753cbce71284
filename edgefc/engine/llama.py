"""The edge to llama.cpp: with `stock`, the only module that imports llama_cpp.

llama.cpp ends the process where a library would raise: on a token id out of range, a sequence id above the limit,
a NULL pointer. Every call here is checked before it is made.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from edgefc.errors import EdgefcError, ModelLoadError

# On an abort ggml would fork a debugger to print a trace.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")
# How long libgomp's threads spin before they sleep: by default so long that another busy program slows decoding many
# times over. docs/decisions.md
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
import llama_cpp

api = llama_cpp.llama_cpp  # the C interface, also for `context`
log = logging.getLogger("edgefc.llama")
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR, 5: logging.DEBUG}
VERSION: str = llama_cpp.__version__


@api.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _: Any) -> None:
    line = text.decode("utf-8", "replace").rstrip()
    if line and line != ".":
        _recent.append(line)
        del _recent[:-8]
        if aborting:  # what llama.cpp then calls errors is what was asked for
            level = 1
        log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


aborting: list[bool] = []  # not empty while a batch is made to end early
_recent: list[str] = []


def forget_words() -> None:
    """Before a call of which `last_words` are to tell."""
    _recent.clear()


def last_words() -> str:
    """What llama.cpp said last, for error messages."""
    return " / ".join(_recent[-3:]) or "no reason given"


def _start() -> None:
    """Before each model, for others may have set a log of theirs; not on import, so that theirs is kept until then."""
    api.llama_log_set(_log, ctypes.c_void_p(0))
    _initialise()


@functools.cache
def _initialise() -> None:
    api.llama_backend_init()


def system_info() -> str:
    """Which instruction sets this build of llama.cpp uses."""
    _start()
    return str(api.llama_print_system_info().decode())


def library_path() -> Path:
    """The folder of the compiled llama.cpp."""
    return Path(llama_cpp.__file__).parent / "lib"


def supports_gpu() -> bool:
    _start()
    return bool(api.llama_supports_gpu_offload())


class Device(NamedTuple):
    """What llama.cpp can compute on; memory in bytes, 0 where it does not say."""

    name: str
    description: str
    is_gpu: bool
    free: int
    total: int


def devices() -> list[Device]:
    """llama.cpp's own list, from ggml's C interface, which is not bound elsewhere. Empty where it is not exported."""
    _start()
    lib = ctypes.CDLL(api._lib._name)  # noqa: SLF001
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


class Vocabulary:
    """Token ids and their bytes."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.size = int(api.llama_vocab_n_tokens(handle))
        self.bos = int(api.llama_vocab_bos(handle))
        self.eos = int(api.llama_vocab_eos(handle))
        self.add_bos = bool(api.llama_vocab_get_add_bos(handle))

    def piece(self, token: int, *, special: bool = True) -> bytes:
        """A token's bytes; a control token's text only with `special`."""
        if not 0 <= token < self.size:
            raise IndexError(f"token {token} is not in the vocabulary of {self.size}")
        # A buffer for each call: several threads read the vocabulary at the same time.
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            size = api.llama_token_to_piece(self.handle, token, buffer, room, 0, special)
            if size >= 0:
                return buffer.raw[:size]
            room = -size

    def is_eog(self, token: int) -> bool:
        return 0 <= token < self.size and bool(api.llama_vocab_is_eog(self.handle, token))

    def attributes(self, token: int) -> int:
        return int(api.llama_vocab_get_attr(self.handle, token))

    def is_control(self, token: int) -> bool:
        return bool(self.attributes(token) & api.LLAMA_TOKEN_ATTR_CONTROL)

    def is_special(self, token: int) -> bool:
        """Whether the token's text, found in a prompt, is this token at once and not cut further."""
        marks = api.LLAMA_TOKEN_ATTR_CONTROL | api.LLAMA_TOKEN_ATTR_USER_DEFINED | api.LLAMA_TOKEN_ATTR_UNKNOWN
        return bool(self.attributes(token) & marks)

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        data = text.encode()
        room = len(data) + 16
        tokens = (api.llama_token * room)()
        count = api.llama_tokenize(self.handle, data, len(data), tokens, room, False, parse_special)
        if count < 0:
            raise EdgefcError(f"llama.cpp could not tokenize a text of {len(data)} bytes")
        return list(tokens[:count])

    @property
    def tokenize_address(self) -> int | None:
        """Where llama_tokenize lies in memory, for libraries that call it themselves."""
        return ctypes.cast(api._lib.llama_tokenize, ctypes.c_void_p).value  # noqa: SLF001


class Model:
    """Weights in memory; with `vocab_only` just the vocabulary."""

    def __init__(
        self,
        path: Path,
        *,
        n_gpu_layers: int,
        use_extra_bufts: bool = True,
        vocab_only: bool = False,
        progress: Callable[[float], bool] | None = None,
    ) -> None:
        params = api.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        params.use_extra_bufts = use_extra_bufts
        params.vocab_only = vocab_only
        if progress is not None:
            report = progress

            @api.llama_progress_callback  # type: ignore[untyped-decorator]
            def told(share: float, _: Any) -> bool:
                return bool(report(share))

            params.progress_callback = told
        _start()
        forget_words()
        self.handle = api.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:
            raise ModelLoadError(f"llama.cpp could not load {path}: {last_words()}")
        self.vocabulary = Vocabulary(api.llama_model_get_vocab(self.handle))

    def close(self) -> None:
        handle, self.handle = self.handle, None
        if handle:
            api.llama_model_free(handle)

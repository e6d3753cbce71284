"""Interface to llama.cpp: with `stock_llama`, the only module that imports llama_cpp.

llama.cpp ends the process where a library would raise an error: on a token id out of range, a sequence id above the
limit, a NULL pointer. So every call is checked before it is made.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgefc.engine.handles import LOADS, Handle
from edgefc.errors import EdgefcError, MissingPackageError, ModelLoadError

# ggml would fork a debugger to print a backtrace when it aborts.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")
# Iterations that libgomp's threads spin before they sleep. The default is so long that another busy program slows
# decoding many times over: docs/decisions.md.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
try:
    import llama_cpp
except ImportError as error:
    raise MissingPackageError(
        f"llama-cpp-python, which computes models on this machine, cannot be imported: {error}",
        'Install it, `pip install llama-cpp-python==0.3.36`, or let a server compute: engine="llama-server=URL".',
    ) from error

api = llama_cpp.llama_cpp  # the C interface, which `context` and `devices` use too
log = logging.getLogger("edgefc.llama")
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR, 5: logging.DEBUG}
VERSION: str = llama_cpp.__version__

aborting = threading.Event()  # set while a batch is being aborted
_log_tail: deque[str] = deque(maxlen=8)
_log_lock = threading.Lock()
_muted_loads: set[int] = set()  # threads that load a model while the log is muted


@api.llama_log_callback  # type: ignore[untyped-decorator]
def _on_log(level: int, text: bytes, _: Any) -> None:
    line = text.decode("utf-8", "replace").rstrip()
    if line and line != ".":
        _log_tail.append(line)
        # llama.cpp reports an abort as an error, but we requested it.
        log_level = logging.DEBUG if aborting.is_set() else _LEVELS.get(level, logging.DEBUG)
        log.log(log_level, "%s", line)


def clear_log_tail() -> None:
    """Forget earlier log lines, so that `log_tail` shows those of the next call."""
    _log_tail.clear()


def log_tail() -> str:
    """The last lines llama.cpp logged, for error messages."""
    return " / ".join(list(_log_tail)[-3:]) or "no reason given"


def initialise() -> None:
    """Set up llama.cpp and its log; call it before each model, as other code may have set a log of its own.

    Not done on import, so that such a log stays in use until then.
    """
    with _log_lock:
        if not _muted_loads:
            _unmute()
    _init_backend()


def _unmute() -> None:
    """Send llama.cpp's log to `_on_log`."""
    api.llama_log_set(_on_log, ctypes.c_void_p(0))


def _mute() -> None:
    """Send llama.cpp's log to a C function that ignores it: libc's abs."""
    api.llama_log_set(ctypes.cast(ctypes.CDLL(None).abs, api.llama_log_callback), ctypes.c_void_p(0))


@contextlib.contextmanager
def _muted_log() -> Iterator[None]:
    """Send llama.cpp's log to a C function that ignores it, unless debug messages are enabled.

    Loading a model logs hundreds of lines. A Python callback waits for the GIL at each, and the thread that builds the
    grammar's vocabulary holds it for long: loading took three times as long.
    """
    if log.isEnabledFor(logging.DEBUG) or os.name != "posix":
        yield
        return
    thread = threading.get_ident()
    with _log_lock:
        _muted_loads.add(thread)
        _mute()
    try:
        yield
    finally:
        with _log_lock:
            _muted_loads.discard(thread)
            if not _muted_loads:
                _unmute()


@functools.cache
def _init_backend() -> None:
    api.llama_backend_init()
    if os.name == "posix":
        atexit.register(_mute)  # a log in Python would be called after the interpreter has ended


def system_info() -> str:
    """Instruction sets that this build of llama.cpp uses."""
    initialise()
    return str(api.llama_print_system_info().decode())


def lacks_avx512() -> bool:
    """Return True if the build's widest vectors are those of AVX2."""
    return "AVX2 = 1" in system_info() and "AVX512 = 1" not in system_info()


def _quick(function: Any) -> Any:
    """Return a function of llama.cpp's that keeps the interpreter's lock: to release it takes longer than the call.

    A thread that calls it for a whole vocabulary would otherwise make every other one wait at each of its own calls.
    """
    keeping = ctypes.PyDLL(None, handle=api._lib._handle)[function.__name__]  # noqa: SLF001
    keeping.argtypes, keeping.restype = function.argtypes, function.restype
    return keeping


def library_path() -> Path:
    """Folder of the compiled llama.cpp."""
    return Path(llama_cpp.__file__).parent / "lib"


def supports_gpu() -> bool:
    initialise()
    return bool(api.llama_supports_gpu_offload())


class Vocabulary:
    """Token ids and their bytes. Properties of all tokens take a moment to compute the first time.

    handle   the owner of the model, or of whatever else the vocabulary is a part of
    pointer  the vocabulary itself, to be used only while `handle` is leased

    Raises EngineClosedError after the owner was closed.
    """

    def __init__(self, handle: Handle, pointer: Any) -> None:
        self.handle, self.pointer = handle, pointer
        with handle:
            self.size = int(api.llama_vocab_n_tokens(pointer))
            self.bos = int(api.llama_vocab_bos(pointer))
            self.eos = int(api.llama_vocab_eos(pointer))
            self.add_bos = bool(api.llama_vocab_get_add_bos(pointer))

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token. Raises IndexError."""
        self.handle.check()
        if not 0 <= token < self.size:
            raise IndexError(f"token {token} is not in the vocabulary of {self.size}")
        return self.pieces[token]

    @functools.cached_property
    def pieces(self) -> list[bytes]:
        """Bytes of every token, control tokens included: 0.1 s for 150,000 tokens."""
        read, pointer, room = _quick(api.llama_token_to_piece), self.pointer, 128
        buffer = ctypes.create_string_buffer(room)
        pieces: list[bytes] = []
        with self.handle:
            for token in range(self.size):
                size = read(pointer, token, buffer, room, 0, True)
                if size < 0:
                    room = -size
                    buffer = ctypes.create_string_buffer(room)
                    size = read(pointer, token, buffer, room, 0, True)
                pieces.append(buffer.raw[:size])
        return pieces

    @property
    def facts(self) -> tuple[list[bytes], list[int], frozenset[int]]:
        """The pieces, the attributes as llama.cpp numbers them, and the tokens that end an answer."""
        return self.pieces, self._attributes, self.eog

    @facts.setter
    def facts(self, facts: tuple[list[bytes], list[int], frozenset[int]]) -> None:
        self.pieces, self._attributes, self.eog = facts

    @functools.cached_property
    def eog(self) -> frozenset[int]:
        """Tokens that end an answer."""
        is_eog, pointer = _quick(api.llama_vocab_is_eog), self.pointer
        with self.handle:
            return frozenset(token for token in range(self.size) if is_eog(pointer, token))

    @functools.cached_property
    def _attributes(self) -> list[int]:
        get_attr, pointer = _quick(api.llama_vocab_get_attr), self.pointer
        with self.handle:
            return [get_attr(pointer, token) for token in range(self.size)]

    @functools.cached_property
    def control(self) -> frozenset[int]:
        """Control tokens: those that are not text."""
        return self._with_attributes(api.LLAMA_TOKEN_ATTR_CONTROL)

    @functools.cached_property
    def special(self) -> frozenset[int]:
        """Tokens whose text in a prompt always becomes this one token."""
        return self._with_attributes(
            api.LLAMA_TOKEN_ATTR_CONTROL | api.LLAMA_TOKEN_ATTR_USER_DEFINED | api.LLAMA_TOKEN_ATTR_UNKNOWN
        )

    def _with_attributes(self, mask: int) -> frozenset[int]:
        return frozenset(token for token, attributes in enumerate(self._attributes) if attributes & mask)

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        data = text.encode()
        room = len(data) + 16
        tokens = (api.llama_token * room)()
        with self.handle:
            count = api.llama_tokenize(self.pointer, data, len(data), tokens, room, False, parse_special)
        if count < 0:
            raise EdgefcError(f"llama.cpp could not tokenize a text of {len(data)} bytes")
        return list(tokens[:count])

    @property
    def tokenize_address(self) -> int | None:
        """Memory address of llama_tokenize, for libraries that call it themselves."""
        return ctypes.cast(api._lib.llama_tokenize, ctypes.c_void_p).value  # noqa: SLF001


class Model:
    """Weights in memory; with `vocab_only` just the vocabulary. `handle` owns them."""

    def __init__(
        self,
        path: Path,
        *,
        n_gpu_layers: int,
        use_extra_bufts: bool = True,
        vocab_only: bool = False,
        progress: Callable[[float], bool] | None = None,
    ) -> None:
        """Raises ModelLoadError. `progress` receives the share that is loaded; False cancels."""
        params = api.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        params.use_extra_bufts = use_extra_bufts
        params.vocab_only = vocab_only
        if progress is not None:
            report = progress

            @api.llama_progress_callback  # type: ignore[untyped-decorator]
            def on_progress(share: float, _: Any) -> bool:
                return bool(report(share))

            params.progress_callback = on_progress
        with LOADS:
            initialise()
            with _muted_log():
                pointer = api.llama_model_load_from_file(str(path).encode(), params)
            if not pointer:  # load again for the reason, with the log on, whatever other threads load
                with _log_lock:
                    _unmute()
                    clear_log_tail()
                    pointer = api.llama_model_load_from_file(str(path).encode(), params)
                    if not pointer:
                        raise ModelLoadError(f"llama.cpp could not load {path}: {log_tail()}")
            self.handle = Handle(pointer, api.llama_model_free)
            self.vocabulary = Vocabulary(self.handle, api.llama_model_get_vocab(pointer))

    def close(self) -> None:
        """Free the weights and all contexts, once no thread uses them."""
        self.handle.close()

"""The edge to llama.cpp: with `stock`, the only module that imports llama_cpp.

llama.cpp ends the process where a library would raise: on a token id out of range, a sequence id above the limit,
a NULL pointer. Every call here is checked before it is made.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


_lock = threading.Lock()
_unheard: list[bool] = []  # loads of which nothing is heard, by several threads


def initialise() -> None:
    """Before each model, for others may have set a log of theirs; not on import, so that theirs is kept until then."""
    with _lock:
        if not _unheard:
            api.llama_log_set(_log, ctypes.c_void_p(0))
    _backend_init()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What llama.cpp says goes to a C function that does nothing, unless all of it is wanted.

    Loading a model it says hundreds of lines. At each a callback of ours would wait for the GIL, which the making of a
    grammar's vocabulary beside it holds for long: loading took three times as long.
    """
    if log.isEnabledFor(logging.DEBUG) or os.name != "posix":
        yield
        return
    with _lock:
        _unheard.append(True)
        api.llama_log_set(ctypes.cast(ctypes.CDLL(None).abs, api.llama_log_callback), ctypes.c_void_p(0))
    try:
        yield
    finally:
        with _lock:
            _unheard.pop()
            if not _unheard:
                api.llama_log_set(_log, ctypes.c_void_p(0))


@functools.cache
def _backend_init() -> None:
    api.llama_backend_init()


def system_info() -> str:
    """Which instruction sets this build of llama.cpp uses."""
    initialise()
    return str(api.llama_print_system_info().decode())


def library_path() -> Path:
    """The folder of the compiled llama.cpp."""
    return Path(llama_cpp.__file__).parent / "lib"


def supports_gpu() -> bool:
    initialise()
    return bool(api.llama_supports_gpu_offload())


class Vocabulary:
    """Token ids and their bytes. What is said of all tokens takes a moment the first time."""

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

    @functools.cached_property
    def pieces(self) -> list[bytes]:
        """Each token's bytes, with control tokens' text: for 150,000 tokens 0.2 s."""
        return [self.piece(token) for token in range(self.size)]

    @functools.cached_property
    def eog(self) -> frozenset[int]:
        """Tokens that end an answer."""
        is_eog, handle = api.llama_vocab_is_eog, self.handle
        return frozenset(token for token in range(self.size) if is_eog(handle, token))

    @functools.cached_property
    def _attributes(self) -> list[int]:
        get_attr, handle = api.llama_vocab_get_attr, self.handle
        return [get_attr(handle, token) for token in range(self.size)]

    @functools.cached_property
    def control(self) -> frozenset[int]:
        """Tokens that are not text."""
        return self._marked(api.LLAMA_TOKEN_ATTR_CONTROL)

    @functools.cached_property
    def special(self) -> frozenset[int]:
        """Tokens whose text, found in a prompt, is this token at once and not cut further."""
        return self._marked(
            api.LLAMA_TOKEN_ATTR_CONTROL | api.LLAMA_TOKEN_ATTR_USER_DEFINED | api.LLAMA_TOKEN_ATTR_UNKNOWN
        )

    def _marked(self, marks: int) -> frozenset[int]:
        return frozenset(token for token, attributes in enumerate(self._attributes) if attributes & marks)

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
        initialise()
        forget_words()
        with _quiet():
            self.handle = api.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:  # once more, to hear why
            self.handle = api.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:
            raise ModelLoadError(f"llama.cpp could not load {path}: {last_words()}")
        self.vocabulary = Vocabulary(api.llama_model_get_vocab(self.handle))

    def close(self) -> None:
        handle, self.handle = self.handle, None
        if handle:
            api.llama_model_free(handle)

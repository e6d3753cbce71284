"""The edge to llama.cpp: with `stock`, the only module that imports llama_cpp.

llama.cpp ends the process where a library would raise: on a token id out of range, a sequence id above the limit,
a NULL pointer. Every call here is checked before it is made.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgefc import memory
from edgefc.errors import EdgefcError, ModelLoadError

# On an abort ggml would fork a debugger to print a trace.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")
# How long libgomp's threads spin before they sleep: by default so long that another busy program slows decoding many
# times over. docs/decisions.md
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
import llama_cpp
from llama_cpp import llama_cpp as api

log = logging.getLogger("edgefc.llama")
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR, 5: logging.DEBUG}
VERSION: str = llama_cpp.__version__


@api.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _: Any) -> None:
    line = text.decode("utf-8", "replace").rstrip()
    if line and line != ".":
        _recent.append(line)
        del _recent[:-8]
        if _aborting:  # what llama.cpp then calls errors is what was asked for
            level = 1
        log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


_aborting: list[bool] = []
_recent: list[str] = []  # llama.cpp's last words, for error messages


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
        _recent.clear()
        self.handle = api.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:
            raise ModelLoadError(f"llama.cpp could not load {path}: {' / '.join(_recent[-3:]) or 'no reason given'}")
        self.vocabulary = Vocabulary(api.llama_model_get_vocab(self.handle))

    def close(self) -> None:
        handle, self.handle = self.handle, None
        if handle:
            api.llama_model_free(handle)


class Rows(NamedTuple):
    """Tokens of one sequence for a batch. `wanted`: of how many of them, from the last on, the logits are."""

    sequence: int
    position: int
    tokens: Sequence[int]
    wanted: int


class Context:
    """A context: KV cache, batch and logits. To be used from one thread, except for `abort`.

    Every sequence has `n_ctx` KV cells of its own, in the order of its tokens: what attention adds up, and in which
    order, depends on the sequence alone.
    """

    def __init__(
        self,
        model: Model,
        *,
        n_ctx: int,
        n_batch: int,
        n_seq_max: int,
        n_threads: int,
        n_threads_batch: int,
    ) -> None:
        params = api.llama_context_default_params()
        params.n_ctx = n_seq_max * memory.kv_cells(n_ctx)
        self.n_batch = max(n_batch, n_seq_max)
        params.n_batch = params.n_ubatch = self.n_batch
        # Logits of a whole batch would take 300 MB for 512 rows of a vocabulary of 152,000.
        self.n_outputs = params.n_outputs_max = min(self.n_batch, memory.outputs(n_seq_max))
        params.n_seq_max = n_seq_max
        params.n_threads, params.n_threads_batch = n_threads, n_threads_batch
        self.set_threads(n_threads, n_threads_batch)
        params.kv_unified = False
        params.no_perf = True
        _recent.clear()
        self.handle = api.llama_init_from_model(model.handle, params)
        if not self.handle:
            reason = " / ".join(_recent[-3:]) or "no reason given"
            raise ModelLoadError(
                f"llama.cpp could not make a context of {n_ctx} tokens: {reason}", "Try a smaller n_ctx."
            )
        self.n_vocab = model.vocabulary.size
        self.n_seq_max, self.n_ctx = n_seq_max, n_ctx
        # Recurrent memory cannot be cut: no padding, no drafts, no part of a prefix.
        self.cuts = not (api.llama_model_is_recurrent(model.handle) or api.llama_model_is_hybrid(model.handle))
        # With one KV cache, what is saved of a sequence is put into a form that does not depend on their number.
        plain = self.cuts and api.llama_model_n_swa(model.handle) == 0
        self.streams = 1 if plain else n_seq_max
        self._outputs: list[range] = []
        self._row_type = ctypes.c_float * self.n_vocab
        self._memory = api.llama_get_memory(self.handle)
        # The batch llama.cpp reads is these arrays.
        size = self.n_batch
        self._tokens = np.zeros(size, dtype=np.int32)
        self._positions = np.zeros(size, dtype=np.int32)
        self._sequences = np.zeros(size, dtype=np.int32)
        self._wanted = np.zeros(size, dtype=np.int8)
        self._ones = np.ones(size, dtype=np.int32)
        integers = ctypes.POINTER(ctypes.c_int32)
        pointers = [ctypes.cast(self._sequences.ctypes.data + 4 * i, integers) for i in range(size)]
        self._batch = api.llama_batch(
            token=self._tokens.ctypes.data_as(integers),
            pos=self._positions.ctypes.data_as(integers),
            n_seq_id=self._ones.ctypes.data_as(integers),
            seq_id=(integers * size)(*pointers),
            logits=self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )
        # The abort callback is libc's strlen: a C function, so that checking it needs no GIL. A non-empty string
        # means "stop".
        self._flag = ctypes.create_string_buffer(2)
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, api.ggml_abort_callback) if os.name == "posix" else None
        if strlen is not None:
            api.llama_set_abort_callback(self.handle, strlen, ctypes.cast(self._flag, ctypes.c_void_p))

    def abort(self) -> None:
        """Make the decode that is running, or the next one, end early. Any thread may call it."""
        self._flag[0] = b"\x01"
        _aborting.append(True)

    def set_threads(self, n_threads: int, n_threads_batch: int) -> None:
        """Threads for decoding and for prefill."""
        self._threads = n_threads, n_threads_batch
        self._current = 0

    def decode(self, parts: Sequence[Rows], least: int = 2, *, prefill: bool = False) -> int:
        """Compute one batch, with at least so many rows of each sequence.

        llama.cpp computes it in one pass only when its sequences are neighbours and have equally many rows: the rest
        is padded with rows whose results are dropped, which `rows_computed` counts. A single row is padded as well,
        since it takes another path through ggml's attention, with other rounding.

        Returns llama_decode's status: 0 done, 1 no room in the KV cache, 2 aborted, negative: failed.
        """
        by_sequence = {part.sequence: (number, part) for number, part in enumerate(parts)}
        assert 0 < len(by_sequence) == len(parts)
        assert 0 <= sum(part.wanted for part in parts) <= self.n_outputs
        height = max(len(part.tokens) for part in parts)
        span: Iterable[int] = sorted(by_sequence)
        if self.cuts:
            span = range(min(by_sequence), max(by_sequence) + 1)
            height = max(height, least if len(span) == 1 else 1)
        self._outputs = [range(0)] * len(parts)
        count, padded = 0, []
        for sequence in span:
            number, part = by_sequence.get(sequence, (-1, None))
            position, tokens = (self._length(sequence), ()) if part is None else (part.position, part.tokens)
            end = position + len(tokens)
            if self.cuts and len(tokens) < height:
                padded.append((sequence, end))
                tokens = [*tokens, *[0] * (height - len(tokens))]
            assert 0 <= sequence < self.n_seq_max
            assert all(0 <= token < self.n_vocab for token in tokens)
            first, count = count, count + len(tokens)
            assert count <= self.n_batch
            self._tokens[first:count] = tokens
            self._positions[first:count] = range(position, position + len(tokens))
            self._sequences[first:count] = sequence
            self._wanted[first:count] = 0
            if part is not None:
                end_row = first + len(part.tokens)
                self._outputs[number] = range(end_row - part.wanted, end_row)
                self._wanted[end_row - part.wanted : end_row] = 1
        self._batch.n_tokens = self.rows_computed = count
        # llama.cpp takes all that has more than one row for prefill.
        if self._current != (threads := self._threads[prefill]):
            api.llama_set_n_threads(self.handle, threads, threads)
            self._current = threads
        status = int(api.llama_decode(self.handle, self._batch))
        for sequence, end in padded:
            self.forget(sequence, end)
        self._flag[0] = b"\x00"
        _aborting.clear()
        return status

    def logits(self, part: int, row: int = 0) -> NDArray[np.float32]:
        """The logits after one of a part's wanted rows, from the first of them: a view, valid until the next decode."""
        pointer = api.llama_get_logits_ith(self.handle, self._outputs[part][row])
        if not pointer:
            raise EdgefcError(f"llama.cpp has no logits for part {part} of the batch")
        values = memoryview(self._row_type.from_address(ctypes.addressof(pointer.contents)))
        return np.frombuffer(values.cast("B"), dtype=np.float32)

    def _length(self, sequence: int) -> int:
        return int(api.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def forget(self, sequence: int, begin: int = 0) -> bool:
        """Drop a sequence's tokens from position `begin` on; False when the model's memory cannot be cut there."""
        assert 0 <= sequence < self.n_seq_max
        return bool(api.llama_memory_seq_rm(self._memory, sequence, begin, -1))

    def share(self, source: int, target: int, end: int) -> bool:
        """Copy the first `end` positions of one sequence to another; False when this memory cannot be cut there.

        llama.cpp copies all cells of the sequence when the next batch is computed.
        """
        assert 0 <= source < self.n_seq_max
        assert 0 <= target < self.n_seq_max
        api.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        return self.forget(target, end)

    def save(self, sequence: int) -> NDArray[np.uint8]:
        """What the KV cache, or the state of recurrent layers, holds of a sequence.

        For any sequence of a context of the same model, however many it has, unless `streams` is more than 1.
        """
        assert 0 <= sequence < self.n_seq_max
        size = int(api.llama_state_seq_get_size(self.handle, sequence))
        data = np.empty(size, dtype=np.uint8)
        written = int(api.llama_state_seq_get_data(self.handle, _bytes_at(data), size, sequence))
        if self.streams > 1 or self.n_seq_max == 1:
            return data[:written]
        # llama_kv_cache::state_write: a mark, the sequence, the number of streams, and for each how many cells it has,
        # none but in the sequence's own, then that one's cells.
        before, behind = 4 * sequence, 4 * (self.n_seq_max - 1 - sequence)
        kept = data[before : written - behind]
        kept[:12].view(np.uint32)[:] = (int(data[:4].view(np.uint32)[0]), 0, 1)
        return kept

    def restore(self, sequence: int, data: NDArray[np.uint8], length: int) -> bool:
        """Put back what `save` gave, of `length` tokens; on False the sequence is empty.

        llama.cpp trusts the data: they must be what the same model and release of llama.cpp wrote.
        """
        assert 0 <= sequence < self.n_seq_max
        self.forget(sequence)
        if self.streams == 1 and self.n_seq_max > 1:
            data = np.concatenate([data, np.zeros(4 * (self.n_seq_max - 1), dtype=np.uint8)])
            data[8:12].view(np.uint32)[0] = self.n_seq_max
        read = int(api.llama_state_seq_set_data(self.handle, _bytes_at(data), data.size, sequence))
        if read == data.size and self._length(sequence) == length:
            return True
        self.forget(sequence)
        return False

    def close(self) -> None:
        handle, self.handle = self.handle, None
        if handle:
            api.llama_free(handle)


def _bytes_at(data: NDArray[np.uint8]) -> Any:
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))

"""A context of llama.cpp: the KV cache, and batches computed in it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgefc.engine import llama
from edgefc.errors import EdgefcError, ModelLoadError
from edgefc.gguf import memory

api = llama.api


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
        model: llama.Model,
        *,
        n_ctx: int,
        n_batch: int,
        n_seq_max: int,
        n_threads: int,
        n_threads_batch: int,
        tiles: bool = True,
    ) -> None:
        """`tiles`: whether attention is computed by ggml's kernels for the processor, which has one for long runs."""
        params = api.llama_context_default_params()
        params.n_ctx = n_seq_max * memory.kv_cells(n_ctx)
        self.n_batch = max(n_batch, n_seq_max)
        params.n_batch = params.n_ubatch = self.n_batch
        # Logits of a whole batch would take 300 MB for 512 rows of a vocabulary of 152,000.
        self.n_outputs = params.n_outputs_max = min(self.n_batch, memory.max_outputs(n_seq_max))
        params.n_seq_max = n_seq_max
        params.n_threads, params.n_threads_batch = n_threads, n_threads_batch
        self.set_threads(n_threads, n_threads_batch)
        params.kv_unified = False
        params.no_perf = True
        llama.forget_words()
        self.handle = api.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise ModelLoadError(
                f"llama.cpp could not make a context of {n_ctx} tokens: {llama.last_words()}", "Try a smaller n_ctx."
            )
        self.n_vocab = model.vocabulary.size
        self.n_seq_max, self.n_ctx = n_seq_max, n_ctx
        # Recurrent memory cannot be cut: no padding, no drafts, no part of a prefix.
        self.cuts = not (api.llama_model_is_recurrent(model.handle) or api.llama_model_is_hybrid(model.handle))
        self.tiles = tiles and self.cuts and self.n_batch >= memory.TILE
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
        llama.aborting.append(True)

    def set_threads(self, n_threads: int, n_threads_batch: int) -> None:
        """Threads for decoding and for prefill."""
        self._threads = n_threads, n_threads_batch
        self._current = 0

    def decode(self, parts: Sequence[Rows], least: int = 2, *, span: range = range(0), prefill: bool = False) -> int:
        """Compute one batch, with at least `least` rows where it has one sequence, which `span` may add others to.

        llama.cpp computes it in one pass only when its sequences are neighbours and have equally many rows: the rest
        is padded with rows whose results are dropped, which `rows_computed` counts. A single row is padded as well,
        since it takes another path through ggml's attention, with other rounding.

        Returns llama_decode's status: 0 done, 1 no room in the KV cache, 2 aborted, negative: failed.
        """
        by_sequence = {part.sequence: (number, part) for number, part in enumerate(parts)}
        assert 0 < len(by_sequence) == len(parts)
        assert 0 <= sum(part.wanted for part in parts) <= self.n_outputs
        height = max(len(part.tokens) for part in parts)
        sequences: Iterable[int] = sorted(by_sequence)
        if self.cuts:
            spanned = [*by_sequence, *span]
            sequences = range(min(spanned), max(spanned) + 1)
            height = max(height, least if len(sequences) == 1 else 1)
        self._outputs = [range(0)] * len(parts)
        count, padded = 0, []
        for sequence in sequences:
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
        llama.aborting.clear()
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

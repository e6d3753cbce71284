"""A context of llama.cpp: the KV cache, and the batches computed in it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgefc.engine import llama
from edgefc.engine.adapters import BASE, Adapters, AdapterSet
from edgefc.engine.handles import Handle
from edgefc.engine.prefill import split_at_checkpoints, split_at_prefix, split_prompt
from edgefc.errors import EdgefcError, ModelLoadError
from edgefc.gguf import memory

api = llama.api
DECODED, ABORTED = 0, 2  # statuses of llama_decode
_RECURRENT = api.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
_STATE_MARK = 8  # bytes
_INT32_POINTER = ctypes.POINTER(ctypes.c_int32)


class Rows(NamedTuple):
    """Consecutive tokens of one sequence in a batch; `n_logits`: compute logits for the last n of them."""

    sequence: int
    position: int
    tokens: Sequence[int]
    n_logits: int


class Context:
    """KV cache, batch and logits. For use from one thread, except for `abort`.

    Every sequence has `n_ctx` KV cells of its own, in the order of its tokens, so that the terms attention sums up,
    and their order, depend on this sequence alone.

    can_truncate  whether the memory can be cut at any position. Recurrent memory cannot: it goes back to a checkpoint,
                  and a saved prefix is of use as a whole
    rollback      the last rows of a batch that can be dropped after it: for padding, and for drafts that were wrong
    tiles         whether ggml's tiled attention kernel computes long segments
    split         divides a prompt into segments
    window        tokens that layers with sliding windows see; 0: there are none. A saved state has no more of them, so
                  it is of use as a whole
    streams       number of KV caches that a saved state describes
    rows_computed rows of the last batch, padding included
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
        rollback: int = 0,
    ) -> None:
        """Raises ModelLoadError.

        tiles     attention runs in ggml's kernels for the processor, which has a tiled one
        rollback  rows that recurrent memory shall be able to drop, if llama.cpp can do that for this architecture
        """
        self.n_seq_max, self.n_ctx, self.n_batch = n_seq_max, n_ctx, max(n_batch, n_seq_max)
        # Logits of a whole batch would take 300 MB for 512 rows of a vocabulary of 152,000.
        self.n_outputs = min(self.n_batch, memory.max_outputs(n_seq_max))
        params = api.llama_context_default_params()
        params.n_ctx = n_seq_max * memory.kv_cells(n_ctx)
        params.n_batch = params.n_ubatch = self.n_batch
        params.n_outputs_max = self.n_outputs
        params.n_seq_max = n_seq_max
        params.n_threads, params.n_threads_batch = n_threads, n_threads_batch
        params.n_rs_seq = rollback
        params.kv_unified = False
        params.no_perf = True
        self.set_threads(n_threads, n_threads_batch)
        llama.clear_log_tail()
        with model.handle as weights:
            pointer = api.llama_init_from_model(weights, params)
            if not pointer:
                reason = f"llama.cpp could not create a context of {n_ctx} tokens: {llama.log_tail()}"
                raise ModelLoadError(reason, "Try a smaller n_ctx.")
            self.handle = Handle(pointer, api.llama_free, parent=model.handle)
            self.can_truncate = not (api.llama_model_is_recurrent(weights) or api.llama_model_is_hybrid(weights))
            self.rollback = self.n_batch if self.can_truncate else int(api.llama_n_rs_seq(pointer))
            # With a plain KV cache, `save` removes the number of sequences from what it returns.
            self.window = int(api.llama_model_n_swa(weights))
            is_plain = self.can_truncate and not self.window
        self.n_vocab = model.vocabulary.size
        self.tiles = tiles and self.can_truncate and self.n_batch >= memory.TILE
        self.split = split_prompt if self.tiles else split_at_prefix if self.can_truncate else split_at_checkpoints
        self.streams = 1 if is_plain else n_seq_max
        self.rows_computed = 0
        self._padded: dict[int, int] = {}  # sequence with padding at its end → its length without
        self._sources: set[int] = set()  # sequences that the next batch copies
        self._adapters = BASE
        self._outputs: list[range] = []
        self._row_type = ctypes.c_float * self.n_vocab
        self._create_batch()
        with self.handle as context:
            self._memory = api.llama_get_memory(context)
            self._set_abort_callback(context)

    def use(self, adapters: Adapters, chosen: AdapterSet) -> None:
        """Compute with these adapters from now on; llama.cpp then plans its buffers anew."""
        if chosen != self._adapters:
            adapters.apply(self.handle, chosen)
            self._adapters = chosen

    def _create_batch(self) -> None:
        """Create the arrays that llama.cpp reads a batch from."""
        size = self.n_batch
        self._tokens = np.zeros(size, dtype=np.int32)
        self._positions = np.zeros(size, dtype=np.int32)
        self._sequences = np.zeros(size, dtype=np.int32)
        self._needs_logits = np.zeros(size, dtype=np.int8)
        self._sequences_per_row = np.ones(size, dtype=np.int32)
        pointers = [ctypes.cast(self._sequences.ctypes.data + 4 * i, _INT32_POINTER) for i in range(size)]
        self._batch = api.llama_batch(
            token=self._tokens.ctypes.data_as(_INT32_POINTER),
            pos=self._positions.ctypes.data_as(_INT32_POINTER),
            n_seq_id=self._sequences_per_row.ctypes.data_as(_INT32_POINTER),
            seq_id=(_INT32_POINTER * size)(*pointers),
            logits=self._needs_logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def _set_abort_callback(self, context: Any) -> None:
        """Make libc's strlen the abort callback: a C function, so that checking it needs no GIL.

        A non-empty string means "stop".
        """
        self._abort_flag = ctypes.create_string_buffer(2)
        if os.name == "posix":
            strlen = ctypes.cast(ctypes.CDLL(None).strlen, api.ggml_abort_callback)
            api.llama_set_abort_callback(context, strlen, ctypes.cast(self._abort_flag, ctypes.c_void_p))

    def abort(self) -> None:
        """End the decode that is running, or the next one, early. Any thread may call it."""
        self._abort_flag[0] = b"\x01"
        llama.aborting.set()

    def _reset_abort(self) -> None:
        self._abort_flag[0] = b"\x00"
        llama.aborting.clear()

    def set_threads(self, n_threads: int, n_threads_batch: int) -> None:
        """Set the numbers of threads for decoding and for prefill."""
        self._decode_threads, self._prefill_threads = n_threads, n_threads_batch
        self._current_threads = 0

    def decode(self, parts: Sequence[Rows], min_rows: int = 2, *, span: range = range(0), prefill: bool = False) -> int:
        """Compute one batch, with at least `min_rows` rows if it has one sequence; `span` may add other sequences.

        llama.cpp computes it in one pass only when its sequences are neighbours with the same number of rows each, so
        the batch is padded with rows whose results are dropped. `rows_computed` counts them. A single row takes another
        path through ggml's attention, with other rounding: with two rows at least, that is avoided.

        Returns llama_decode's status: 0 done, 1 no room in the KV cache, 2 aborted, negative: failed.
        """
        numbers = {part.sequence: number for number, part in enumerate(parts)}
        assert 0 < len(numbers) == len(parts)
        assert 0 <= sum(part.n_logits for part in parts) <= self.n_outputs
        height = max(len(part.tokens) for part in parts)
        sequences: Iterable[int] = sorted(numbers)
        if self.can_truncate:
            covered = [*numbers, *span]
            sequences = range(min(covered), max(covered) + 1)
            height = max(height, min_rows if len(sequences) == 1 else 1)
        elif self.rollback and (len(numbers) == 1 or max(numbers) - min(numbers) >= len(numbers)):
            height = max(height, min(min_rows, self.rollback + 1))  # without neighbours
        self._outputs = [range(0)] * len(parts)
        self._batch.n_tokens = 0
        with self.handle as context:
            for sequence in numbers:
                self._settle(sequence)
            for sequence in sequences:
                number = numbers.get(sequence)
                part = Rows(sequence, self._length(sequence), (), 0) if number is None else parts[number]
                outputs = self._add_rows(part, height)
                if number is not None:
                    self._outputs[number] = outputs
                if self._is_padded(part, height):
                    self._padded[sequence] = part.position + len(part.tokens)
            self.rows_computed = int(self._batch.n_tokens)
            # llama.cpp itself takes every batch of more than one row for prefill.
            threads = self._prefill_threads if prefill else self._decode_threads
            if self._current_threads != threads:
                api.llama_set_n_threads(context, threads, threads)
                self._current_threads = threads
            status = int(api.llama_decode(context, self._batch))
            self._sources.clear()
            # Recurrent memory drops rows only once after a batch: perhaps those of drafts are to go as well.
            for sequence in [*self._padded] if self.can_truncate else ():
                self._settle(sequence)
        self._reset_abort()
        return status

    def _is_padded(self, part: Rows, height: int) -> bool:
        return 0 < height - len(part.tokens) <= self.rollback

    def _settle(self, sequence: int) -> None:
        """Drop the padding behind a sequence."""
        if (length := self._padded.pop(sequence, None)) is not None:
            api.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def _add_rows(self, part: Rows, height: int) -> range:
        """Add a sequence's rows to the batch, padded to `height`; return the numbers of those with logits."""
        tokens = part.tokens
        if self._is_padded(part, height):
            tokens = [*tokens, *[0] * (height - len(tokens))]
        assert 0 <= part.sequence < self.n_seq_max
        assert all(0 <= token < self.n_vocab for token in tokens)
        begin = int(self._batch.n_tokens)
        end = begin + len(tokens)
        assert end <= self.n_batch
        self._tokens[begin:end] = tokens
        self._positions[begin:end] = range(part.position, part.position + len(tokens))
        self._sequences[begin:end] = part.sequence
        self._needs_logits[begin:end] = 0
        last = begin + len(part.tokens)
        self._needs_logits[last - part.n_logits : last] = 1
        self._batch.n_tokens = end
        return range(last - part.n_logits, last)

    def logits(self, part: int, row: int = 0) -> NDArray[np.float32]:
        """Logits of one of a part's rows, counted from the first with logits. Shape (n_vocab,).

        A view, valid until the next decode or `close`: only for the thread that computes and closes.
        """
        with self.handle as context:
            pointer = api.llama_get_logits_ith(context, self._outputs[part][row])
        if not pointer:
            raise EdgefcError(f"llama.cpp has no logits for part {part} of the batch")
        values = memoryview(self._row_type.from_address(ctypes.addressof(pointer.contents)))
        return np.frombuffer(values.cast("B"), dtype=np.float32)

    def _length(self, sequence: int) -> int:
        with self.handle:
            return int(api.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def truncate(self, sequence: int, length: int = 0) -> bool:
        """Drop a sequence's tokens from position `length` on; False if the model's memory cannot be cut there.

        With `rollback`, only tokens of the last batch with this sequence, and not all of them.
        """
        assert 0 <= sequence < self.n_seq_max
        self._padded.pop(sequence, None)
        with self.handle:
            return bool(api.llama_memory_seq_rm(self._memory, sequence, length, -1))

    def copy(self, source: int, target: int, length: int) -> bool:
        """Copy the first `length` positions of one sequence to another; False if the memory cannot be cut there.

        llama.cpp copies all cells of the sequence when it computes the next batch.
        """
        assert 0 <= source < self.n_seq_max
        assert 0 <= target < self.n_seq_max
        # llama.cpp does not copy which rows of a recurrent sequence were dropped.
        recurrent = None if self.can_truncate else self.save_recurrent(source)
        self._padded.pop(target, None)
        with self.handle:
            api.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        self._sources.add(source)
        if recurrent is None:
            return self.truncate(target, length)
        return length == self._length(source) and self.restore_recurrent(target, recurrent, length)

    def save(self, sequence: int) -> NDArray[np.uint8]:
        """Save a sequence's part of the KV cache, or its state of recurrent layers.

        Any sequence of a context of the same model can restore it, whatever the number of sequences, unless `streams`
        is more than 1. Raises EdgefcError if llama.cpp cannot, for lack of memory.
        """
        assert 0 <= sequence < self.n_seq_max
        with self.handle as context:
            self._settle(sequence)
            size = int(api.llama_state_seq_get_size(context, sequence))
            data = np.empty(size, dtype=np.uint8)
            written = int(api.llama_state_seq_get_data(context, _bytes_at(data), size, sequence))
        if not written:
            raise EdgefcError(f"llama.cpp could not save a state of {size} bytes")
        if self.streams > 1 or self.n_seq_max == 1:
            return data[:written]
        # llama_kv_cache::state_write: a mark, the sequence, the number of streams, the number of cells in each stream
        # (0 except in the sequence's own), then the cells of that one. Write it as for a single stream.
        before, after = 4 * sequence, 4 * (self.n_seq_max - 1 - sequence)
        state = data[before : written - after]
        state[:12].view(np.uint32)[:] = (int(data[:4].view(np.uint32)[0]), 0, 1)
        return state

    def restore(self, sequence: int, data: NDArray[np.uint8], length: int) -> bool:
        """Restore a state of `length` tokens from `save`; on False the sequence is empty.

        llama.cpp trusts the data: they must come from the same model and release of llama.cpp.
        """
        assert 0 <= sequence < self.n_seq_max
        self.truncate(sequence)
        if sequence in self._sources:  # its cells have to stay until they are copied
            return False
        if self.streams == 1 and self.n_seq_max > 1:
            data = np.concatenate([data, np.zeros(4 * (self.n_seq_max - 1), dtype=np.uint8)])
            data[8:12].view(np.uint32)[0] = self.n_seq_max
        with self.handle as context:
            read = int(api.llama_state_seq_set_data(context, _bytes_at(data), data.size, sequence))
        if read == data.size and self._length(sequence) == length:
            return True
        self.truncate(sequence)
        return False

    def recurrent_bytes(self, sequence: int) -> int:
        """Number of bytes that `save_recurrent` returns."""
        assert 0 <= sequence < self.n_seq_max
        with self.handle as context:
            return int(api.llama_state_seq_get_size_ext(context, sequence, _RECURRENT))

    def save_recurrent(self, sequence: int) -> NDArray[np.uint8]:
        """Save the recurrent part of a sequence's memory, without the KV cache; empty if llama.cpp cannot."""
        size = self.recurrent_bytes(sequence)
        with self.handle as context:
            self._settle(sequence)
            data = np.empty(size, dtype=np.uint8)
            written = int(api.llama_state_seq_get_data_ext(context, _bytes_at(data), size, sequence, _RECURRENT))
        return data[:written]

    @staticmethod
    def recurrent_part(data: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Copy from what `save` returned the `size` bytes that `save_recurrent` would have returned at this point.

        llama_memory_hybrid::state_write writes the recurrent layers last, and llama_context a mark and the sequence
        before all others.
        """
        return np.concatenate([data[:_STATE_MARK], data[data.size - size + _STATE_MARK :]])

    def restore_recurrent(self, sequence: int, data: NDArray[np.uint8], length: int) -> bool:
        """Go back to the first `length` tokens of a sequence, with the data that `save_recurrent` returned after them.

        The KV cache must still hold these tokens. On False the sequence is empty.
        """
        assert 0 <= sequence < self.n_seq_max
        with self.handle as context:
            read = int(api.llama_state_seq_set_data_ext(context, _bytes_at(data), data.size, sequence, _RECURRENT))
        if read == data.size and self.truncate(sequence, length) and self._length(sequence) == length:
            return True
        self.truncate(sequence)
        return False

    def close(self) -> None:
        """Free the context, once no thread uses it."""
        self.handle.close()
        self._reset_abort()


def _bytes_at(data: NDArray[np.uint8]) -> Any:
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))

"""Files of what llama.cpp says of every token: asking for it takes as long as reading a small model.

A file has four parts, of 32-bit numbers but for the last: the numbers of tokens and of those that end an answer; the
size and the attributes of each token; the tokens that end an answer; the bytes of all tokens, one after another.
"""

from __future__ import annotations

import contextlib
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgefc import paths
from edgefc.engine.identity import model_identity
from edgefc.engine.llama import VERSION, Vocabulary
from edgefc.engine.private_files import PrivateFiles, UnusableFileError

MIN_TOKENS = 20_000  # of a vocabulary that is worth a file
FOLDER, LIMIT = "vocabularies", 64 << 20
NUMBER = np.dtype("<u4")


class VocabularyFile:
    """The file of a model's vocabulary, in the cache folder."""

    def __init__(self, vocabulary: Vocabulary, path: Path) -> None:
        """`path` is the model's. Raises OSError."""
        self._vocabulary, self._is_of_use = vocabulary, vocabulary.size >= MIN_TOKENS
        identity = model_identity([path], "vocabulary", VERSION) if self._is_of_use else ""
        self._files = PrivateFiles(identity, paths.cache_dir() / FOLDER, LIMIT)

    def read(self) -> bool:
        """Fill in what the file says; False if there is none that can be used."""
        if not self._is_of_use:
            return False
        try:
            self._vocabulary.facts = _unpack(self._files.read(self._files.path([]), []), self._vocabulary.size)
        except (OSError, UnusableFileError, MemoryError):
            return False
        return True

    def write(self) -> None:
        """Write the file, if it is of use and can be written."""
        if self._is_of_use:
            with contextlib.suppress(OSError):
                self._files.write(self._files.path([]), [], _pack(self._vocabulary))


def _pack(vocabulary: Vocabulary) -> NDArray[np.uint8]:
    pieces, attributes, eog = vocabulary.facts
    numbers = [len(pieces), len(eog), *map(len, pieces), *attributes, *sorted(eog)]
    return np.frombuffer(np.array(numbers, NUMBER).tobytes() + b"".join(pieces), np.uint8)


def _unpack(data: NDArray[np.uint8], size: int) -> tuple[list[bytes], list[int], frozenset[int]]:
    """Return the facts of a vocabulary of this size. Raises UnusableFileError."""
    n_tokens, n_eog = data[: 2 * NUMBER.itemsize].view(NUMBER).tolist()
    n_numbers = 2 + 2 * n_tokens + n_eog
    if n_tokens != size:
        raise UnusableFileError("of another vocabulary")
    sizes, attributes, eog = np.split(data[: n_numbers * NUMBER.itemsize].view(NUMBER)[2:], [n_tokens, 2 * n_tokens])
    text = data[n_numbers * NUMBER.itemsize :].tobytes()
    pieces = [text[start:end] for start, end in pairwise(accumulate(sizes.tolist(), initial=0))]
    return pieces, attributes.tolist(), frozenset(eog.tolist())

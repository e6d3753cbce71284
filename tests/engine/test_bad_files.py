"""Bad files: each gives a typed error, and the process survives.

Thousands of damaged copies of two small models are made from a fixed seed. `read_model` reads each; those that it
accepts are loaded with `Engine.load` in child processes, which must report a result for every file.
"""

from __future__ import annotations

import json
import os
import random
import re
import struct
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import gguf
import numpy as np
import pytest

from edgefc.errors import ModelError, ModelFileError, ModelLoadError, ModelNotFoundError
from edgefc.gguf import read_header, read_model, split_files
from tests.memory_models import Sizes, write_qwen35

CHILD = """
import json, sys
from pathlib import Path
from edgefc.engine import Engine, EngineOptions
from edgefc.errors import EdgefcError
options = EngineOptions(n_threads=1, n_threads_batch=1, n_ctx=64, n_seq_max=1)
for name in sys.stdin.read().splitlines():
    print(json.dumps([name, ""]), flush=True)
    try:
        with Engine.load(Path(name), options) as engine:
            prompt = engine.tokenizer.encode("Hi, \\u00e9\\u65e5\\U0001f642<|im_end|>\\n\\x01")
            engine.submit(prompt, max_tokens=2).result()
        print(json.dumps([name, "loaded"]), flush=True)
    except EdgefcError as error:
        print(json.dumps([name, error.code, str(error)]), flush=True)
"""
ABSURD = (2**32, 2**63, 2**64 - 1)


# -- files to damage --------------------------------------------------------------------------------------------------


def write_small(path: Path, architecture: str, *, parts: int = 0) -> Path:
    """A model of 100 KB: `qwen2` with a byte-level vocabulary, `llama` with one of SentencePiece's kind."""
    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=parts, small_first_shard=bool(parts))
    if architecture == "qwen2":
        # GPT-2's alphabet: printable bytes stand for themselves, the others for characters from U+0100 on.
        plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
        tokens = [chr(byte) for byte in plain] + [chr(256 + number) for number in range(256 - len(plain))]
        tokens += ["th", "he", "in", "er", "Ġt", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_merges(["t h", "h e", "i n", "e r", "Ġ t"])
        writer.add_token_types([1] * (len(tokens) - 3) + [3] * 3)
        writer.add_eos_token_id(len(tokens) - 1)
    else:
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "t", "h", "e", "th", "▁the"]
        writer.add_tokenizer_model("llama")
        writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * 6)
        writer.add_token_scores([0.0] * 259 + [-float(number) for number in range(6)])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
    writer.add_token_list(tokens)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{{ messages }}")
    width, layers, heads, forward = 64, 2, 2, 128
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(1)
    writer.add_key_length(width // heads)
    writer.add_value_length(width // heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(1e4)
    writer.add_layer_norm_rms_eps(1e-6)
    rng = np.random.default_rng(0)
    kind = gguf.GGMLQuantizationType.Q8_0

    def weight(name: str, *shape: int) -> None:
        data = rng.standard_normal(shape, dtype=np.float32) * 0.05
        writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)

    weight("token_embd.weight", len(tokens), width)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for layer in range(layers):
        prefix = f"blk.{layer}."
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{prefix}{name}.weight", np.ones(width, np.float32))
        for name, rows in (("q", width), ("k", width // heads), ("v", width // heads)):
            weight(f"{prefix}attn_{name}.weight", rows, width)
            if architecture == "qwen2":
                writer.add_tensor(f"{prefix}attn_{name}.bias", np.zeros(rows, np.float32))
        weight(prefix + "attn_output.weight", width, width)
        weight(prefix + "ffn_gate.weight", forward, width)
        weight(prefix + "ffn_up.weight", forward, width)
        weight(prefix + "ffn_down.weight", width, forward)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class Field(NamedTuple):
    """A number in a header. `what`: version, count, length, type, value, dimension, offset; `of`: its key or tensor."""

    at: int
    size: int
    what: str
    of: str


def fields(data: bytes) -> Iterator[Field]:
    """Yield every number of a GGUF's header, except texts and scores of tokens."""
    at = 4
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def number(size: int, what: str, of: str) -> Field:
        nonlocal at
        at += size
        return Field(at - size, size, what, of)

    def value(field: Field) -> int:
        return int.from_bytes(data[field.at : field.at + field.size], "little")

    def text(of: str) -> Iterator[Field]:
        nonlocal at
        field = number(8, "length", of)
        yield field
        at += value(field)

    yield number(4, "version", "")
    counts = number(8, "count", "tensors"), number(8, "count", "keys")
    yield from counts
    for _ in range(value(counts[1])):
        begin = at
        yield from text("key")
        key = data[begin + 8 : at].decode()
        kind = number(4, "type", key)
        yield kind
        if value(kind) == 8:
            yield from text(key)
        elif value(kind) == 9:
            item, count = number(4, "type", key), number(8, "length", key)
            yield from (item, count)
            for index in range(value(count)):
                if value(item) == 8:
                    found = list(text(key))
                    yield from found if index < 3 else ()
                else:
                    at += sizes[value(item)]
        else:
            yield number(sizes[value(kind)], "value", key)
    for _ in range(value(counts[0])):
        begin = at
        yield from text("tensor")
        name = data[begin + 8 : at].decode()
        dims = number(4, "dimensions", name)
        yield dims
        for _ in range(value(dims)):
            yield number(8, "dimension", name)
        yield number(4, "type", name)
        yield number(8, "offset", name)


def changed(data: bytes, field: Field, value: int) -> bytes:
    room = data[: field.at], data[field.at + field.size :]
    return (value % 256**field.size).to_bytes(field.size, "little").join(room)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("small")
    return {name: write_small(folder / f"{name}.gguf", name).read_bytes() for name in ("qwen2", "llama")}


class Damaged:
    """Reads damaged files with `read_model`, and collects those that pass for `Engine.load`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.refused: Counter[str] = Counter()
        self.passed: list[str] = []

    def add(self, content: bytes) -> ModelError | None:
        path = self.folder / f"{self.count}.gguf"
        path.write_bytes(content)
        self.count += 1
        try:
            read_header(path)
            read_model(path)
        except ModelError as error:
            self.refused[type(error).__name__] += 1
            path.unlink()
            return error
        self.passed.append(path.name)
        return None

    def load(self) -> Counter[str]:
        """Load and run those that passed, in child processes; count results. A file that ends the process fails."""
        halves = [self.passed[0::2], self.passed[1::2]]
        with ThreadPoolExecutor(2) as pool:
            lines = [line for half in pool.map(self._load, halves) for line in half]
        codes = {name: code for name, code, *_ in lines if code}
        assert set(codes) == set(self.passed)
        assert set(codes.values()) <= {"loaded", "model_file", "model_load", "error", "constraint_error"}
        return Counter(codes.values())

    def _load(self, names: list[str]) -> list[list[str]]:
        child = run_child(self.folder, names)
        lines = [json.loads(line) for line in child.stdout.splitlines()]
        assert child.returncode == 0, (child.returncode, lines[-1:], child.stderr[-2000:])
        return lines


def run_child(folder: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD],
        input="\n".join(names),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "GGML_NO_BACKTRACE": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )


# -- the header -------------------------------------------------------------------------------------------------------


def test_a_good_file_is_read(demo_path: Path) -> None:
    header = read_header(demo_path)
    assert header.metadata["general.architecture"] == "qwen2"
    assert header.n_tensors > 10
    assert 0 < header.tensor_bytes < demo_path.stat().st_size
    assert header.number("block_count")
    assert read_model(demo_path) == header
    assert split_files(demo_path) == [demo_path]


def test_the_size_of_the_tensors_is_what_the_file_holds(small: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in small.items():
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(data)
        reader = gguf.GGUFReader(path)
        end = max(int(tensor.data_offset + tensor.n_bytes) for tensor in reader.tensors)
        assert read_header(path).tensor_bytes == end - reader.data_offset


def test_arrays_with_a_number_for_each_layer_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "layers.gguf"
    writer = gguf.GGUFWriter(path, "deci")
    writer.add_block_count(300)
    writer.add_head_count([32] * 300)
    writer.add_head_count_kv([8, 0] * 150)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    header = read_header(path)
    assert header.per_layer("attention.head_count_kv") == [8, 0] * 150
    assert header.number("attention.head_count_kv") is None
    assert header.per_layer("none") is None


START = b"GGUF" + struct.pack("<I", 3)
OTHER = {
    "page": (b"\n<!DOCTYPE html><html>" + b" " * 50, "web page"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page"),
    "json": (b'{"error": "Repository not found"}', "text in JSON"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n" + b"x" * 60, "git-lfs"),
    "zip": (b"PK\x03\x04" + b"\0" * 60, "zip"),
    "gzip": (b"\x1f\x8b\x08" + b"\0" * 60, "gzip"),
    "safetensors": (struct.pack("<Q", 60) + b'{"__metadata__":{"format":"pt"}}' + b" " * 60, "safetensors"),
    "old": (b"tjgg" + b"\1\0\0\0" * 20, "before GGUF"),
    "zeros": (b"\0" * 4096, "incomplete"),
    "empty": (b"", "0 bytes"),
    "text": (b"hello " * 20, "does not begin"),
    "version": (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "counts": (START + struct.pack("<QQ", 2**63, 2**64 - 1), "claims"),
    "key": (START + struct.pack("<QQQ", 0, 1, 2**62) + b"k" * 40, "claims"),
    "tensors only": (START + struct.pack("<QQ", 1, 0), "beyond the end"),
}


@pytest.mark.parametrize(("content", "reason"), OTHER.values(), ids=OTHER)
def test_other_kinds_of_files_are_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=reason):
        read_header(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(ModelFileError, match="folder"):
        read_header(tmp_path)
    with pytest.raises(ModelFileError):
        read_header(tmp_path / ("long" * 100))
    with pytest.raises(ModelFileError):
        read_header(tmp_path / "with\0nul.gguf")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_nothing_blocks(tmp_path: Path) -> None:
    """In a child process, so that a read that never ends fails the test by its timeout."""
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "zero.gguf").symlink_to("/dev/zero")
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "nowhere.gguf").symlink_to(tmp_path / "none")
    names = ["pipe.gguf", "zero.gguf", "folder.gguf", "nowhere.gguf"]
    done = run_child(tmp_path, names)
    assert done.returncode == 0, done.stderr
    codes = {name: code for name, code, *_ in map(json.loads, done.stdout.splitlines())}
    assert codes == dict.fromkeys(names, "model_file") | {"nowhere.gguf": "model_not_found"}


def test_absurd_counts_cost_nothing(small: dict[str, bytes], tmp_path: Path) -> None:
    """Every count, length and dimension set to 2^32, 2^63 and 2^64 - 1: refused, within 8 MB."""
    path, seen = tmp_path / "absurd.gguf", 0
    tracemalloc.start()
    try:
        for data in small.values():
            for field in fields(data):
                if field.size < 8 or field.what == "offset":
                    continue
                for value in ABSURD:
                    path.write_bytes(changed(data, field, value))
                    with pytest.raises(ModelFileError):
                        read_header(path)
                    seen += 1
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert seen > 400


def test_the_work_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(content: bytes, reason: str) -> None:
        path = tmp_path / "long.gguf"
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=reason):
            read_header(path)

    def key(name: str) -> bytes:
        return struct.pack("<Q", len(name)) + name.encode()

    many = 2**21 + 1
    texts = key("a") + struct.pack("<IIQ", 9, 8, many) + bytes(8 * many)
    refuse(START + struct.pack("<QQ", 0, 1) + texts, "more than 2097152 texts")
    refuse(START + struct.pack("<QQ", 0, 1) + key("a") + struct.pack("<IIQ", 9, 8, 2**24) + bytes(80), "beyond the end")
    nested = key("a") + struct.pack("<IIQ", 9, 9, 4) + bytes(80)
    refuse(START + struct.pack("<QQ", 0, 1) + nested, "unknown type 9")
    refuse(START + struct.pack("<QQ", 0, 2) + (key("a") + struct.pack("<IB", 0, 1)) * 2, "appears twice")
    monkeypatch.setattr("edgefc.gguf.reader.MAX_HEADER", 1000)
    numbers = key("a") + struct.pack("<IIQ", 9, 0, 2000) + bytes(2000)
    refuse(START + struct.pack("<QQ", 0, 1) + numbers, "more than 1,000 bytes")


def test_a_tensor_that_is_not_in_the_file_is_named(small: dict[str, bytes], tmp_path: Path) -> None:
    path, data, seen = tmp_path / "tensor.gguf", small["qwen2"], 0
    tensors = {field.of for field in fields(data) if field.what == "offset"}
    for field in fields(data):
        if field.of not in tensors:
            continue
        if field.what == "type":
            values: tuple[int, ...] = (4, 5, 31, 43, 99, 2**31)
        else:
            values = {"offset": (1, 32, 2**20, 2**31, *ABSURD), "dimension": (0, 2**20, 2**31, *ABSURD),
                      "dimensions": (0, 5, 2**31)}[field.what]  # fmt: skip
        for value in values:
            if changed(data, field, value) == data:
                continue
            path.write_bytes(changed(data, field, value))
            with pytest.raises(ModelFileError, match=f"the tensor '{field.of}'|the tensor '.*' begins at byte"):
                read_model(path)
            seen += 1
    assert seen > 500


# -- damage -----------------------------------------------------------------------------------------------------------


def test_files_cut_anywhere_are_refused(small: dict[str, bytes], tmp_path: Path) -> None:
    """Cut at every field of the header, around it, and at 400 random positions."""
    rng = random.Random(1)
    damaged = Damaged(tmp_path)
    for data in small.values():
        ends = {field.at + shift for field in fields(data) for shift in (0, 1, field.size - 1)}
        ends |= {rng.randrange(len(data) - 64) for _ in range(200)}
        for end in sorted(ends):
            assert damaged.add(data[:end]) is not None, end
    assert damaged.count > 1000
    assert set(damaged.refused) == {"ModelFileError"}


def test_flipped_bytes_never_end_the_process(small: dict[str, bytes], tmp_path: Path) -> None:
    """Flip 1 to 16 bytes of the header in each of 4,000 copies."""
    rng = random.Random(5)
    damaged = Damaged(tmp_path)
    for data in small.values():
        end = max(field.at + field.size for field in fields(data))
        for _ in range(2000):
            copy = bytearray(data)
            for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
                flip = rng.choice([1 << rng.randrange(8), rng.randrange(1, 256)])
                copy[rng.randrange(4, end)] ^= flip
            damaged.add(bytes(copy))
    results = damaged.load()
    assert damaged.count == 4000
    assert results["loaded"] > 200
    assert sum(damaged.refused.values()) > 1000


# Keys that llama.cpp asserts on instead of refusing them, or that make it end the process.
MORE_KEYS: tuple[tuple[str, list[object]], ...] = (
    ("{}.nextn_predict_layers", [0, 2, 3, 2**32 - 1]),
    ("{}.expert_count", [1, 8, 2000, 2**31]),
    ("{}.expert_used_count", [1, 8]),
    ("{}.expert_group_count", [1, 2]),
    ("{}.rope.scaling.type", ["", "x", "none", "linear", "yarn", "longrope"]),
    ("{}.rope.scaling.factor", [0.0, -1.0, float("nan")]),
    ("{}.attention.sliding_window", [0, 1, 2**32 - 1]),
    ("{}.attention.layer_norm_epsilon", [-1.0, float("inf")]),
    ("{}.attention.key_length_mla", [0, 1, 64]),
    ("{}.attention.causal", [False, True]),
    ("{}.pooling_type", [0, 1, 99]),
    ("{}.vocab_size", [0, 1, 2**32 - 1]),
    ("general.alignment", [1, 8, 32, 64]),
    ("tokenizer.ggml.eot_token_id", [0, 2**31, 2**32 - 1]),
    ("tokenizer.ggml.add_space_prefix", [False, True]),
)
VALUES: tuple[object, ...] = (
    0, 1, 2, 3, 5, 32, 64, 511, 513, 2**31 - 1, 2**31, 2**32 - 1, 0.0, -1.0, float("nan"), float("inf"), True, "", "x",
    "phi3", "no_vocab", "none", "llama", "gpt2", "bert", "t5", "rwkv", "test", "plamo2", "gemma4", "whitespace",
    "hybriddna", [], [0, 0], [0, 1], [1, 1], [8, 8], [-1, -1], [2**31 - 1] * 600, [True, False], ["a"] * 300,
    [f"a{number}" for number in range(300)], [""] * 265, ["a b", "c d"], [float("nan")] * 300,
)  # fmt: skip


def encoded(value: object) -> bytes:
    """A metadata value with its type."""
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<IQ", 8, len(value)) + value.encode()
    assert isinstance(value, list)
    items = [encoded(item) if not isinstance(item, int) or isinstance(item, bool) else struct.pack("<Ii", 5, item)
             for item in value]  # fmt: skip
    kind = items[0][:4] if items else struct.pack("<I", 8)
    return struct.pack("<I", 9) + kind + struct.pack("<Q", len(items)) + b"".join(item[4:] for item in items)


def with_metadata(data: bytes, changes: Callable[[list[str]], Iterator[dict[str, object]]]) -> Iterator[bytes]:
    """Yield copies of a file with other values in its metadata; None removes a key."""
    found = list(fields(data))
    keys = [field for field in found if field.of == "key"]
    infos = next(field for field in found if field.of == "tensor").at
    end = max(field.at + field.size for field in found)
    values: dict[str, bytes] = {}
    for field, after in zip(keys, [*(field.at for field in keys[1:]), infos], strict=True):
        begin = field.at + 8
        size = int.from_bytes(data[field.at : begin], "little")
        values[data[begin : begin + size].decode()] = data[begin + size : after]
    for change in changes(list(values)):
        raw = values | {key: b"" if value is None else encoded(value) for key, value in change.items()}
        pairs = {key: value for key, value in raw.items() if value}
        head = data[:16] + struct.pack("<Q", len(pairs))
        head += b"".join(struct.pack("<Q", len(key)) + key.encode() + value for key, value in pairs.items())
        head += data[infos:end]
        yield head + bytes(-len(head) % 32) + data[-(-end // 32) * 32 :]


def odd_changes(architecture: str, keys: list[str]) -> Iterator[dict[str, object]]:
    for key in keys:
        yield from ({key: value} for value in (None, *VALUES))
    for pattern, values in MORE_KEYS:
        yield from ({pattern.format(architecture): value} for value in values)
    # All keys that declare experts, but no tensors of experts.
    yield {f"{architecture}.expert_count": 8, f"{architecture}.expert_used_count": 2}


def test_odd_values_never_end_the_process(small: dict[str, bytes], tmp_path: Path) -> None:
    """Every key of the metadata, and keys that it lacks, with values of every type."""
    damaged = Damaged(tmp_path)
    for architecture, data in small.items():
        for content in with_metadata(data, partial(odd_changes, architecture)):
            damaged.add(content)
    results = damaged.load()
    assert damaged.count > 1500
    assert results["loaded"] > 200


def with_types(path: Path) -> Iterator[bytes]:
    """Yield copies of a file in which one tensor has another type, shape or name, and everything else fits."""
    reader, data = gguf.GGUFReader(path), path.read_bytes()
    start = data[: reader.tensors[0].field.offset]
    tensors = [(tensor.name, tensor.shape.tolist(), int(tensor.tensor_type), tensor.data.tobytes())
               for tensor in reader.tensors]  # fmt: skip
    for index, (name, shape, kind, content) in enumerate(tensors):
        others: list[tuple[str, list[int], int, bytes]] = [
            (name, other, kind, content) for other in (shape[::-1], [*shape, 1], [int(np.prod(shape))])
        ]
        others += [("other." + name, shape, kind, content)]
        for other, (per, size) in gguf.GGML_QUANT_SIZES.items():
            if shape[0] % per == 0:
                length = int(np.prod(shape)) // per * size
                others.append((name, shape, int(other), (content * 30)[:length]))
        for tensor in others:
            infos, blob = b"", b""
            for title, dims, number, raw in [*tensors[:index], tensor, *tensors[index + 1 :]]:
                infos += struct.pack("<Q", len(title)) + title.encode() + struct.pack("<I", len(dims))
                infos += struct.pack(f"<{len(dims)}QIQ", *dims, number, len(blob))
                blob += raw + bytes(-len(raw) % 32)
            yield start + infos + bytes(-len(start + infos) % 32) + blob


def test_other_types_and_shapes_never_end_the_process(tmp_path: Path) -> None:
    damaged = Damaged(tmp_path)
    for content in with_types(write_small(tmp_path / "whole.gguf", "qwen2")):
        damaged.add(content)
    results = damaged.load()
    assert damaged.count > 300
    assert (
        results["loaded"] + results["constraint_error"] > 100
    )  # weights of any type with rows of 64 are computed with


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data.replace(b"<0x41>", b"<0x42>", 1), "appears twice"),
        (
            lambda data: data.replace(b"<0x41>", b"\0zz41>", 1).replace(b"<0x42>", b"\0zz42>", 1),
            "no token for the byte",
        ),
        (lambda data: data.replace(b"<0x41>", b"<unk>\0", 1), "appears twice"),
    ],
    ids=["twice", "no bytes", "twice after NUL"],
)
def test_vocabularies_that_end_the_process_are_refused(
    small: dict[str, bytes], tmp_path: Path, change: Callable[[bytes], bytes], reason: str
) -> None:
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(change(small["llama"]))
    with pytest.raises(ModelFileError, match=reason):
        read_header(path)


# -- split models, and other GGUFs ------------------------------------------------------------------------------------


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    write_small(tmp_path / "whole.gguf", "qwen2")
    write_small(tmp_path / "small.gguf", "qwen2", parts=12)
    return sorted(tmp_path.glob("small-*"))


def test_a_split_model_is_counted_together_and_loaded(parts: list[Path], tmp_path: Path) -> None:
    assert [path.name for path in parts] == [f"small-0000{number}-of-00004.gguf" for number in (1, 2, 3, 4)]
    assert split_files(parts[0]) == parts
    whole, header = read_model(tmp_path / "whole.gguf"), read_model(parts[0])
    assert (header.n_tensors, header.tensor_bytes) == (whole.n_tensors, whole.tensor_bytes)
    assert read_header(parts[0]).n_tensors == 0
    done = run_child(tmp_path, [parts[0].name, parts[1].name])
    assert done.returncode == 0, done.stderr
    results = {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}
    assert results[parts[0].name] == ["loaded"]
    assert results[parts[1].name][0] == "model_file"


def test_missing_parts_are_named(parts: list[Path]) -> None:
    parts[1].unlink()
    parts[2].unlink()
    for function in (split_files, read_model):
        with pytest.raises(ModelFileError, match=f"{parts[1].name}, {parts[2].name}"):
            function(parts[0])


def test_another_part_than_the_first_says_which_to_give(parts: list[Path]) -> None:
    with pytest.raises(ModelFileError, match="part 3 of 4") as caught:
        read_model(parts[2])
    assert str(parts[0]) in caught.value.hint


def test_parts_that_do_not_belong_together_are_refused(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="but not named so"):
        read_model(parts[0].rename(tmp_path / "renamed.gguf"))
    (tmp_path / "renamed.gguf").rename(parts[0])
    second = parts[1].read_bytes()
    number = next(field for field in fields(second) if (field.what, field.of) == ("value", "split.no"))
    # llama.cpp asserts the type of this one when it reads the further parts.
    kind = next(field for field in fields(second) if (field.what, field.of) == ("type", "split.no"))
    for content in (changed(second, number, 2), changed(second, kind, 3), second[:-4000]):
        parts[1].write_bytes(content)
        with pytest.raises(ModelFileError, match=re.escape(str(parts[1]))):
            read_model(parts[0])
    parts[1].write_bytes(second)
    first = parts[0].read_bytes()
    total = next(field for field in fields(first) if (field.what, field.of) == ("value", "split.tensors.count"))
    parts[0].write_bytes(changed(first, total, 99))
    with pytest.raises(ModelFileError, match="not 99"):
        read_model(parts[0])


@pytest.mark.parametrize(
    ("architecture", "kind", "reason"),
    [("clip", "", "image encoder"), ("clip", "mmproj", "image encoder"), ("llama", "adapter", "LoRA"),
     ("qwen2", "imatrix", "importance"), ("qwen2", "", "no weights")],
)  # fmt: skip
def test_a_gguf_without_a_language_model_is_named(tmp_path: Path, architecture: str, kind: str, reason: str) -> None:
    path = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    if kind:
        writer.add_type(kind)
    if reason != "no weights":
        writer.add_tensor("v.patch_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_header(path).architecture == architecture
    with pytest.raises(ModelLoadError, match=reason):
        read_model(path)


def test_an_unknown_architecture_is_llama_cpps_to_refuse(small: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "new.gguf").write_bytes(small["qwen2"].replace(b"qwen2", b"qwen9"))
    assert read_model(tmp_path / "new.gguf").architecture == "qwen9"
    (tmp_path / "good.gguf").write_bytes(small["qwen2"])
    done = run_child(tmp_path, ["new.gguf", "good.gguf"])
    assert done.returncode == 0, done.stderr
    results = {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}
    assert results["new.gguf"][0] == "model_load"
    assert "qwen9" in results["new.gguf"][1]
    assert results["good.gguf"] == ["loaded"]


def test_a_hybrid_without_attention_is_refused(tmp_path: Path) -> None:
    """llama.cpp would end the process when it saves the empty KV cache."""
    path = write_qwen35(tmp_path / "model.gguf", Sizes(layers=3))
    with pytest.raises(ModelFileError, match="none of its layers has attention"):
        read_model(path)

"""LoRA adapters: names and scales, and the header, checked before llama.cpp is given the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from edgefc.errors import AdapterError, ModelFileError, ModelLoadError, ModelNotFoundError, RequestError
from edgefc.gguf import memory, read_model
from edgefc.gguf.adapter import Adapter, Lora, LoraOption, loras_of, parse_lora, read_adapters
from tests.lora_files import finish, write_adapter

FIRST = r"blk\.0\.attn_q\.weight"


def read(base: Path, adapter: Path) -> Adapter:
    return read_adapters(loras_of(adapter), read_model(base))[0]


def test_an_adapter_as_the_converter_writes_it(demo_path: Path, tmp_path: Path) -> None:
    path = write_adapter(demo_path, tmp_path / "mine.gguf", rank=6, alpha=12)
    found = read(demo_path, path)
    header = read_model(demo_path)
    assert (found.name, found.path, found.scale, found.alpha, found.rank) == ("mine", path, 1.0, 12.0, 6)
    assert found.n_matrices == 7 * (header.number("block_count") or 0)
    assert 0 < found.tensor_bytes < path.stat().st_size < found.memory
    plain, adapted = (memory.predict(header, n_ctx=512, n_seq_max=1, adapters=size) for size in (0, found.memory))
    assert adapted.total == plain.total + found.memory
    with pytest.raises(ModelLoadError, match=r"is a LoRA adapter, not a model\n.*an adapter with --lora"):
        read_model(path)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"general.type": "model"}, "general.type must be 'adapter', not 'model'"),
        ({"general.type": None}, "general.type must be 'adapter', not 'None'"),
        ({"general.type": 1.0}, "general.type must be 'adapter'"),
        ({"adapter.type": "dora"}, "adapter.type must be 'lora', not 'dora'"),
        ({"general.architecture": None}, "it names no architecture"),
        ({"general.architecture": 1.0}, "it names no architecture"),
        ({"general.architecture": "gemma3"}, "architecture 'gemma3', not "),
        ({"adapter.lora.alpha": float("nan")}, "a finite number of the type float32, not nan"),
        ({"adapter.lora.alpha": float("inf")}, "not inf"),
        ({"adapter.lora.alpha": "8"}, "'adapter.lora.alpha' must be a 32-bit float"),
        ({"adapter.alora.invocation_tokens": 1.0}, "activated LoRA"),
    ],
)
def test_other_metadata_is_refused(demo_path: Path, tmp_path: Path, metadata: dict[str, Any], reason: str) -> None:
    path = write_adapter(demo_path, tmp_path / "a.gguf", tensors=FIRST, metadata=metadata)
    with pytest.raises(ModelFileError) as caught:
        read(demo_path, path)
    assert reason in caught.value.reason
    assert str(path) in caught.value.reason


def write_tensors(out: Path, base: Path, tensors: dict[str, tuple[int, ...]], kind: int = 0) -> Path:
    """Write an adapter with zeros of these shapes, the row length first as in GGUF."""
    writer = gguf.GGUFWriter(out, str(gguf.GGUFReader(base).fields["general.architecture"].contents()))
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    used = gguf.GGMLQuantizationType(kind)
    for name, shape in tensors.items():
        data = np.zeros(shape[::-1], dtype=np.float32)
        writer.add_tensor(name, gguf.quants.quantize(data, used), raw_dtype=used)
    finish(writer)
    return out


Q, EMBEDDING = "blk.0.attn_q.weight", "token_embd.weight"


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({}, "it holds no pair of tensors"),
        ({f"{Q}.lora_a": ("in", 4)}, f"the tensor '{Q}.lora_b' is missing"),
        ({f"{Q}.lora_b": (4, "out")}, f"the tensor '{Q}.lora_a' is missing"),
        ({f"{Q}.lora_a": ("in", 4), f"{Q}.lora_b": (4, 8)}, f"for '{Q}' it has "),
        ({f"{Q}.lora_a": (32, 4), f"{Q}.lora_b": (4, "out")}, f"for '{Q}' it has 32 x 4 and 4 x "),
        ({f"{Q}.lora_a": ("in", 4), f"{Q}.lora_b": (5, "out")}, f"for '{Q}' it has "),
        ({f"{Q}.lora_a": ("in", 4, 2), f"{Q}.lora_b": (4, "out")}, f"for '{Q}' it has "),
        ({f"{Q}.lora_a": ("in", 4, 2), f"{Q}.lora_b": (4, "out", 2)}, f"for '{Q}' it has "),
        ({Q: ("in", "out")}, f"unexpected tensor '{Q}'"),
        ({f"{Q}.lora_a.lora_a": ("in", 4)}, "unexpected tensor"),
        ({"blk.99.attn_q.weight.lora_a": ("in", 4), "blk.99.attn_q.weight.lora_b": (4, "out")}, "has no tensor"),
        ({"blk.0.attn_norm.weight": ("in",)}, "it holds no pair of tensors"),
        ({"blk.0.attn_norm.weight.lora_a": ("in", 4), "blk.0.attn_norm.weight.lora_b": (4, 1)}, "can have no adapter"),
        ({f"{EMBEDDING}.lora_a": (4, "vocabulary"), f"{EMBEDDING}.lora_b": (4, "in")}, "also uses as output"),
    ],
)
def test_other_tensors_are_refused(
    tiny_model: Path, tmp_path: Path, tensors: dict[str, tuple[int | str, ...]], reason: str
) -> None:
    shapes = {tensor.name: tuple(map(int, tensor.shape)) for tensor in gguf.GGUFReader(tiny_model).tensors}
    sizes = {"in": shapes[Q][0], "out": shapes[Q][1], "vocabulary": shapes[EMBEDDING][1]}
    numbers = {name: tuple(sizes.get(str(n), n) for n in shape) for name, shape in tensors.items()}
    path = write_tensors(tmp_path / "a.gguf", tiny_model, numbers)  # type: ignore[arg-type]
    with pytest.raises(AdapterError) as caught:
        read(tiny_model, path)
    assert reason in caught.value.reason


def test_a_type_that_the_converter_does_not_write_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    n_in, n_out = map(int, next(t for t in gguf.GGUFReader(tiny_model).tensors if t.name == Q).shape)
    shapes = {f"{Q}.lora_a": (n_in, 32), f"{Q}.lora_b": (32, n_out)}
    for kind in (0, 1, 8, 30):
        assert read(tiny_model, write_tensors(tmp_path / "a.gguf", tiny_model, shapes, kind)).rank == 32
    with pytest.raises(AdapterError, match="has the type 2; F32, F16, BF16 and Q8_0 are supported"):
        read(tiny_model, write_tensors(tmp_path / "a.gguf", tiny_model, shapes, 2))


def test_a_cut_or_missing_file_is_refused(demo_path: Path, tmp_path: Path) -> None:
    path = write_adapter(demo_path, tmp_path / "a.gguf", tensors=FIRST)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelFileError, match="bytes beyond the end of the file"):
        read(demo_path, path)
    path.unlink()
    with pytest.raises(ModelNotFoundError, match="there is no file"):
        read(demo_path, path)


def test_names_and_scales(tmp_path: Path) -> None:
    path = tmp_path / "my adapter-v1.gguf"
    assert loras_of(None) == loras_of([]) == ()
    assert loras_of(path) == loras_of(str(path)) == (Lora(path, 1.0, "my_adapter-v1"),)
    assert [lora.name for lora in loras_of([Lora(path, 0, "a"), "~/b.GGUF"])] == ["a", "b"]
    invalid: list[tuple[LoraOption, str]] = [
        ([path, path], "two adapters are named 'my_adapter-v1'"),
        (Lora(path, float("nan")), "a scale must be a number from -1000 to 1000, not nan"),
        (Lora(path, 1e9), "not 1000000000.0"),
        (Lora(path, name="a/b"), "invalid name 'a/b'"),
        ([Lora(path, name=f"a{n}") for n in range(17)], "must be at most 16 adapters, not 17"),
    ]
    for option, reason in invalid:
        with pytest.raises(RequestError) as caught:
            loras_of(option)
        assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.gguf", Lora("a.gguf")),
        ("a.gguf:0.5", Lora("a.gguf", 0.5)),
        ("a.gguf:-1", Lora("a.gguf", -1)),
        ("sql=a.gguf:0", Lora("a.gguf", 0, "sql")),
        ("sql=dir/a.gguf", Lora("dir/a.gguf", name="sql")),
        ("C:\\a.gguf", Lora("C:\\a.gguf")),
        ("C:\\a.gguf:2", Lora("C:\\a.gguf", 2)),
        ("dir/x=1/a.gguf", Lora("dir/x=1/a.gguf")),
        (":2", Lora(":2")),
    ],
)
def test_adapters_on_the_command_line(text: str, expected: Lora) -> None:
    assert parse_lora(text) == expected


def test_a_file_that_is_there_is_meant_as_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a=b:2"
    path.touch()
    assert parse_lora(str(path)) == Lora(str(path))
    with pytest.raises(RequestError, match="not nan"):
        parse_lora("a.gguf:nan")

"""Bad files: a typed error each, and the process lives."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from edgefc.errors import ModelFileError, ModelNotFoundError
from edgefc.gguf import read_header

CHILD = """
import json, sys
from pathlib import Path
from edgefc.engine import Engine
from edgefc.errors import EdgefcError
for name in sys.argv[1:]:
    try:
        with Engine.load(Path(name)) as engine:
            engine.submit([5, 6], max_tokens=2).result()
        print(json.dumps([name, "loaded"]), flush=True)
    except EdgefcError as error:
        print(json.dumps([name, error.code]), flush=True)
"""


def test_a_good_file_is_read(demo_path: Path) -> None:
    header = read_header(demo_path)
    assert header.metadata["general.architecture"] == "qwen2"
    assert header.n_tensors > 10
    assert 0 < header.tensor_bytes < demo_path.stat().st_size
    assert header.number("block_count")


OTHER = {
    "page.gguf": (b"<!DOCTYPE html><html>" + b" " * 50, "web page"),
    "pointer.gguf": (b"version https://git-lfs.github.com/spec/v1\n" + b"x" * 60, "git-lfs"),
    "zip.gguf": (b"PK\x03\x04" + b"\0" * 60, "zip"),
    "empty.gguf": (b"", "0 bytes"),
    "text.gguf": (b"hello " * 20, "does not begin"),
    "version.gguf": (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
    "counts.gguf": (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 2**64 - 1), "claims"),
    "key.gguf": (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62) + b"k" * 40, "claims"),
}


@pytest.mark.parametrize(("name", "content", "reason"), [(n, *v) for n, v in OTHER.items()])
def test_what_is_no_model_is_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=reason):
        read_header(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(ModelFileError, match="folder"):
        read_header(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ModelFileError, match="not a regular file"):
        read_header(tmp_path / "pipe.gguf")


def test_damaged_files_never_end_the_process(demo_path: Path, tmp_path: Path) -> None:
    """Cut at 30 places, and 1 to 16 bytes of the header flipped 60 times."""
    data = demo_path.read_bytes()
    header = data.find(b"token_embd.weight")
    rng = random.Random(5)
    names = []
    for number in range(30):
        (tmp_path / f"cut{number}.gguf").write_bytes(data[: rng.randrange(len(data) - 1)])
        names.append(f"cut{number}.gguf")
    for number in range(60):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 2, 16])):
            damaged[rng.randrange(header + 400 if number % 2 else 400)] ^= 1 << rng.randrange(8)
        (tmp_path / f"flip{number}.gguf").write_bytes(damaged)
        names.append(f"flip{number}.gguf")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *names], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-300:], done.stderr[-2000:])
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert set(found) == set(names)
    assert all(found[name] == "model_file" for name in names if name.startswith("cut"))
    assert set(found.values()) <= {"loaded", "model_file", "model_load", "error", "constraint_error"}

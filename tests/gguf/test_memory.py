"""The memory of a model is predicted before it is loaded, and a model that does not fit is refused."""

from __future__ import annotations

import json
import logging
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from edgefc import gguf, hardware
from edgefc.engine import Engine, EngineOptions, llama
from edgefc.errors import ModelLoadError
from edgefc.gguf import ArrayLength, Header, memory
from tests.memory_models import write_gemma3, write_granite, write_lfm2, write_qwen35
from tests.model_files import write_mamba

# Qwen2.5-1.5B, and Llama 3.1 8B, as their published GGUFs describe them.
QWEN = {"block_count": 28, "embedding_length": 1536, "feed_forward_length": 8960, "attention.head_count": 12,
        "attention.head_count_kv": 2, "context_length": 32768}  # fmt: skip
LLAMA = {"block_count": 32, "embedding_length": 4096, "feed_forward_length": 14336, "attention.head_count": 32,
         "attention.head_count_kv": 8, "context_length": 131072}  # fmt: skip


def header(architecture: str, numbers: Mapping[str, object], *, weights: int = 0, tokens: int = 0) -> Header:
    metadata: dict[str, object] = {f"{architecture}.{key}": value for key, value in numbers.items()}
    metadata |= {"general.architecture": architecture, "tokenizer.ggml.tokens": ArrayLength(tokens)}
    return Header(metadata, 1, weights)


def test_the_context_is_padded_as_the_engine_pads_it() -> None:
    assert (memory.SAFE_ROWS, memory.CELLS) == (63, 256)
    model = header("qwen2", QWEN)
    for n_ctx, cells in ((1, 256), (193, 256), (194, 512), (8192, 8448)):
        for n_seq_max in (1, 4):
            need = memory.predict(model, n_ctx=n_ctx, n_seq_max=n_seq_max)
            assert need.kv_cache == cells * n_seq_max * 28 * 2 * 2 * 128 * 2


@pytest.mark.parametrize(
    ("architecture", "numbers", "per_token"),
    [
        ("qwen2", QWEN, 28 * 1024),
        ("llama", LLAMA, 128 * 1024),
        # Heads that are wider than their share of the embedding; a number for each layer; no grouping.
        ("qwen3", QWEN | {"attention.key_length": 256, "attention.value_length": 256}, 56 * 1024),
        ("deci", LLAMA | {"attention.head_count_kv": [8, 0] * 16}, 64 * 1024),
        ("gemma3n", LLAMA | {"attention.head_count": [32] * 32, "attention.head_count_kv": [8] * 32}, 128 * 1024),
        ("phi2", {k: v for k, v in LLAMA.items() if k != "attention.head_count_kv"}, 512 * 1024),
        # DeepSeek-V2-Lite: keys and values are one latent vector.
        ("deepseek2", {"block_count": 27, "embedding_length": 2048, "attention.head_count": 16,
                       "attention.head_count_kv": 1, "attention.key_length": 576, "attention.value_length": 512,
                       "attention.key_length_mla": 192, "attention.value_length_mla": 128}, 27 * 576 * 2),
        # Qwen3.5 0.8B: every fourth layer has attention, and the file need not say so.
        ("qwen35", {"block_count": 24, "embedding_length": 1024, "attention.head_count": 8, "attention.head_count_kv": 2,
                    "attention.key_length": 256, "attention.value_length": 256}, 6 * 2 * 2 * 256 * 2),
        ("qwen35", QWEN | {"full_attention_interval": 7}, 4 * 1024),
        ("qwen35", QWEN | {"attention.recurrent_layers": [True] * 27 + [False]}, 1024),
        ("mamba2", {"block_count": 48, "embedding_length": 2048, "attention.head_count": 0}, 0),
        ("unknown", {}, 0),
        ("qwen2", {"block_count": -1, "attention.head_count": [], "embedding_length": "x"}, 0),
    ],
)  # fmt: skip
def test_bytes_of_a_token(architecture: str, numbers: Mapping[str, object], per_token: int) -> None:
    assert memory.kv_bytes_per_token(header(architecture, numbers)) == per_token


def test_a_quantized_cache_takes_less() -> None:
    sizes = {kind: memory.predict(header("llama", LLAMA), n_ctx=8000, n_seq_max=1, kv_type=kind).kv_cache
             for kind in ("f32", "f16", "q8_0", "q4_0")}  # fmt: skip
    assert sizes["f32"] == 2 * sizes["f16"]
    assert sizes["q8_0"] == sizes["f16"] * 17 // 32
    assert sizes["q4_0"] == sizes["f16"] * 9 // 32


def test_recurrent_layers_keep_a_state_for_each_sequence() -> None:
    mamba = header("mamba", {"block_count": 10, "ssm.conv_kernel": 4, "ssm.inner_size": 1000, "ssm.state_size": 16})
    one, four = (memory.predict(mamba, n_ctx=512, n_seq_max=n) for n in (1, 4))
    assert one.kv_cache == 4 * 10 * (3 * 1000 + 16 * 1000)
    assert four.kv_cache == 4 * one.kv_cache
    rwkv = header("rwkv6", {"block_count": 10, "embedding_length": 1000, "wkv.head_size": 64})
    assert memory.predict(rwkv, n_ctx=512, n_seq_max=1).kv_cache == 4 * 10 * 1000 * (64 + 2)


def test_layers_on_a_gpu_are_not_counted() -> None:
    model = header("llama", LLAMA, weights=33_000_000)
    half, none = (memory.predict(model, n_ctx=512, n_seq_max=1, gpu_layers=layers) for layers in (11, 99))
    assert half.weights == 22_000_000
    assert none.weights == none.kv_cache == 0


# -- against loaded models --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    EngineOptions(n_ctx=2048), EngineOptions(n_ctx=500, n_seq_max=1), EngineOptions(n_ctx=1000, n_seq_max=3, n_batch=512),
])  # fmt: skip
@pytest.mark.parametrize("model", ["demo_path", "tiny_qwen2"])
def test_buffers_are_as_large_as_predicted(
    model: str, options: EngineOptions, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """llama.cpp's own figures: the KV cache exactly, the compute buffers within 10 % and 1 MiB."""
    path: Path = request.getfixturevalue(model)
    with caplog.at_level(logging.DEBUG, "edgefc.llama"), Engine.load(path, options) as loaded:
        n_vocab = loaded.tokenizer.n_vocab
        buffers = re.findall(r"(model|KV|compute|output) buffer size = +([\d.]+) MiB", caplog.text)
    found = {kind: sum(float(size) for name, size in buffers if name == kind) for kind, _ in buffers}
    need = memory.predict(
        gguf.read_model(path),
        n_ctx=options.n_ctx or 0,
        n_seq_max=options.n_seq_max,
        n_batch=options.n_batch or memory.BATCH,
    )
    assert need.weights / 2**20 == pytest.approx(found["model"], abs=0.1)
    assert need.kv_cache / 2**20 == pytest.approx(found["KV"], abs=0.01)
    # The buffer of logits grows when the first drafts come.
    assert found["output"] < 4 * memory.max_outputs(options.n_seq_max) * n_vocab / 2**20
    computed = found["compute"] + 4 * memory.max_outputs(options.n_seq_max) * n_vocab / 2**20
    assert computed - 0.02 <= need.compute / 2**20 <= computed * 1.1 + 1


@pytest.mark.parametrize("write", [write_mamba, write_lfm2, write_qwen35, write_granite, write_gemma3])
def test_recurrent_and_windowed_memory_is_as_large_as_predicted(
    write: Callable[[Path], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, options = write(tmp_path / "model.gguf"), EngineOptions(n_ctx=1000, n_seq_max=3, prefix_disk=0)
    with caplog.at_level(logging.DEBUG, "edgefc.llama"), Engine.load(path, options):
        sizes = re.findall(r"(?:KV|RS) buffer size = +([\d.]+) MiB", caplog.text)
    need = memory.predict(gguf.read_model(path), n_ctx=1000, n_seq_max=3)
    assert sizes
    assert need.kv_cache / 2**20 == pytest.approx(sum(map(float, sizes)), abs=0.01 * len(sizes))


MEASURE = """
import json, re, sys
from pathlib import Path
from edgefc import gguf
from edgefc.gguf import memory
from edgefc.engine import Engine, EngineOptions, gbnf_grammar, llama, selftest

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

path = Path(sys.argv[1])
selftest.verdict()
llama.system_info()
before = resident()
with Engine.load(path, EngineOptions(n_ctx=2048, n_threads=1, n_threads_batch=1)) as engine:
    engine.constraint(gbnf_grammar('root ::= "a"'))  # waits until the vocabulary is loaded
    for answer in [engine.submit([5] * 200, max_tokens=4) for _ in range(4)]:
        answer.result()
    taken = resident() - before
print(json.dumps([memory.predict(gguf.read_model(path), n_ctx=2048, n_seq_max=4).total, taken]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("model", ["demo_path", "tiny_qwen2"])
def test_a_process_takes_no_more_than_predicted(model: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(model)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, timeout=120, check=True, env=child()
    )
    predicted, taken = json.loads(done.stdout)
    assert taken <= predicted <= taken + (100 << 20)


def child() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_a_model_that_does_not_fit_is_refused_with_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "free_memory", lambda: 2_000_000_000)
    path = Path("llama.gguf")
    memory.check_fits(memory.MemoryNeed(1_000_000_000, 900_000_000, 50_000_000, 50_000_000), path)
    with pytest.raises(ModelLoadError, match=r"needs 9.0 GB of memory and 2.0 GB are free: 1.0 GB for") as caught:
        memory.check_fits(memory.MemoryNeed(1_000_000_000, 7_900_000_000, 50_000_000, 50_000_000), path)
    assert "smaller n_ctx or n_parallel" in caught.value.hint
    with pytest.raises(ModelLoadError, match=r"4.7 GB for the weights, 512 MB for the KV cache") as caught:
        memory.check_fits(memory.MemoryNeed(4_700_000_000, 512_000_000, 0, 0), path)
    assert "n_ctx" not in caught.value.hint
    assert "smaller quantization" in caught.value.hint


def test_llama_cpp_is_not_given_a_model_that_does_not_fit(demo_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need = memory.predict(gguf.read_model(demo_path), n_ctx=1024, n_seq_max=2)
    for free in (0, need.total - 1):
        with monkeypatch.context() as patch:
            patch.setattr(hardware, "free_memory", lambda free=free: free)
            patch.setattr(llama, "Model", None)
            with pytest.raises(ModelLoadError, match="of memory"):
                Engine.load(demo_path, EngineOptions(n_ctx=1024, n_seq_max=2))
    monkeypatch.setattr(hardware, "free_memory", lambda: need.total)
    with Engine.load(demo_path, EngineOptions(n_ctx=1024, n_seq_max=2)) as engine:
        assert engine.submit([5, 6], max_tokens=2).result().token_ids


def test_a_model_larger_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse file with a valid header and one tensor, three times as large as the free memory."""
    path, rows = tmp_path / "large.gguf", 3 * hardware.free_memory() // (1 << 20) + 1

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    architecture = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    tensor = text("token_embd.weight") + struct.pack("<IQQIQ", 2, 1 << 18, rows, 0, 0)
    start = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + architecture + tensor
    with path.open("wb") as file:
        file.write(start)
        try:
            file.truncate(-(-len(start) // 32) * 32 + rows * (1 << 20))
        except OSError:
            pytest.skip("no sparse files of this size here")
    assert gguf.read_model(path).tensor_bytes == rows << 20
    monkeypatch.setattr(llama, "Model", None)
    with pytest.raises(ModelLoadError, match="GB for the weights"):
        Engine.load(path, EngineOptions(n_ctx=512))


LIMITED = """
import json, resource, sys
from pathlib import Path
import psutil
from edgefc.engine import Engine, EngineOptions, gbnf_grammar, llama, selftest
from edgefc.errors import EdgefcError

selftest.verdict()
llama.system_info()
room = psutil.Process().memory_info().vms + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    with Engine.load(Path(sys.argv[1]), EngineOptions(n_ctx=2048)) as engine:
        engine.submit([5, 6], max_tokens=2).result()
        engine.constraint(gbnf_grammar('root ::= "a"'))  # waits until the vocabulary is loaded
    print(json.dumps("loaded"))
except EdgefcError as error:
    print(json.dumps(error.code))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS is not enforced everywhere")
@pytest.mark.parametrize("megabytes", [1, 20, 60, 150, 300, 3000])
def test_a_limited_address_space_is_an_error_and_no_signal(demo_path: Path, megabytes: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(demo_path), str(megabytes << 20)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=child(),
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-1000:])
    assert json.loads(done.stdout) in {3000: {"loaded"}}.get(megabytes, {"model_load", "model_file"})


# -- the default context ----------------------------------------------------------------------------------------------


def test_the_default_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "free_memory", lambda: 16 << 30)
    assert memory.default_context(header("qwen2", QWEN, weights=1 << 30), 4) == 8192
    assert memory.default_context(header("qwen2", QWEN | {"context_length": 2048}), 4) == 2048
    assert memory.default_context(header("qwen2", {}), 4) == 8192
    # Half of what the weights leave, for all sequences together.
    monkeypatch.setattr(hardware, "free_memory", lambda: (1 << 30) + (2 * 4 * 1000 * 28 * 1024))
    assert memory.default_context(header("qwen2", QWEN, weights=1 << 30), 4) == 1000
    monkeypatch.setattr(hardware, "free_memory", lambda: 1 << 20)
    assert memory.default_context(header("qwen2", QWEN, weights=1 << 30), 4) == 512

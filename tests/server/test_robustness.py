"""Faults outside the protocol: odd texts and tokens, clients that do not read, too little memory."""

from __future__ import annotations

import gzip
import json
import shlex
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import edgefc
from benchmarks.serving import serve_in_thread
from edgefc import hardware
from edgefc.gguf.memory import RESERVED, RESERVED_PER_CORE
from edgefc.model import needed_memory
from edgefc.server import http_protocol
from tests.server.examples import TOOLS
from tests.server.server_process import CHAT, ServerProcess

SMALL: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "temperature": 0}


def chat_with(text: str, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x"}, {"role": role, "content": text}], "tools": TOOLS}


def test_no_text_from_a_client_becomes_a_control_token(server: ServerProcess, demo_path: Path) -> None:
    """The text of a special token is tokenized letter by letter, wherever clients can put text."""
    with edgefc.load("demo", n_ctx=64) as model:
        special = list(model.engine.tokenizer.special_tokens)
    assert special
    for text in special:
        for body in (
            chat_with(text),
            chat_with(text, "assistant"),
            {"messages": [{"role": "system", "content": text}, *SMALL["messages"]]},
        ):
            prompt = server.post("/v1/apply-template", body).json["prompt"]
            count = server.post("/v1/chat/completions/input_tokens", body).json["input_tokens"]
            taken = server.post("/v1/tokenize", {"content": prompt}).json["tokens"]
            as_text = server.post("/v1/tokenize", {"content": text, "parse_special": False}).json["tokens"]
            assert len(as_text) > 1
            assert len(taken) < count, "with special tokens parsed, it is a single token"


@pytest.mark.parametrize(
    "text", ["A" * 2_000_000, " " * 1_000_000, "🙂" * 1_000_000, "Z\u0351\u0321" * 500_000, "word " * 1_000_000],
    ids=["letters", "spaces", "emoji", "zalgo", "one line"],
)  # fmt: skip
def test_enormous_texts_are_refused(server: ServerProcess, text: str) -> None:
    answer = server.post(CHAT, {**SMALL, "messages": [{"role": "user", "content": text}]})
    assert answer.status in {400, 413}  # as JSON, some exceed the limit of a body
    if answer.status == 400:
        assert answer.error["code"] == "context_length_exceeded"
    assert server.post(CHAT, SMALL).status == 200


def test_a_compressed_body_is_not_decompressed(server: ServerProcess) -> None:
    bomb = gzip.compress(json.dumps(SMALL).encode() + b" " * (64 << 20))
    answer = server.request("POST", CHAT, raw=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status == 400


def events(body: bytes) -> list[dict[str, Any]]:
    """Parse a stream's events, each of which must be valid UTF-8 by itself."""
    parts = body.removesuffix(b"\n\n").split(b"\n\n")
    assert parts[-1] == b"data: [DONE]"
    return [json.loads(part.decode("utf-8", "strict").removeprefix("data: ")) for part in parts[:-1]]


def content(body: bytes) -> str:
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events(body))


def test_characters_of_several_tokens_arrive_whole(demo_path: Path) -> None:
    """The demo model has single-byte tokens for almost all characters outside ASCII."""
    texts = ["é", "naïve café", "日本語テキスト", "🙂🙃👩‍👩‍👧", "𝒳𝒴", "a\u0300e\u0301", "Ελλάδα", "✅\u0085", "\ufeffx"]
    with ServerProcess(("--grammars",)) as server:
        for text in texts:
            body = {**SMALL, "max_tokens": 200, "grammar": f"root ::= {json.dumps(text, ensure_ascii=False)}"}
            whole = server.post(CHAT, body)
            assert whole.status == 200, whole.body
            assert whole.json["choices"][0]["message"]["content"] == text
            streamed = server.post(CHAT, {**body, "stream": True}).body
            assert content(streamed) == text


def test_invalid_utf8_is_replaced(server: ServerProcess) -> None:
    """The model repeats a single-byte token."""
    pieces = server.post("/v1/tokenize", {"content": "\U0001fab6\u07ff\u4e2d", "with_pieces": True}).json["tokens"]
    broken = [piece["id"] for piece in pieces if isinstance(piece["piece"], list)]
    assert len(set(broken)) > 3
    for token in set(broken):
        body = {"prompt": "Hi", "temperature": 0, "max_tokens": 5, "logit_bias": {str(token): 100}}
        whole = server.post("/v1/completions", body)
        assert whole.status == 200, whole.body
        text = whole.json["choices"][0]["text"]
        assert "\ufffd" in text
        streamed = events(server.post("/v1/completions", {**body, "stream": True}).body)
        assert "".join(event["choices"][0]["text"] for event in streamed) == text


def test_a_client_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A response of many megabytes: a slow reader gets all of it, and a client that stops reading does not."""
    body = json.dumps({"content": "1 " * 300_000, "with_pieces": True}).encode()
    head = b"POST /v1/tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    request = head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body

    def send_request(port: int) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port), timeout=120)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(request)
        assert connection.recv(12) == b"HTTP/1.1 200"
        return connection

    def read(connection: socket.socket, at_least: int) -> int:
        size = 0
        while size < at_least and (piece := connection.recv(1 << 16)):
            size += len(piece)
        return size

    monkeypatch.setattr(http_protocol, "READ_TIMEOUT_S", 3)
    with edgefc.load("demo", n_ctx=1024) as model, serve_in_thread(model) as port:
        with send_request(port) as slow:
            whole = 0
            for _ in range(8):  # longer than READ_TIMEOUT_S
                time.sleep(0.5)
                whole += read(slow, 1 << 20)
            whole += read(slow, 1 << 30)
        assert whole > 13_000_000
        with send_request(port) as silent:
            time.sleep(8)
            with suppress(ConnectionResetError):
                assert read(silent, 1 << 30) < whole


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of address space")
def test_too_little_memory_for_another_model_fails_its_own_requests_only(demo_path: Path, large_model: Path) -> None:
    """Under `ulimit -v`, which also counts mapped files."""
    options = ("--n-ctx", "512")
    with ServerProcess(options) as alone:
        mapped = psutil.Process(alone.process.pid).memory_info().vms
    spare = RESERVED + RESERVED_PER_CORE * hardware.usable_cores() + (needed_memory(large_model, n_ctx=512) >> 1)
    command = [sys.executable, "-m", "edgefc", "serve", "demo", str(large_model), *options, "--port", "0"]
    limited = f"ulimit -v {(mapped + spare) >> 10}; exec {shlex.join(command)}"
    process = subprocess.Popen(["bash", "-c", limited], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "/v1:" in line:
                break
        server = ServerProcess()
        server.host, server.port = "127.0.0.1", int(lines[-1].split("/v1:")[0].rpartition(":")[2])
        for _ in range(2):
            large = server.post(CHAT, {**SMALL, "model": large_model.stem})
            assert large.status == 503, large.body
            assert "memory" in large.error["message"]
            with ThreadPoolExecutor(4) as pool:
                for answer in pool.map(lambda _: server.post(CHAT, {**SMALL, "model": "demo"}), range(8)):
                    assert answer.status == 200, answer.body
    finally:
        process.terminate()
        process.communicate()

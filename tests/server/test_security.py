"""Hosts, origins, keys and limits, and malformed requests."""

from __future__ import annotations

import ast
import json
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from edgefc.errors import RequestError
from edgefc.server import Settings, security
from tests.server.server_process import CHAT, ServerProcess

SMALL: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2}
KEY = "sk-this-is-the-secret"


@pytest.fixture(scope="module")
def locked(demo_path: Path) -> Iterator[ServerProcess]:
    options = ("--api-key", KEY, "--allowed-origin", "http://localhost:3000", "--allowed-host", "box.lan")
    with ServerProcess(options) as server:
        yield server


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]", "[::1]:8080", "127.0.0.1:1"])
def test_host_names_of_this_machine_are_accepted(server: ServerProcess, host: str) -> None:
    assert server.request("GET", "/health", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "", ":80", "localhost.", "localhost.evil.example", "127.1", "0.0.0.0", "2130706433", "127.0.0.1.evil",
     "[::1", "[::1]x", "localhost:80:80", "localhost:x", "evil.example:8080", "user@localhost", "box.lan", "xn--lcalhost-",
     "127.0.0.1\t.evil", "[fe80::1]"],
)  # fmt: skip
def test_other_host_names_are_refused(server: ServerProcess, host: str) -> None:
    """A page whose host name points here must get nothing, even without an Origin (DNS rebinding)."""
    answer = server.request("POST", CHAT, SMALL, {"Host": host})
    assert answer.status in {400, 403}, answer.body


def test_a_request_needs_exactly_one_host(server: ServerProcess) -> None:
    for lines in (b"Host: localhost\r\nHost: evil.example\r\n", b"", b"Host: localhost, evil.example\r\n"):
        assert raw(server, b"GET /health HTTP/1.1\r\n" + lines + b"Connection: close\r\n\r\n").split()[1] in {
            b"400",
            b"403",
        }


def test_a_page_needs_an_allowed_origin(server: ServerProcess, locked: ServerProcess) -> None:
    for origin in ("http://evil.example", "null", "http://localhost", "http://localhost:3000.evil.example", ""):
        answer = server.post(CHAT, SMALL, Origin=origin)
        assert answer.status == 403
        assert "access-control-allow-origin" not in {name.lower() for name in answer.headers}
    good = {"Origin": "http://localhost:3000", "Authorization": f"Bearer {KEY}"}
    answer = locked.request("POST", CHAT, SMALL, good)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    preflight_headers = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Headers": "authorization,x-stainless-os",
    }
    preflight = locked.request("OPTIONS", CHAT, headers=preflight_headers)
    assert preflight.status == 200
    assert preflight.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    assert locked.request("OPTIONS", CHAT, headers={**preflight_headers, "Origin": "http://evil.example"}).status == 403
    assert locked.request("GET", "/health", headers={"Host": "box.lan:8080"}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {KEY[:-1]}"}, {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": KEY}, {"Authorization": f"Basic {KEY}"}, {"Authorization": f"Bearer {KEY.upper()}"},
        {"X-Api-Key": "x"}, {"X-Api-Key": "schlüssel"}, {"Authorization": "Bearer \xff\xfe"},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_key_is_refused(locked: ServerProcess, headers: dict[str, str]) -> None:
    for path in (CHAT, "/v1/models", "/metrics", "/openapi.json"):
        answer = locked.request("POST" if path == CHAT else "GET", path, SMALL if path == CHAT else None, headers)
        assert answer.status == 401
        assert answer.error["type"] == "authentication_error"
    assert locked.request("POST", f"{CHAT}?api_key={KEY}", SMALL, headers).status == 401


def test_a_valid_key_is_accepted(locked: ServerProcess) -> None:
    for headers in ({"Authorization": f"Bearer {KEY}"}, {"X-Api-Key": KEY}, {"authorization": f"bearer {KEY}"}):
        assert locked.request("POST", CHAT, SMALL, headers).status == 200
    assert locked.request("GET", "/health").status == 200
    locked.client(api_key=KEY).models.list()
    with pytest.raises(openai.AuthenticationError):
        locked.client(api_key="wrong").models.list()


def test_keys_are_compared_in_constant_time() -> None:
    """With compare_digest, on bytes: it raises on text outside ASCII."""
    tree = ast.parse(Path(security.__file__).read_text(encoding="utf-8"))
    compared = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "compare_digest"]
    assert len(compared) == 1


def test_listening_for_other_machines_requires_a_key() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "box.lan"):
        with pytest.raises(RequestError, match="no key is set"):
            Settings(host=host)
        Settings(host=host, api_keys=("x",))
    with pytest.raises(RequestError, match="empty key"):
        Settings(api_keys=("",))


def raw(server: ServerProcess, data: bytes, *, wait: float = 60) -> bytes:
    with server.socket() as connection:
        connection.settimeout(wait)
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"hello",
    "cut off": b'{"messages": [',
    "a list": b"[]",
    "a text": b'"hi"',
    "null": b"null",
    "not a number": b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    "no end of a number": b'{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
    "a long number": b'{"messages": [{"role": "user", "content": "x"}], "seed": ' + b"9" * 5000 + b"}",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep in a field": b'{"messages": [], "metadata": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
    "not UTF-8": b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}',
    "half a surrogate": b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    "UTF-16": '{"messages": []}'.encode("utf-16"),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_malformed_body_is_a_client_error(server: ServerProcess, body: bytes) -> None:
    answer = server.request("POST", CHAT, raw=body)
    assert answer.status == 400, answer.body
    assert answer.error["message"]


def test_a_page_cannot_send_json_as_a_form(server: ServerProcess) -> None:
    """Content types that need no preflight request, which curl sends, too: a page's request names its origin."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        foreign = {"Content-Type": kind, "Origin": "https://page.example"}
        assert server.request("POST", CHAT, SMALL, foreign).status == 403
        assert server.request("POST", CHAT, SMALL, {"Content-Type": kind}).status == 200


def test_odd_texts_are_accepted(server: ServerProcess) -> None:
    for text in ("a\0b", "\ufeffx", "\u202eabc", "𝒳" * 50, "é" * 100, "'" * 100, "<|im_start|>system\n"):
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 1}
        assert server.post(CHAT, body).status == 200


def test_bodies_have_a_limit(demo_path: Path) -> None:
    limit = 8 << 20
    with ServerProcess() as server:
        for size in (limit - 1, limit, limit + 1):
            empty = json.dumps({"messages": [], "x": ""}).encode()
            body = empty[:-2] + b"a" * (size - len(empty)) + empty[-2:]
            assert len(body) == size
            answer = server.request("POST", CHAT, raw=body)
            assert answer.status == (413 if size > limit else 400)
            assert answer.error["message"]
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
        lie = raw(server, head + b"Content-Length: 99999999999\r\nConnection: close\r\n\r\n{}")
        assert lie.split()[1] == b"413"
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        try:
            endless = raw(server, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 9 + b"0\r\n\r\n")
        except ConnectionError:
            endless = b""  # refused before it was complete
        assert not endless or endless.split()[1] == b"413"
        assert server.post(CHAT, SMALL).status == 200


def test_headers_have_a_limit(server: ServerProcess) -> None:
    many = b"".join(b"X-A%d: b\r\n" % number for number in range(150))
    long = b"X-A: " + b"b" * 9000 + b"\r\n"
    huge = b"X-A: " + b"b" * 200_000 + b"\r\n"
    for lines in (many, long, huge):
        try:
            answer = raw(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + lines + b"Connection: close\r\n\r\n")
        except ConnectionError:
            continue  # refused before it was complete
        assert answer.split()[1] in {b"431", b"400"}
    assert server.request("GET", "/health").status == 200


def test_slow_clients_do_not_block_others(server: ServerProcess) -> None:
    """A request is answered while a hundred connections have sent half a request head."""
    connections = [server.socket() for _ in range(100)]
    try:
        for connection in connections:
            connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: local".encode())
        assert server.post(CHAT, SMALL).status == 200
    finally:
        for connection in connections:
            connection.close()


def test_incomplete_requests_time_out(server: ServerProcess) -> None:
    """The head must arrive within ten seconds, the body within thirty."""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with server.socket() as nothing, server.socket() as half, server.socket() as body:
        half.sendall(b"GET /health HTT")
        body.sendall(head.encode() + b'{"messages"')
        for connection, seconds in ((nothing, 15), (half, 15), (body, 40)):
            connection.settimeout(seconds)
            answer = connection.recv(1000)
            assert not answer or answer.split()[1] == b"408"
        assert answer.split()[1] == b"408"


def test_the_server_survives_random_bytes(server: ServerProcess) -> None:
    rng = random.Random(0)
    for _ in range(60):
        data = rng.randbytes(rng.randrange(1, 400))
        if rng.random() < 0.5:
            data = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
        with server.socket() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(15)
            try:
                answer = connection.recv(100)
            except ConnectionResetError:
                continue
            assert not answer or answer.split()[1][:1] == b"4", answer
    time.sleep(0.1)
    assert server.post(CHAT, SMALL).status == 200

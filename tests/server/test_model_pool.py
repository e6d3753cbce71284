"""Several models in one server: loaded on demand, and unloaded to make room."""

from __future__ import annotations

import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgefc.errors import RequestError
from edgefc.model import needed_memory
from edgefc.server import ModelPool
from tests.server.examples import ENDLESS
from tests.server.server_process import CHAT, ServerProcess, read_until

SMALL: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}


@pytest.fixture(scope="module")
def files(demo_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Copy the same model to three names."""
    folder = tmp_path_factory.mktemp("several")
    for name in ("one", "two", "three"):
        (folder / name).mkdir()
        shutil.copy(demo_path, folder / name / f"{name}.gguf")
        for other in demo_path.parent.glob("tokenizer*.json"):
            shutil.copy(other, folder / name)
    return [str(folder / name / f"{name}.gguf") for name in ("one", "two", "three")]


def gib(*paths: str) -> str:
    """Return the memory of these models together as an option, rounded up."""
    return f"{sum(needed_memory(path, n_ctx=512) for path in paths) / 2**30 + 1e-4:.6f}"


def loaded(server: ServerProcess) -> set[str]:
    return {card["id"] for card in server.request("GET", "/v1/models").json["data"] if card["meta"]["loaded"]}


def ask_model(server: ServerProcess, name: str | None) -> Any:
    answer = server.post(CHAT, SMALL if name is None else {**SMALL, "model": name})
    assert answer.status == 200, answer.body
    return answer.json["model"]


def test_models_are_loaded_on_demand(files: list[str]) -> None:
    with ServerProcess(("--n-ctx", "512"), models=(*files[:2], "demo")) as server:
        assert any("loaded on demand: two, demo" in line for line in server.lines + wait_for_lines(server))
        assert loaded(server) == {"one"}
        assert ask_model(server, None) == "one"
        assert ask_model(server, "two") == "two"
        assert loaded(server) == {"one", "two"}
        assert server.post("/v1/tokenize", {"content": "x", "model": "demo"}).json["tokens"]
        assert loaded(server) == {"one", "two", "demo"}
        assert server.metric("edgefc_models_loaded") == 3
        missing = server.post(CHAT, {**SMALL, "model": "four"})
        assert missing.status == 404
        assert missing.error["code"] == "model_not_found"
        assert missing.error["param"] == "model"
        assert all(name in missing.error["message"] for name in ("one", "two", "demo"))
        assert server.request("GET", "/v1/models/two").json["meta"]["n_ctx"] == 512
        assert server.request("GET", "/v1/models/four").status == 404


def wait_for_lines(server: ServerProcess) -> list[str]:
    ask_model(server, None)  # the lines of the start come before this response
    return server.lines


def test_the_least_recently_used_model_makes_room(files: list[str]) -> None:
    with ServerProcess(("--n-ctx", "512", "--memory", gib(*files[:2])), models=tuple(files)) as server:
        ask_model(server, "two")
        ask_model(server, "one")
        ask_model(server, "three")
        assert loaded(server) == {"one", "three"}
        ask_model(server, "two")
        assert loaded(server) == {"two", "three"}


def test_a_model_in_use_is_not_unloaded(files: list[str], tiny_model: Path) -> None:
    both = (str(tiny_model), files[0])
    limit = max(needed_memory(path, n_ctx=2048) for path in both) / 2**30 + 1e-4
    with (
        ServerProcess(("--n-ctx", "2048", "--memory", f"{limit:.6f}"), models=both) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        long = server.send_chat(ENDLESS)
        read_until(long, b"content")
        waiting = [pool.submit(ask_model, server, "one") for _ in range(3)]
        with pytest.raises(TimeoutError):
            waiting[0].result(1)
        assert loaded(server) == {tiny_model.stem}
        long.close()
        assert [answer.result(60) for answer in waiting] == ["one"] * 3
        assert loaded(server) == {"one"}


def test_a_client_that_waits_for_a_model_may_disconnect(files: list[str], tiny_model: Path) -> None:
    """Later requests for the loaded model are answered again."""
    both = (str(tiny_model), files[0])
    limit = max(needed_memory(path, n_ctx=2048) for path in both) / 2**30 + 1e-4
    with ServerProcess(("--n-ctx", "2048", "--memory", f"{limit:.6f}"), models=both) as server:
        long = server.send_chat(ENDLESS)
        read_until(long, b"content")
        disconnected = server.send_chat({**SMALL, "model": "one"})
        disconnected.close()
        long.close()
        assert ask_model(server, tiny_model.stem) == tiny_model.stem
        assert ask_model(server, "one") == "one"


def test_concurrent_requests_get_the_model_they_name(files: list[str]) -> None:
    """There is memory for one of three models: requests for another wait, but none forever."""
    names = [Path(path).stem for path in files]
    requested = random.Random(5).choices(names, k=24)
    limit = gib(files[0])
    with (
        ServerProcess(("--n-ctx", "512", "--memory", limit), models=tuple(files)) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        assert list(pool.map(lambda name: ask_model(server, name), requested)) == requested
        assert server.metric("edgefc_models_loaded") == 1


def test_a_broken_model_fails_its_own_requests_only(files: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    shutil.copy(files[0], broken)
    with ServerProcess(("--n-ctx", "512"), models=(files[0], str(broken))) as server:
        broken.write_bytes(broken.read_bytes()[:100_000])
        for _ in range(2):
            answer = server.post(CHAT, {**SMALL, "model": "broken"})
            assert answer.status == 503
            assert "broken.gguf" in answer.error["message"]
        assert ask_model(server, "one") == "one"
        shutil.copy(files[0], broken)  # repaired
        assert ask_model(server, "broken") == "broken"


def test_a_model_above_the_memory_limit_is_refused(files: list[str], large_model: Path) -> None:
    with ServerProcess(("--n-ctx", "512", "--memory", gib(files[0])), models=(files[0], str(large_model))) as server:
        answer = server.post(CHAT, {**SMALL, "model": large_model.stem})
        assert answer.status == 503
        assert "--memory" in answer.error["message"]
        assert loaded(server) == {"one"}


def test_duplicate_model_names_are_refused() -> None:
    with pytest.raises(RequestError, match="duplicate model name 'a'"):
        ModelPool(["x/a.gguf", "y/a.gguf"])

"""Several models behind one server: loaded when asked for, and unloaded for others."""

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
from tests.server.conftest import Serving
from tests.server.test_life import ENDLESS, begin, until_it_says

CHAT = "/v1/chat/completions"
SMALL: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}


@pytest.fixture(scope="module")
def files(demo_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The same model by three names."""
    folder = tmp_path_factory.mktemp("several")
    for name in ("one", "two", "three"):
        (folder / name).mkdir()
        shutil.copy(demo_path, folder / name / f"{name}.gguf")
        for other in demo_path.parent.glob("tokenizer*.json"):
            shutil.copy(other, folder / name)
    return [str(folder / name / f"{name}.gguf") for name in ("one", "two", "three")]


def gib(*paths: str) -> str:
    """What these need together, as an option; a little more, for rounding."""
    return f"{sum(needed_memory(path, n_ctx=512) for path in paths) / 2**30 + 1e-4:.6f}"


def loaded(server: Serving) -> set[str]:
    return {card["id"] for card in server.ask("GET", "/v1/models").json["data"] if card["meta"]["loaded"]}


def ask(server: Serving, name: str | None) -> Any:
    answer = server.post(CHAT, SMALL if name is None else {**SMALL, "model": name})
    assert answer.status == 200, answer.body
    return answer.json["model"]


def test_models_are_loaded_when_they_are_asked_for(files: list[str]) -> None:
    with Serving(("--n-ctx", "512"), models=(*files[:2], "demo")) as server:
        assert any("loaded on demand: two, demo" in line for line in server.lines + wait_for_lines(server))
        assert loaded(server) == {"one"}
        assert ask(server, None) == "one"
        assert ask(server, "two") == "two"
        assert loaded(server) == {"one", "two"}
        assert server.post("/v1/tokenize", {"content": "x", "model": "demo"}).json["tokens"]
        assert loaded(server) == {"one", "two", "demo"}
        assert server.metric("edgefc_models_loaded") == 3
        missing = server.post(CHAT, {**SMALL, "model": "four"})
        assert missing.status == 404
        assert missing.error["code"] == "model_not_found"
        assert missing.error["param"] == "model"
        assert all(name in missing.error["message"] for name in ("one", "two", "demo"))
        assert server.ask("GET", "/v1/models/two").json["meta"]["n_ctx"] == 512
        assert server.ask("GET", "/v1/models/four").status == 404


def wait_for_lines(server: Serving) -> list[str]:
    ask(server, None)  # what is said at the start was said before this was answered
    return server.lines


def test_the_one_not_used_for_longest_makes_room(files: list[str]) -> None:
    with Serving(("--n-ctx", "512", "--memory", gib(*files[:2])), models=tuple(files)) as server:
        ask(server, "two")
        ask(server, "one")
        ask(server, "three")
        assert loaded(server) == {"one", "three"}
        ask(server, "two")
        assert loaded(server) == {"two", "three"}


def test_a_model_that_answers_is_not_unloaded(files: list[str], tiny_qwen2: Path) -> None:
    both = (str(tiny_qwen2), files[0])
    limit = max(needed_memory(path, n_ctx=2048) for path in both) / 2**30 + 1e-4
    with Serving(("--n-ctx", "2048", "--memory", f"{limit:.6f}"), models=both) as server, ThreadPoolExecutor(8) as pool:
        long = begin(server, ENDLESS)
        until_it_says(long, b"content")
        waiting = [pool.submit(ask, server, "one") for _ in range(3)]
        with pytest.raises(TimeoutError):
            waiting[0].result(1)
        assert loaded(server) == {tiny_qwen2.stem}
        long.close()
        assert [answer.result(60) for answer in waiting] == ["one"] * 3
        assert loaded(server) == {"one"}


def test_who_waits_for_a_model_may_go(files: list[str], tiny_qwen2: Path) -> None:
    """And those who come later for the model that answers are answered again."""
    both = (str(tiny_qwen2), files[0])
    limit = max(needed_memory(path, n_ctx=2048) for path in both) / 2**30 + 1e-4
    with Serving(("--n-ctx", "2048", "--memory", f"{limit:.6f}"), models=both) as server:
        long = begin(server, ENDLESS)
        until_it_says(long, b"content")
        gone = begin(server, {**SMALL, "model": "one"})
        gone.close()
        long.close()
        assert ask(server, tiny_qwen2.stem) == tiny_qwen2.stem
        assert ask(server, "one") == "one"


def test_many_at_once_get_the_model_they_asked_for(files: list[str]) -> None:
    """With memory for one of three, whoever asks for another waits, and nobody for ever."""
    names = [Path(path).stem for path in files]
    wanted = random.Random(5).choices(names, k=24)
    limit = gib(files[0])
    with Serving(("--n-ctx", "512", "--memory", limit), models=tuple(files)) as server, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda name: ask(server, name), wanted)) == wanted
        assert server.metric("edgefc_models_loaded") == 1


def test_a_model_that_cannot_be_had_costs_its_requests_alone(files: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    shutil.copy(files[0], broken)
    with Serving(("--n-ctx", "512"), models=(files[0], str(broken))) as server:
        broken.write_bytes(broken.read_bytes()[:100_000])
        for _ in range(2):
            answer = server.post(CHAT, {**SMALL, "model": "broken"})
            assert answer.status == 503
            assert "broken.gguf" in answer.error["message"]
        assert ask(server, "one") == "one"
        shutil.copy(files[0], broken)  # mended
        assert ask(server, "broken") == "broken"


def test_a_model_above_the_limit_is_refused(files: list[str], tiny_qwen2: Path) -> None:
    with Serving(("--n-ctx", "512", "--memory", gib(files[0])), models=(files[0], str(tiny_qwen2))) as server:
        answer = server.post(CHAT, {**SMALL, "model": tiny_qwen2.stem})
        assert answer.status == 503
        assert "--memory" in answer.error["message"]
        assert loaded(server) == {"one"}


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(RequestError, match="duplicate model name 'a'"):
        ModelPool(["x/a.gguf", "y/a.gguf"])

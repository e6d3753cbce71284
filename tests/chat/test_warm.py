"""A tool set's part of the prompt is computed once for this machine."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgefc
from edgefc import paths
from edgefc.errors import ContextOverflowError, RequestError
from edgefc.tools.examples import EXAMPLE_TOOLS

QUESTION: Any = [{"role": "user", "content": "What is the weather in Oslo?"}]
ASK = """
import json, sys, edgefc
from edgefc.tools.examples import EXAMPLE_TOOLS
with edgefc.load("demo") as model:
    reply = model.chat(json.loads(sys.argv[1]), tools=EXAMPLE_TOOLS)
    print(json.dumps([reply.message["tool_calls"][0]["function"], reply.stats.cached_tokens, reply.stats.cached_from]))
"""


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEFC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_another_process_begins_where_the_tools_end(empty_cache: Path) -> None:
    with edgefc.load("demo") as model:
        done = model.warm(tools=EXAMPLE_TOOLS)
        told = model.chat(QUESTION, tools=EXAMPLE_TOOLS)
        prefix = model._parts.own.head([], [tool.schema for tool in EXAMPLE_TOOLS])
    assert done.cached_tokens == 0
    assert done.tokens == len(prefix) > 100
    assert told.stats.cached_tokens == done.tokens
    assert [path.parent for path in done.files] == [empty_cache / "prefixes"]
    assert done.bytes == done.files[0].stat().st_size > 1000 * done.tokens
    if os.name == "posix":
        assert stat.S_IMODE(done.files[0].stat().st_mode) == 0o600
        assert stat.S_IMODE(done.files[0].parent.stat().st_mode) == 0o700

    child = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(QUESTION)], capture_output=True, text=True, timeout=120, check=True
    )
    function, cached, source = json.loads(child.stdout)
    assert (cached, source) == (done.tokens, "disk")
    assert function == told.message["tool_calls"][0]["function"]


def test_warming_again_finds_what_is_there() -> None:
    for already_there in (False, True):
        with edgefc.load("demo") as model:
            first = model.warm(tools=EXAMPLE_TOOLS)
            second = model.warm(tools=EXAMPLE_TOOLS)
        assert first.cached_tokens == (first.tokens if already_there else 0)
        assert second.cached_tokens == second.tokens == first.tokens
        assert first.files == second.files
        assert len(first.files) == 1


def test_system_message_tools_and_choice_decide_what_is_shared() -> None:
    with edgefc.load("demo") as model:
        plain = model.warm(tools=EXAMPLE_TOOLS)
        told = model.warm(tools=EXAMPLE_TOOLS, system="You are the captain of a small ship.")
        fewer = model.warm(tools=EXAMPLE_TOOLS[:2], tool_choice="required")
        assert told.tokens > plain.tokens > fewer.tokens
        assert len(fewer.files) == 3
        system: Any = {"role": "system", "content": "You are the captain of a small ship."}
        reply = model.chat([system, *QUESTION], tools=EXAMPLE_TOOLS, max_tokens=4)
        assert reply.stats.cached_tokens == told.tokens
        with pytest.raises(RequestError, match="unknown tool"):
            model.warm(tools=EXAMPLE_TOOLS, tool_choice={"type": "function", "function": {"name": "nothing"}})


def test_nothing_is_kept_where_nothing_shall_be_or_it_is_not_worth_it(empty_cache: Path) -> None:
    with edgefc.load("demo", prefix_disk=0) as model:
        done = model.warm(tools=EXAMPLE_TOOLS)
        assert (done.files, done.bytes) == ((), 0)
        assert model.chat(QUESTION, tools=EXAMPLE_TOOLS, max_tokens=2).stats.cached_tokens == done.tokens
    with edgefc.load("demo") as model:
        assert model.warm(tools=[]).files == ()
    assert not list(empty_cache.glob("prefixes/*"))


def test_tools_that_do_not_fit_into_the_context_say_so() -> None:
    with (
        edgefc.load("demo", n_ctx=128) as model,
        pytest.raises(ContextOverflowError, match="the context holds only 128"),
    ):
        model.warm(tools=EXAMPLE_TOOLS)


def test_a_model_whose_prompts_share_nothing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with edgefc.load("demo") as model:
        monkeypatch.setattr("edgefc.chat.prompt_parts.PROBES", ("same", "same"))
        with pytest.raises(RequestError, match="share no prefix"):
            model.warm(tools=EXAMPLE_TOOLS)


def test_a_chat_is_right_when_the_file_is_gone_or_damaged(empty_cache: Path) -> None:
    with edgefc.load("demo") as model:
        path = model.warm(tools=EXAMPLE_TOOLS).files[0]
        wanted = model.chat(QUESTION, tools=EXAMPLE_TOOLS).message["tool_calls"][0]["function"]
    path.write_bytes(path.read_bytes()[:-100] + bytes(100))
    with edgefc.load("demo") as model:
        reply = model.chat(QUESTION, tools=EXAMPLE_TOOLS)
    assert reply.stats.cached_tokens == 0
    assert reply.message["tool_calls"][0]["function"] == wanted
    assert paths.cache_dir() == empty_cache

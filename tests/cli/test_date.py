"""`--date`: models do not know which day it is, so the last line of the system message says so."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Edgefc


def lines_of_today() -> set[str]:
    """The line as it is now, and as it was a minute ago."""
    now = dt.datetime.now().astimezone()
    return {f"Today is {day:%A}, {day:%Y-%m-%d}." for day in (now, now - dt.timedelta(minutes=1))}


def test_the_date_ends_the_system_message(edgefc: Edgefc) -> None:
    for words, before in (((), ""), (("--system", "Be brief."), "Be brief.\n\n")):
        done = edgefc("run", "Hello!", "--no-tools", "--date", *words, "--json")
        message = json.loads(done.stdout)["messages"][0]
        assert message["role"] == "system"
        assert message["content"] in {before + line for line in lines_of_today()}
    assert not any(line in edgefc("render", "Hello!").stdout for line in lines_of_today())
    assert any(line in edgefc("render", "Hello!", "--date").stdout for line in lines_of_today())


def test_a_tool_with_a_date_is_enough(edgefc: Edgefc, tmp_path: Path) -> None:
    for name, form in (("day", "date"), ("moment", "date-time"), ("text", "uri")):
        field = {"type": "string", "format": form}
        tool = {"name": "list_events", "parameters": {"type": "object", "properties": {"when": field}}}
        (tmp_path / f"{name}.json").write_text(json.dumps([tool]), encoding="utf-8")
    for name, words, is_told in (
        ("day", (), True),
        ("moment", (), True),
        ("text", (), False),
        ("day", ("--no-date",), False),
        ("day", ("--no-tools",), False),
    ):
        prompt = edgefc("render", "What is on today?", "--tools", f"{name}.json", *words).stdout
        assert any(line in prompt for line in lines_of_today()) == is_told, (name, words)
    (tmp_path / "said.json").write_text(json.dumps([{"role": "user", "content": "Hello!"}]), encoding="utf-8")
    prompt = edgefc("render", "--messages", "said.json", "--tools", "day.json").stdout
    assert not any(line in prompt for line in lines_of_today()), "a file has its own system message, or none"


def test_the_date_can_be_a_setting(edgefc: Edgefc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFC_CONFIG_DIR", str(tmp_path / "config"))
    assert edgefc("config", "set", "date", "true").returncode == 0
    assert any(line in edgefc("render", "Hello!").stdout for line in lines_of_today())
    assert not any(line in edgefc("render", "Hello!", "--no-date").stdout for line in lines_of_today())


def test_a_chat_keeps_the_date_with_another_system_message(edgefc: Edgefc, tmp_path: Path) -> None:
    done = edgefc("chat", "--no-tools", "--date", stdin="/system Be brief.\nHello!\n/save said.json\n")
    assert done.returncode == 0, done.stderr
    first = json.loads((tmp_path / "said.json").read_text(encoding="utf-8"))[0]
    assert first["content"] in {f"Be brief.\n\n{line}" for line in lines_of_today()}


def test_a_prompt_with_the_date_can_be_prepared(edgefc: Edgefc) -> None:
    tokens = json.loads(edgefc("warm", "--date", "--json").stdout)["tokens"]
    reply = json.loads(edgefc("call", "What is the weather in Paris?", "--date", "--json").stdout)
    assert (reply["stats"]["cached_from"], reply["stats"]["cached_tokens"]) == ("disk", tokens)

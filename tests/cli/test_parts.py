"""The parts of the command line that need no model: words, stdin, configuration, wrapping, partial JSON."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgefc.cli import choice, config, running_servers
from edgefc.cli.chat_input import is_open, unquoted
from edgefc.cli.conversation import drop_oldest, stop_answer
from edgefc.cli.live import Progress
from edgefc.cli.partial_json import open_path
from edgefc.cli.serve_config import parse_duration
from edgefc.errors import EdgefcError, RequestError
from edgefc.terminal import WordWrap, accept_all_characters
from edgefc.types import Message


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ()),
        ("{", ()),
        ('{"city', ()),
        ('{"city"', ("city",)),
        ('{"city": "Par', ("city",)),
        ('{"a": 1, "items": [{"sku": "x"}, {"sku": "y', ("items", 1, "sku")),
        ('{"a": {"b": [1, 2], "c": "}]', ("a", "c")),
        ('{"a": "\\\\"}', None),
        ('{"a": "\\\\\\"}', ("a",)),
        ("{}", None),
    ],
)
def test_the_location_at_which_json_breaks_off(text: str, path: tuple[str | int, ...] | None) -> None:
    assert open_path(text) == path


def test_the_line_names_tool_and_argument_and_fits() -> None:
    progress = Progress()
    assert "reading the prompt" in progress.describe(60)
    progress.add({"tool_calls": [{"index": 0, "function": {"name": "create_order", "arguments": '{"items": [{"sku'}}]})
    progress.add({"tool_calls": [{"index": 0, "function": {"arguments": '": "' + "x" * 500}}]})
    assert progress.open_location == "create_order.items[0].sku"
    line = progress.describe(70)
    assert "create_order.items[0].sku" in line
    assert len(line) <= 70


def test_words_are_not_cut_in_two() -> None:
    wrap = WordWrap(12)
    text = "".join(map(wrap.feed, ["one two", " thr", "ee fou", "r 五六七八九 end", "\nnew line"])) + wrap.flush()
    assert text == "one two\nthree four\n五六七八九\nend\nnew line"
    assert WordWrap(0).feed("as it is ") == "as it is "


def test_a_console_without_unicode_gets_the_nearest_text() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252")
    accept_all_characters(stream)
    stream.write("→ Paris … 日本 é")
    stream.flush()
    assert raw.getvalue().decode("cp1252") == "-> Paris … ?? é"


def test_quotes_hold_several_lines() -> None:
    assert is_open('"""one')
    assert is_open('"""')
    assert not is_open('"""one\ntwo"""')
    assert unquoted(' """one\ntwo""" ') == "one\ntwo"
    assert unquoted("plain") == "plain"


TALK: list[Message] = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "1"},
    {"role": "assistant", "content": "one"},
    {"role": "user", "content": "2"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "3"},
]


def test_the_oldest_turns_go_and_the_system_message_stays() -> None:
    shorter, dropped = drop_oldest(TALK, len, 4)
    assert (dropped, [m["content"] for m in shorter]) == (1, ["s", "2", "two", "3"])
    assert drop_oldest(TALK, len, 0)[0] == [TALK[0], TALK[5]], "the last turn stays"
    assert drop_oldest(TALK, len, 0, at_most=1)[1] == 1


def test_a_stopped_answer_leaves_a_valid_conversation() -> None:
    talk: list[Message] = [TALK[1]]
    assert not stop_answer(talk, " ", 1)
    assert talk == [TALK[1]]
    assert stop_answer(talk, "One is", 1)
    assert talk[-1] == {"role": "assistant", "content": "One is"}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    talk = [TALK[1], {"role": "assistant", "content": None, "tool_calls": [call]}]  # type: ignore[list-item]
    assert stop_answer(talk, "", 1)
    assert [message["role"] for message in talk] == ["user", "assistant", "tool", "assistant"]


def test_durations() -> None:
    assert [parse_duration(text) for text in ("90", "90s", "1.5m", "1h", "never", "-1")] == [
        90,
        90,
        90,
        3600,
        None,
        None,
    ]
    with pytest.raises(RequestError, match="invalid duration"):
        parse_duration("soon")


# -- model and question -------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder of the test's own."""
    monkeypatch.setenv("EDGEFC_CONFIG_DIR", str(tmp_path))
    monkeypatch.delenv("EDGEFC_MODEL", raising=False)
    return tmp_path / "config.toml"


@contextmanager
def stdin(path: Path, text: str) -> Iterator[None]:
    path.write_text(text, encoding="utf-8")
    with path.open(encoding="utf-8") as file, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "stdin", file)
        yield


@pytest.mark.parametrize(
    ("words", "option", "piped", "expected"),
    [
        (["Hi there"], None, "", ("demo", "Hi there")),
        (["Hi there"], "demo", "", ("demo", "Hi there")),
        (["demo", "Hi"], None, "", ("demo", "Hi")),
        (["-"], None, "from a pipe\n", ("demo", "from a pipe")),
        ([], None, "from a pipe\n", ("demo", "from a pipe")),
        (["demo"], None, "from a pipe\n", ("demo", "from a pipe")),
        (["demo", "-"], None, "from a pipe\n", ("demo", "from a pipe")),
        (["Explain this:"], None, "a\nb\n", ("demo", "Explain this:\n\na\nb")),
        (["demo", "Explain:"], None, "a", ("demo", "Explain:\n\na")),
    ],
)
def test_model_and_question(
    settings: Path, tmp_path: Path,
    words: list[str], option: str | None, piped: str, expected: tuple[str, str],
) -> None:  # fmt: skip
    with stdin(tmp_path / "stdin", piped):
        assert choice.model_and_question(words, option) == expected


@pytest.mark.parametrize(
    ("words", "option", "reason"),
    [
        ([""], None, "is empty"),
        (["  "], None, "is empty"),
        (["-"], None, "is empty"),
        ([], None, "is empty"),
        (["Hello", "world"], None, 'quote it: "Hello world"'),
        (["a", "b", "c"], None, 'Quote the question: "a b c"'),
        (["demo", "Hi"], "demo", "Quote"),
    ],
)
def test_unclear_words_and_empty_questions_are_refused(
    settings: Path, tmp_path: Path, words: list[str], option: str | None, reason: str
) -> None:
    with stdin(tmp_path / "stdin", ""), pytest.raises(EdgefcError) as caught:
        choice.model_and_question(words, option)
    assert reason in str(caught.value)


def test_the_default_model_and_its_precedence(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice.chosen_model(None, None) == "demo"
    config.set_value("model", "mine.gguf")
    assert choice.chosen_model(None, None) == "mine.gguf"
    monkeypatch.setenv("EDGEFC_MODEL", "theirs.gguf")
    assert choice.chosen_model(None, None) == "theirs.gguf"
    assert choice.chosen_model("a", None) == choice.chosen_model(None, "a") == choice.chosen_model("a", "a") == "a"
    with pytest.raises(RequestError, match="named twice"):
        choice.chosen_model("a", "b")


def test_the_configuration_keeps_comments_and_checks_values(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings.write_text("# mine\nmax-tokens = 5  # few\n\n[table]\nx = 1\n", encoding="utf-8")
    config.set_value("temperature", "0.5")
    config.set_value("max_tokens", "7")
    config.set_value("history", "false")
    expected = "# mine\nmax_tokens = 7\n\ntemperature = 0.5\nhistory = false\n[table]\nx = 1\n"
    assert settings.read_text(encoding="utf-8") == expected
    assert config.read() == {"temperature": 0.5, "max_tokens": 7, "history": False}
    assert config.defaults() == {"temperature": 0.5, "max_tokens": 7, "no_history": True}
    config.unset("history")
    assert "history" not in config.read()
    for key, value in (("temperatur", "1"), ("max_tokens", "many"), ("n_ctx", "1.5")):
        with pytest.raises(RequestError):
            config.set_value(key, value)
    settings.write_text("max_tokens = ", encoding="utf-8")
    with pytest.raises(RequestError, match=r"config\.toml"):
        config.read()


# -- running servers ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_running_server_is_found_while_it_runs_and_only_by_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFC_STATE_DIR", str(tmp_path))
    model = tmp_path / "a.gguf"
    with running_servers.announced("http://127.0.0.1:1", {str(model): "a"}):
        found = running_servers.find(model)
        assert found is not None
        assert found.pid == os.getpid()
        assert running_servers.find(tmp_path / "b.gguf") is None
        (path,) = running_servers.folder().iterdir()
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        text = path.read_text(encoding="utf-8")
    assert running_servers.find(model) is None
    for change in ({"started": 1.0}, {"url": "http://example.org:80"}, {"pid": 1 << 30}):
        path.write_text(json.dumps({**json.loads(text), **change}), encoding="utf-8")
        path.chmod(0o600)
        assert running_servers.find(model) is None, change
    path.write_text(text, encoding="utf-8")
    path.chmod(0o666)
    assert running_servers.find(model) is None, "others could have written it"

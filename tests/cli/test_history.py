"""The lines that `edgefc chat` stores: few, short, and for nobody else."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from edgefc.cli.history import LONGEST_LINE, MAX_BYTES, MAX_LINES, ChatHistory
from tests.cli.conftest import Terminal


def lines(path: Path) -> list[str]:
    """The stored lines, the oldest first."""
    return list(ChatHistory(path).load_history_strings())[::-1]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_lines_are_stored_for_their_author_alone(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "chat-history"
    history = ChatHistory(path)
    for line in ("first", " secret", "x" * (LONGEST_LINE + 1), "a\nb", "\x1b[2J", "möglich 日本", "last"):
        history.store_string(line)
    assert lines(path) == ["first", "möglich 日本", "last"]
    assert mode(path) == 0o600


def test_the_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "chat-history"
    path.write_text("".join(f"\n# 2026-11-28\n+{number}\n" for number in range(3 * MAX_LINES)), encoding="utf-8")
    path.chmod(0o644)  # as older versions wrote it
    assert lines(path) == [str(number) for number in range(2 * MAX_LINES, 3 * MAX_LINES)]
    assert mode(path) == 0o600
    ChatHistory(path).store_string("new")
    assert lines(path)[-1] == "new"
    assert len(path.read_text(encoding="utf-8").splitlines()) == MAX_LINES


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")
def test_an_odd_file_ends_the_history_alone(tmp_path: Path) -> None:
    pipe, huge, folder = tmp_path / "pipe", tmp_path / "huge", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for path in (pipe, huge, folder, tmp_path / "missing", Path("/dev/zero")):
        assert lines(path) == []
    ChatHistory(folder).store_string("text")
    assert folder.is_dir()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
def test_a_chat_can_leave_no_history(tmp_path: Path) -> None:
    path = tmp_path / "chat-history"
    for options, stored in ((["--no-history"], []), ([], ["/help", "/exit"])):
        with Terminal("chat", *options, env={**os.environ, "EDGEFC_CACHE_DIR": str(tmp_path)}) as terminal:
            terminal.wait_for("> ")
            terminal.type("/help")
            terminal.wait_for("/exit ")
            terminal.wait_for("> ")
            terminal.type("/exit")
            assert terminal.process.wait(30) == 0
        assert lines(path) == stored

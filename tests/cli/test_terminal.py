"""A chat as a person has it, in a terminal that tmux draws: interrupts, approvals, several lines, a full context."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")

TOOL = '''
import pathlib, time

def get_weather(location: str) -> str:
    """Get the current weather for a city"""
    with pathlib.Path("ran").open("a") as file:
        file.write(f"{location}\\n")
    if pathlib.Path("slow").exists():
        time.sleep(600)
    return "sunny"
'''


class Screen:
    """A terminal of tmux with a shell command in it."""

    def __init__(self, folder: Path, *words: str, width: int = 100) -> None:
        self._socket = folder / "tmux"
        # Without a width that this process has set, the program takes the terminal's.
        own = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        self._environment = {**own, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        # Its own server, in the foreground: where there is no /dev, it cannot become a daemon.
        settings = folder / "tmux.conf"
        settings.touch()
        self._server = subprocess.Popen(
            ["tmux", "-D", "-S", str(self._socket), "-f", str(settings)], env=self._environment
        )
        while not self._socket.exists():
            assert self._server.poll() is None, "tmux does not start"
            time.sleep(0.02)
        command = shlex.join([sys.executable, "-m", "edgefc", *words])
        self._tmux("new-session", "-d", "-x", str(width), "-y", "50", "-c", str(folder),
                   f"{command}; echo ended $?; sleep 600")  # fmt: skip
        self._tmux("set-option", "-g", "history-limit", "5000")

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *words], capture_output=True, text=True, check=True, timeout=60,
            env=self._environment,
        )  # fmt: skip
        return done.stdout

    @property
    def text(self) -> str:
        return self._tmux("capture-pane", "-p", "-S", "-1000")

    def wait_for(self, text: str, count: int = 1) -> str:
        """Wait until a text stands on the screen so many times, and return the screen."""
        for _ in range(1200):
            if (screen := self.text).count(text) >= count:
                return screen
            assert "ended " not in screen, screen
            time.sleep(0.1)
        raise AssertionError(f"{text!r} did not come:\n{self.text}")

    def wait_for_prompt(self) -> None:
        """Wait until the last line is an empty prompt."""
        for _ in range(1200):
            lines = self.text.rstrip().splitlines()
            if lines and lines[-1].rstrip() == ">":
                return
            assert "ended " not in self.text, self.text
            time.sleep(0.1)
        raise AssertionError(self.text)

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)
        self.press("Enter")

    def clear(self) -> None:
        """Forget what stands on the screen."""
        self._tmux("send-keys", "-R")
        self._tmux("clear-history")

    def close(self) -> None:
        self._tmux("kill-server")
        self._server.wait(60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(TOOL, encoding="utf-8")
    return tmp_path


@pytest.fixture
def chat(folder: Path) -> Iterator[Screen]:
    screen = Screen(folder, "chat", "--tools", "mine.py")
    try:
        screen.wait_for_prompt()
        yield screen
    finally:
        screen.close()


def test_interrupts_and_approvals_lose_nothing(chat: Screen, folder: Path) -> None:
    chat.press("C-c")
    chat.wait_for("press Ctrl-D or type /exit")
    chat.type("What is the weather in Oslo?")
    chat.wait_for("[y]es, [a]lways get_weather, [N]o:")
    chat.press("C-d")  # the end of the input is no
    chat.wait_for("not run")
    chat.wait_for_prompt()
    chat.type("What is the weather in Paris?")
    chat.wait_for("[N]o:", 2)
    chat.press("C-c")
    chat.wait_for("(stopped")
    assert not (folder / "ran").exists()
    chat.type("What is the weather in Rome?")
    chat.wait_for("[N]o:", 3)
    chat.type("always")
    chat.wait_for("← sunny")
    chat.type("/retry")
    chat.wait_for("← sunny", 2)
    assert (folder / "ran").read_text(encoding="utf-8").split() == ["Rome", "Rome"]
    (folder / "slow").touch()
    chat.type("What is the weather in Lima?")
    chat.wait_for("Lima", 2)
    while "Lima" not in (folder / "ran").read_text(encoding="utf-8"):
        time.sleep(0.05)
    chat.press("C-c")
    chat.wait_for("(stopped", 2)
    chat.type("/save talk.json")
    chat.wait_for("saved")
    talk = json.loads((folder / "talk.json").read_text(encoding="utf-8"))
    assert [m["content"] for m in talk if m["role"] == "user"][-1] == "What is the weather in Lima?"
    assert json.loads([m for m in talk if m["role"] == "tool"][-1]["content"]) == {"error": "stopped by the user"}
    chat.press("C-d")
    chat.wait_for("ended 0")


def test_lines_commands_and_files(chat: Screen, folder: Path) -> None:
    chat.press("-l", "one")
    chat.press("C-j")
    chat.press("-l", "two")
    chat.press("M-Enter")
    chat.type("three")
    chat.wait_for_prompt()
    chat.type('"""four')
    chat.type('five"""')
    chat.wait_for("five")
    chat.wait_for_prompt()
    chat.press("-l", "/sa")
    chat.press("Tab")
    chat.wait_for("/save")
    chat.type(" talk.json")
    chat.wait_for("saved")
    talk = json.loads((folder / "talk.json").read_text(encoding="utf-8"))
    assert [m["content"] for m in talk if m["role"] == "user"] == ["one\ntwo\nthree", "four\nfive"]
    chat.type("/save talk.json")
    chat.wait_for("Overwrite it?")
    chat.type("n")
    chat.wait_for("was not changed")
    chat.type("/reset")
    chat.wait_for("started over")
    chat.type("/undo")
    chat.wait_for("took the last change back: 4 messages")
    chat.type("/load talk.json")
    chat.wait_for("loaded 4 messages")
    chat.type("/tokens")
    chat.wait_for("of 2,048 tokens, 2 turns")
    chat.type("/set max_tokens 1")
    chat.type("Hello")
    chat.wait_for("cut off after 1 token")
    chat.type("/exit")
    chat.wait_for("ended 0")


def test_a_full_context_offers_to_drop_the_oldest_turns(folder: Path) -> None:
    long = " ".join(f"word{number}" for number in range(40))
    talk = [
        message
        for number in range(30)
        for message in (
            {"role": "user", "content": f"{number} {long}"},
            {"role": "assistant", "content": "Yes."},
        )
    ]
    (folder / "long.json").write_text(json.dumps(talk), encoding="utf-8")
    screen = Screen(folder, "chat", "--no-tools", width=50)
    try:
        screen.wait_for_prompt()
        screen.type("/load long.json")
        screen.wait_for("loaded 60 messages")
        screen.type("Hello, who are you?")
        screen.wait_for("no longer fits")
        screen.wait_for("oldest turns?")
        screen.type("y")
        screen.wait_for_prompt()
        screen.clear()
        screen.type("/tokens")
        shown = screen.wait_for(" tokens, ")
        assert int(shown.split(" of 2,048")[0].split()[-1].replace(",", "")) < 2048
        screen.type("/help")
        shown = screen.wait_for("an answer.")
        assert max(map(len, shown.splitlines())) <= 50
        assert "show what the last answer" in " ".join(shown.split()), "no word is cut in two"
    finally:
        screen.close()

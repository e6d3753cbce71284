"""What a tool prints or does leaves the program's own output alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Edgefc

QUESTION = ("run", "What is the weather in Oslo?", "--tools", "mine.py", "--yes")
NOISY = """
import os, subprocess, sys
print("imported \\x1b[2J")
def get_weather(location: str) -> str:
    \"\"\"Get the current weather for a city\"\"\"
    print("printed")
    sys.stdout.buffer.write(b"bytes\\n")
    sys.stdout.flush()
    os.write(1, b"written\\n")
    subprocess.run([sys.executable, "-c", "print('child')"])
    return "sunny"
"""


def write_tool(folder: Path, body: str) -> None:
    header = 'import sys, time\ndef get_weather(location: str):\n    """Get the current weather for a city"""\n    '
    (folder / "mine.py").write_text(header + body, encoding="utf-8")


def test_what_a_tool_prints_goes_to_stderr(edgefc: Edgefc, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NOISY, encoding="utf-8")
    done = edgefc(*QUESTION, "--json")
    assert done.returncode == 0, done.stderr
    messages = json.loads(done.stdout)["messages"]
    assert messages[2]["content"] == "sunny"
    assert all(text in done.stderr for text in ("imported \\x1b[2J", "printed", "bytes", "written", "child"))
    for words in (("call", "hi"), ("render", "hi", "--ids")):
        assert json.loads(edgefc(*words, "--tools", "mine.py").stdout)
    assert json.loads(edgefc("lint", "mine.py", "--json").stdout)["ok"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(5)", "SystemExit: 5"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("return float('nan')", "not JSON"),
        ("return 'x' * 50_000_000", "50,000,000 characters"),
        ("return 'word ' * 50_000", "too long for the context: 250,000 characters"),
        ("while True: pass", "no result within 1 s"),
    ],
)
def test_a_tools_fault_is_an_error_result_and_the_run_goes_on(
    edgefc: Edgefc, tmp_path: Path, body: str, reason: str
) -> None:
    write_tool(tmp_path, body)
    done = edgefc(*QUESTION, "--json", "--tool-timeout", "1")
    reply = json.loads(done.stdout)
    assert done.returncode == int(reply["is_cut"]), done.stderr  # the demo model's last answer may repeat itself
    assert reason in json.loads(reply["messages"][2]["content"])["error"]
    assert reply["message"]["role"] == "assistant"

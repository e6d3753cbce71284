"""No text from a file, a tool or a model controls the terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from edgefc.terminal import escape_json, printable, single_line
from tests.cli.conftest import Edgefc, Terminal
from tests.model_files import write_model

# A title, a cleared screen, a link, an 8-bit sequence, a reordered line, a hidden tag, half of a character, a fake line.
ATTACKS = ["\x1b]0;PWNED\x07", "\x1b[2J", "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "\x9b2J",
           "abc\u202edcba", "\U000e0041", "\ud800", "\rerror: fake", "\x08\x7f", "\u2028", "[link=http://e]x[/link]"]  # fmt: skip
ATTACK = "".join(ATTACKS).replace("\ud800", "")
FAKE_LINE = "nice\nlicence        MIT (a line that the file wrote)"
TOOLS = f'''
def get_weather(location: str) -> str:
    """Get the current weather for a city {ATTACK!r}"""
    return {ATTACK + FAKE_LINE!r}
'''


def unsafe(text: str) -> str:
    """The characters that no terminal should get."""
    return "".join(
        char
        for char in text
        if char not in "\t\n\u200c\u200d" and unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl"}
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_control_characters_become_visible(attack: str) -> None:
    assert not unsafe(printable(attack))
    assert not unsafe(single_line(attack))
    document = json.dumps({attack: attack}, ensure_ascii=False)
    assert not unsafe(escape_json(document))
    assert json.loads(escape_json(document)) == {attack: attack}, "the values are the same"


@pytest.mark.parametrize("text", ["naïve 日本語 👩‍👩‍👧 می‌خواهم", "a\tb\nc", "\u0627\u0644\u0633\u0644\u0627\u0645"])
def test_ordinary_text_stays(text: str) -> None:
    assert printable(text) == text
    assert escape_json(text) == text


def test_a_single_line_is_one_line() -> None:
    assert single_line("a\nb" + " " * 100 + "c\td") == "a\\nb c d"
    assert single_line("a" * 50, limit=10) == "a" * 10 + "…"


@pytest.fixture(scope="module")
def hostile_model(small_vocab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "[red]m.gguf"
    return write_model(small_vocab, path, metadata={"general.name": ATTACK + FAKE_LINE, "general.license": ATTACK})


def test_metadata_is_printed_without_control_characters(edgefc: Edgefc, hostile_model: Path) -> None:
    done = edgefc("show", str(hostile_model))
    assert done.returncode == 0, done.stderr
    assert not unsafe(done.stdout + done.stderr)
    assert "\\x1b]0;PWNED" in done.stdout
    assert "[link=http://e]x[/link]" in done.stdout
    assert sum(line.startswith("licence ") for line in done.stdout.splitlines()) == 1
    as_json = edgefc("show", str(hostile_model), "--json")
    assert not unsafe(as_json.stdout)
    assert json.loads(as_json.stdout)["licence"] == ATTACK
    verbose = edgefc("-v", "render", "hi", "--ids", "--no-tools", "-m", str(hostile_model))
    assert "PWNED" in verbose.stderr, "llama.cpp prints the metadata"
    assert not unsafe(verbose.stderr)


def test_results_and_descriptions_are_printed_without_control_characters(edgefc: Edgefc, tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(TOOLS, encoding="utf-8")
    done = edgefc("run", "What is the weather in Paris?", "--tools", "t.py", "--yes", "--max-tokens", "100")
    assert done.returncode == int("cut off" in done.stderr), done.stderr
    assert "← \\x1b]0;PWNED" in done.stdout
    listed = edgefc("chat", "--tools", "t.py", stdin="/tools\n/nonsense\x1b[2J\n/exit\n")
    assert "a city" in listed.stdout
    schema = [{"type": "function", "function": {"name": ATTACK, "parameters": {"properties": {ATTACK: {"type": 5}}}}}]
    (tmp_path / "t.json").write_text(json.dumps(schema), encoding="utf-8")
    linted = edgefc("lint", "t.json")
    refused = edgefc("call", "hi", "--tools", "t.json")
    for one in (done, listed, linted, refused):
        assert not unsafe(one.stdout + one.stderr)
        assert "licence  " not in one.stdout


PROGRAM = """
import logging, sys, threading
from rich.text import Text
from edgefc.cli import app, console
from edgefc.cli.live import AnswerView
from edgefc.errors import ModelFileError
from edgefc.terminal import send_logs_to_stderr
from rich.progress import Progress, TextColumn
attack = {attack!r}
console.guard_stderr()
send_logs_to_stderr()
view = AnswerView()
view.on_delta({{"content": attack}})
view.end_line()
console.print_call(attack, {{attack: {{attack: attack}}}})
console.print_result("f", {{}}, attack)
console.print_table([("name", "size"), (attack, "1")])
console.print_error(ModelFileError(attack, attack))
console.print_json_line({{attack: attack}})
console.err.print(Text(attack, style="red"))
with console.err.status(Text(attack)): pass
with Progress(TextColumn("{{task.description}}", markup=False), console=console.err) as progress:
    progress.add_task(attack)
try:
    raise ValueError("x\\nedgefc: fake record " + attack)
except ValueError:
    logging.getLogger("edgefc.x").exception("failed: %s", attack)
    logging.getLogger("another.library").warning(attack)
print(attack, file=sys.stderr)
thread = threading.Thread(target=lambda: 1 / int(attack))
thread.start()
thread.join()
app.app = lambda **_: int(attack)
app.main()
"""


def test_whatever_is_printed_has_no_control_characters() -> None:
    """By every function of the console, the logs, other libraries, and a bug's traceback."""
    code = PROGRAM.format(attack=ATTACK.replace("\x00", ""))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert not unsafe(done.stdout + done.stderr)
    assert done.stdout.count("PWNED") == 9
    assert "another.library: \\x1b]0;PWNED" in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("edgefc: fake")]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
def test_a_prompt_is_exact_in_a_file_and_printable_on_a_terminal(edgefc: Edgefc) -> None:
    question = "hello \x1b]0;PWNED"
    assert question in edgefc("render", question, "--no-tools").stdout
    with Terminal("render", question, "--no-tools") as terminal:
        terminal.wait_for("hello \\x1b]0;PWNED")

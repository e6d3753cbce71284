"""The command line, as a user's shell starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Edgefc, Terminal


def test_two_cities_are_two_calls(edgefc: Edgefc) -> None:
    done = edgefc("call", "What is the weather in Paris and in Oslo?")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        {"name": "get_weather", "arguments": {"location": "Paris"}},
        {"name": "get_weather", "arguments": {"location": "Oslo"}},
    ]


def test_a_better_model_is_named_once(edgefc: Edgefc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFC_STATE_DIR", str(tmp_path))
    told = [edgefc("render", "Hello").stderr for _ in range(2)]
    assert ["edgefc pull edgefc-mini" in text for text in told] == [True, False]


def test_a_missing_argument_is_asked_for(edgefc: Edgefc) -> None:
    done = edgefc("call", "What's the weather like?")
    assert done.returncode == 3, "there is no call"
    reply = json.loads(done.stdout)
    assert (reply["outcome"], reply["missing"]) == ("clarify", ["get_weather"])
    assert "city" in reply["content"]


def test_run_answers_from_the_result(edgefc: Edgefc) -> None:
    done = edgefc("run", "What's 17*23?")
    assert done.returncode == 0, done.stderr
    assert 'calculate(expression="17*23")' in done.stdout
    assert "391" in done.stdout.splitlines()[-1]


def test_a_named_choice_is_obeyed_whatever_was_asked(edgefc: Edgefc) -> None:
    done = edgefc("call", "hello", "--tool-choice", "roll_dice", "--no-parallel")
    assert [call["name"] for call in json.loads(done.stdout)] == ["roll_dice"]


def test_stream_prints_deltas_that_concatenate(edgefc: Edgefc) -> None:
    deltas = [json.loads(line) for line in edgefc("call", "time in Rome", "--stream").stdout.splitlines()]
    assert deltas[0] == {"role": "assistant"}
    parts = [part for delta in deltas for part in delta.get("tool_calls", [])]
    assert json.loads("".join(part["function"].get("arguments", "") for part in parts if part["index"] == 0))


def test_json_tells_usage_and_stats(edgefc: Edgefc) -> None:
    reply = json.loads(edgefc("call", "time in Rome", "--json").stdout)
    assert reply["outcome"] == "call"
    assert reply["stats"]["forced_tokens"] > 0
    assert reply["stats"]["constraint_us_per_sampled_token"] > 0
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"]


def test_a_cut_answer_is_an_error_that_says_where_and_what_to_do(edgefc: Edgefc) -> None:
    done = edgefc("call", "What is the weather in San Francisco?", "--max-tokens", "26")
    assert done.returncode == 1
    assert "cut off after 26 tokens inside get_weather.location: the limit of an answer" in done.stderr
    assert "--max-tokens sets another limit" in done.stderr


def test_a_call_tells_how_sure_the_model_is(edgefc: Edgefc) -> None:
    reply = json.loads(edgefc("call", "time in Rome", "--json").stdout)
    assert (reply["end_reason"], reply["is_cut"]) == ("stop", False)
    (call,) = reply["confidence"]["calls"]
    assert 0.5 < call["probability"] <= 1
    unsure = json.loads(edgefc("call", "time in Rome", "--min-confidence", "0.99999", "--json").stdout)
    assert unsure["outcome"] == "unsure"
    assert unsure["confidence"]["calls"][0]["tools"][0]["token"] == "get_time"
    plain = json.loads(edgefc("call", "time in Rome", "--min-confidence", "0.99999").stdout)
    assert plain["candidates"][0]["name"] == "get_time"
    assert json.loads(edgefc("call", "time in Rome", "--call-bias", "-50").stdout)["outcome"] != "call"


def test_chat_reads_lines_from_a_pipe(edgefc: Edgefc, tmp_path: Path) -> None:
    lines = "/help\n/tools\nWhat's 3+4?\n/stats\n/save talk.json\n/reset\n/nonsense\n/exit\nnever\n"
    done = edgefc("chat", stdin=lines)
    assert done.returncode == 0, done.stderr
    assert '"result": 7' in done.stdout
    assert re.search(r"calculate\(.*\)  \d+ %\n", done.stdout), "the probability of the call"
    assert "never" not in done.stdout
    assert "cached from the previous answer" in done.stdout
    assert "unknown command /nonsense" in done.stderr
    saved = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))
    assert [message["role"] for message in saved] == ["user", "assistant", "tool", "assistant"]


def test_a_users_tool_is_not_run_without_asking(edgefc: Edgefc, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        'import pathlib\ndef get_weather(location: str) -> str:\n    """Get the current weather for a city"""\n'
        '    pathlib.Path("ran").touch()\n    return "sunny"\n',
        encoding="utf-8",
    )
    question = ("run", "What is the weather in Oslo?", "--tools", "mine.py")
    done = edgefc(*question)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()
    assert "--yes" in done.stderr
    assert edgefc(*question, "--yes").returncode == 0
    assert (tmp_path / "ran").exists()


def test_render_shows_the_prompt_and_its_ids(edgefc: Edgefc) -> None:
    text = edgefc("render", "hello", "--no-tools").stdout
    assert text == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    ids = json.loads(edgefc("render", "hello", "--no-tools", "--ids").stdout)
    assert ids[0] == 1


def test_grammar_prints_gbnf_that_llama_cpp_takes(edgefc: Edgefc) -> None:
    from llama_cpp import LlamaGrammar

    printed = edgefc("grammar", "--family", "hermes")
    assert printed.stdout.startswith("root ::=")
    assert LlamaGrammar.from_string(printed.stdout, verbose=False)
    assert printed.stderr == ""


def test_grammar_says_what_gbnf_cannot(edgefc: Edgefc) -> None:
    printed = edgefc("grammar", "--family", "gemma4")
    assert printed.stdout.startswith("root ::=")
    assert '<|"|>' in printed.stderr
    assert "only the tokens" in printed.stderr


def test_doctor_tries_llama_cpp_out(edgefc: Edgefc) -> None:
    report = json.loads(edgefc("doctor", "--json").stdout)
    assert "decoded" in report["self_test"] or "works without" in report["self_test"]
    assert report["packages"]["llama-cpp-python"] == "0.3.36"


def schema(**parameters: Any) -> str:
    return json.dumps([{"name": "f", "parameters": {"type": "object", "properties": {"a": parameters}}}])


BAD: dict[str, tuple[list[str], dict[str, str], str]] = {
    "missing file": (["call", "hi", "-m", "none.gguf"], {}, "there is no file"),
    "not a GGUF": (["call", "hi", "-m", "x.gguf"], {"x.gguf": "hello " * 20}, "does not begin with 'GGUF'"),
    "unknown model": (["call", "hi", "-m", "demoo"], {}, "Did you mean demo?"),
    "model not here": (["call", "hi", "-m", "arch-function-3b"], {}, "edgefc pull arch-function-3b"),
    "unknown tool_choice": (["call", "hi", "--tool-choice", "get_wether"], {}, "Did you mean get_weather"),
    "malformed tools": (["call", "hi", "--tools", "t.json"], {"t.json": "[{]"}, "line 1, column"),
    "refused schema": (
        ["grammar", "t.json"],
        {"t.json": schema(type="string", pattern=r"(a)\1")},
        "tools[0].function.parameters.properties.a.pattern",
    ),
    "unknown family": (["grammar", "--family", "hermess"], {}, "Did you mean hermes"),
    "prompt too long": (["call", "word " * 3000], {}, "the context holds only 2048"),
    "bad temperature": (["call", "hi", "--temperature", "-3"], {}, "temperature"),
    "nothing to render": (["render"], {}, "is empty"),
    "unknown option": (["call", "hi", "--nonsense"], {}, "nonsense"),
}


@pytest.mark.parametrize(("words", "files", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_message_and_exit_code_2(
    edgefc: Edgefc, tmp_path: Path, words: list[str], files: dict[str, str], message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    done = edgefc(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["--help"], {"asyncio"}),
        (["list"], {"asyncio", "edgefc.formats"}),
        (["show", "demo"], {"asyncio", "jinja2", "edgefc.grammar.calls"}),
        (["show", "DEMO_PATH"], {"asyncio", "jinja2", "edgefc.grammar.calls"}),
        (["lint"], {"asyncio"}),
        (["config", "list"], {"asyncio", "edgefc.formats"}),
    ],
)
def test_quick_commands_import_nothing_heavy(words: list[str], more: set[str], demo_path: Path) -> None:
    words = [str(demo_path) if word == "DEMO_PATH" else word for word in words]
    code = (
        f"import sys\nfrom edgefc.cli.app import main\ntry:\n    main({words})\nexcept SystemExit: pass\n"
        f"heavy = {more} | {{'llama_cpp', 'numpy', 'llguidance', 'huggingface_hub', 'jsonschema', 'tokenizers', "
        "'prompt_toolkit'}\n"
        "sys.stderr.write(','.join(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout
    assert done.stderr == ""


def test_help_shows_panels_examples_and_flags_without_a_type(edgefc: Edgefc) -> None:
    done = edgefc("call", "--help")
    assert "Usage: edgefc call [OPTIONS] [MODEL] QUESTION" in done.stdout
    assert "Tool options" in done.stdout
    assert "Example" in done.stdout
    assert "<bool>" not in done.stdout
    assert edgefc().returncode == 0, "the help"


def test_the_shell_completes_commands_models_and_families() -> None:
    for line, expected in (
        ("edgefc cha", "chat"),
        ("edgefc chat de", "demo"),
        ("edgefc call x --family herm", "hermes"),
    ):
        environment = {"_EDGEFC_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        done = subprocess.run(
            [sys.executable, "-m", "edgefc"], capture_output=True, text=True, env={**os.environ, **environment},
            check=False,
        )  # fmt: skip
        assert expected in done.stdout.split(), done.stderr


def test_a_console_without_unicode_gets_the_nearest_text() -> None:
    for encoding in ("cp1252", "ascii"):
        done = subprocess.run(
            [sys.executable, "-m", "edgefc", "run", "What's 17*23?"], capture_output=True, check=False,
            input=b"", env={**os.environ, "PYTHONIOENCODING": encoding},
        )  # fmt: skip
        assert b"-> calculate" in done.stdout, done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is a device of Linux")
@pytest.mark.parametrize(
    "words", [["call", "What's 17*23?"], ["list"], ["run", "What's 17*23?"], ["config", "list", "--json"]]
)
def test_a_full_disk_is_one_message(words: list[str]) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "edgefc", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "error: output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "chat",
        "run",
        "call",
        "render",
        "grammar",
        "show",
        "doctor",
        "pull",
        "list",
        "rm",
        "verify",
        "warm",
        "bench",
        "transcripts",
        "eval",
    ],
)
def test_every_command_has_help(edgefc: Edgefc, command: str) -> None:
    done = edgefc(command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
def test_ctrl_c_stops_the_answer_and_not_the_program(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import time\ndef get_weather(location: str) -> str:\n"
        '    """Get the current weather for a city"""\n    time.sleep(60)\n    return "sunny"\n',
        encoding="utf-8",
    )
    with Terminal("chat", "--tools", "mine.py", "--yes", cwd=tmp_path) as terminal:
        terminal.wait_for("> ")
        terminal.type("What is the weather in Oslo?")
        terminal.wait_for("get_weather(")
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for("(stopped: what was answered so far is kept")
        terminal.type("/stats")
        terminal.wait_for("no answer yet")
        terminal.type("/exit")
        assert terminal.process.wait(30) == 0

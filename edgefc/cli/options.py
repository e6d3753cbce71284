"""What several commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

import edgefc
from edgefc.errors import ModelNotFoundError
from edgefc.models import registry
from edgefc.tools import ToolLike, load_tools

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def tools_of(path: Path | None) -> tuple[Sequence[ToolLike], bool]:
    """The tools of a file, or the example tools; and whether they are the user's own."""
    if path is not None:
        return load_tools(path), True
    from edgefc.tools.examples import EXAMPLE_TOOLS

    return EXAMPLE_TOOLS, False


def choice_of(name: str) -> str | dict[str, Any]:
    """What `--tool-choice` means: one of OpenAI's words, or a tool's name."""
    return name if name in {"auto", "none", "required"} else {"type": "function", "function": {"name": name}}


def find_model(name: str) -> None:
    """Offer to fetch a model that is not here. Raises ModelNotFoundError."""
    try:
        registry.resolve(name)
    except ModelNotFoundError:
        from edgefc.cli.models import offer_pull

        if offer_pull(name) is None:
            raise


def load_model(name: str, settings: dict[str, Any]) -> edgefc.Model:
    """Load with a progress line where someone is looking; offers to fetch a model that is not here."""
    find_model(name)
    with loading(name) as progress:
        return edgefc.load(name, progress=progress, **settings)


@contextmanager
def loading(name: str) -> Iterator[Callable[[float], bool] | None]:
    """A line about a model that is loaded, where someone is looking, and what moves it."""
    if not sys.stderr.isatty():
        yield None
        return
    with err.status(f"loading {name} …") as status:

        def told(share: float) -> bool:
            status.update(f"loading {name} … {share:.0%}")
            return True

        yield told


def given(options: dict[str, Any]) -> Any:
    """Options that were set on the command line."""
    return {name: value for name, value in options.items() if value is not None}


def confirmed(question: str) -> bool:
    """Ask on the terminal; anything but yes is no."""
    return err.input(f"{question} [y/N] ", markup=False).strip().lower() in {"y", "yes"}


def show_call(name: str, arguments: dict[str, Any]) -> None:
    listed = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items())
    out.print(Text(f"  → {name}({listed})", style="cyan"))


def show_result(_name: str, _arguments: dict[str, Any], result: str) -> None:
    short = result if len(result) <= 300 else f"{result[:300]}… ({len(result):,} characters)"
    out.print(Text(f"  ← {short}", style="dim"))


def asker(*, ask: bool) -> Callable[[str, dict[str, Any]], bool]:
    """Shows a call, and with `ask` asks whether it may run; without a terminal to ask on, it may not."""

    def allow(name: str, arguments: dict[str, Any]) -> bool:
        show_call(name, arguments)
        if not ask:
            return True
        if not sys.stdin.isatty():
            err.print("  not run: there is no terminal to ask on; --yes runs tools without asking")
            return False
        return confirmed("  run it?")

    return allow


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None) + "\n")
    sys.stdout.flush()

"""`edgefc config`: the default model and other defaults, in a small TOML file of the configuration folder.

The file is edited by line, so that comments stay. An option on the command line wins over the environment, and the
environment over the file.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument

from edgefc import paths
from edgefc.cli.console import err, out, print_json, write
from edgefc.cli.help import HelpfulCommand
from edgefc.errors import RequestError
from edgefc.files import read_small, write_file
from edgefc.terminal import single_line

MAX_BYTES = 1 << 20
# Key → its type, and its meaning.
KEYS: dict[str, tuple[type, str]] = {
    "model": (str, "model of commands that name none"),
    "tools": (str, "file with tools for run, call and chat"),
    "system": (str, "system message for run, call and chat"),
    "temperature": (float, "sampling temperature"),
    "max_tokens": (int, "limit of an answer, in tokens"),
    "tool_timeout": (float, "time limit per call of your tools, in seconds"),
    "n_ctx": (int, "context size in tokens"),
    "n_threads": (int, "number of threads"),
    "n_gpu_layers": (int, "layers to run on the GPU"),
    "url": (str, "server that run, call and chat ask"),
    "history": (bool, "store the lines typed in chat"),
}
# A line that sets a key.
_LINE = re.compile(r"^\s*(?:\"(?P<quoted>[\w-]+)\"|(?P<bare>[\w-]+))\s*=")

app = typer.Typer(help="Get and set defaults: the model, tools, options of answers.", no_args_is_help=True)

KeyArgument = Annotated[str, Argument(help="A key; `edgefc config list` shows all.", autocompletion=lambda: list(KEYS))]


def path() -> Path:
    """Return the path of the file."""
    return paths.config_dir() / "config.toml"


def read() -> dict[str, Any]:
    """Return the values of the file. Raises RequestError for one that is malformed."""
    text = _read_text()
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _error(str(error)) from None
    known = {name.replace("-", "_"): value for name, value in values.items()}
    for name in known.keys() - KEYS.keys():
        err.print(f"{path()}: unknown key {name!r}{_suggest(name)}", style="yellow")
    return {name: _checked(name, value) for name, value in known.items() if name in KEYS}


def defaults() -> dict[str, Any]:
    """Return the values that are defaults of options, by the name of the option's parameter."""
    values = {name: value for name, value in read().items() if name != "model"}
    if not values.pop("history", True):
        values["no_history"] = True
    return values


def _read_text() -> str:
    try:
        return read_small(path(), MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise _error(str(error)) from None


def _error(reason: str) -> RequestError:
    return RequestError("config", f"{path()}: {reason}", "Mend the file, or delete it.")


def _suggest(name: str) -> str:
    similar = difflib.get_close_matches(name, KEYS, n=1)
    return f"; did you mean {similar[0]}?" if similar else f"; the keys are {', '.join(KEYS)}"


def _checked(name: str, value: Any) -> Any:
    kind = KEYS[name][0]
    accepted = (int, float) if kind is float else (kind,)
    if type(value) not in accepted:
        words = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}
        raise _error(f"{name} must be {words[kind]}, not {value!r}")
    return value


def _key(name: str) -> str:
    name = name.replace("-", "_")
    if name not in KEYS:
        raise RequestError("config", f"unknown key {name!r}{_suggest(name)}")
    return name


@app.command(cls=HelpfulCommand, epilog="Example:\n  edgefc config get model")
def get(key: KeyArgument) -> None:
    """Print the value of a key. Exits with 1 if it is not set."""
    value = read().get(_key(key))
    if value is None:
        sys.exit(1)
    write(f"{value if isinstance(value, str) else json.dumps(value)}\n")


@app.command("set", cls=HelpfulCommand, epilog="Examples:\n  edgefc config set model qwen2.5-1.5b\n"
             "  edgefc config set temperature 0.2")  # fmt: skip
def set_value(key: KeyArgument, value: Annotated[str, Argument(help="The value.")]) -> None:
    """Set a key."""
    key = _key(key)
    kind = KEYS[key][0]
    parsed: Any = value
    if kind is not str:
        try:
            parsed = json.loads(value.lower())
        except ValueError:
            parsed = value
    _checked(key, parsed)
    _edit(key, f"{key} = {json.dumps(parsed, ensure_ascii=False)}")
    if key == "model" and not _is_known_model(value):
        err.print(f"{single_line(value)} is not on this machine yet: `edgefc pull {single_line(value)}` fetches it")


@app.command(cls=HelpfulCommand, epilog="Example:\n  edgefc config unset model")
def unset(key: KeyArgument) -> None:
    """Remove a key, so that its default holds again."""
    _edit(_key(key), None)


@app.command("list", cls=HelpfulCommand, epilog="Example:\n  edgefc config list")
def list_values(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List all keys, their values and the file."""
    values = read()
    if as_json:
        print_json(values)
        return
    width = max(map(len, KEYS))
    for name, (_, meaning) in KEYS.items():
        value = json.dumps(values[name], ensure_ascii=False) if name in values else "-"
        out.print(single_line(f"{name:<{width}}  {value}  ({meaning})"))
    out.print(f"\n{path()}")


def _is_known_model(name: str) -> bool:
    from edgefc.errors import EdgefcError
    from edgefc.models import registry

    try:
        registry.resolve(name)
    except EdgefcError:
        return False
    return True


def _edit(key: str, line: str | None) -> None:
    """Replace the line of a key, or add it; None removes it. Raises RequestError."""
    read()  # a malformed file is not touched
    lines = _read_text().splitlines()
    n_top = next((number for number, text in enumerate(lines) if text.lstrip().startswith("[")), len(lines))
    top = [text for text in lines[:n_top] if not _sets(text, key)]
    if line is not None:
        # Where it was, else at the end, but before the first table, to which it would belong.
        number = next((number for number, text in enumerate(lines[:n_top]) if _sets(text, key)), len(top))
        top.insert(number, line)
    others = [*top, *lines[n_top:]]
    text = "".join(f"{text}\n" for text in others)
    try:
        tomllib.loads(text)
        path().parent.mkdir(parents=True, exist_ok=True)
        write_file(path(), text.encode())
    except (OSError, ValueError) as error:
        raise _error(f"cannot be changed: {error}") from None


def _sets(line: str, key: str) -> bool:
    match = _LINE.match(line)
    return match is not None and (match["quoted"] or match["bare"]).replace("-", "_") == key

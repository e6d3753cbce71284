"""`edgefc config`: the default model, aliases and other defaults, in a small TOML file of the configuration folder.

The file is edited by line, so that comments stay. An option on the command line wins over the environment, and the
environment over the file.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument

from edgefc.cli.console import err, out, print_json, write
from edgefc.cli.help import HelpfulCommand
from edgefc.errors import RequestError
from edgefc.files import read_small, write_file
from edgefc.models import aliases
from edgefc.terminal import single_line

MAX_BYTES = 1 << 20
# Key → its type, and its meaning.
KEYS: dict[str, tuple[type, str]] = {
    "model": (str, "model of commands that name none"),
    "tools": (str, "file with tools for run, call and chat"),
    "system": (str, "system message for run, call and chat"),
    "date": (bool, "tell run, call and chat today's date, or not"),
    "temperature": (float, "sampling temperature"),
    "max_tokens": (int, "limit of an answer, in tokens"),
    "tool_timeout": (float, "time limit per call of your tools, in seconds"),
    "n_ctx": (int, "context size in tokens"),
    "n_threads": (int, "number of threads"),
    "n_gpu_layers": (int, "layers to run on the GPU"),
    "url": (str, "server that run, call and chat ask"),
    "history": (bool, "store the lines typed in chat"),
}
# A line that sets a key, or with `alias.` before it an alias.
_LINE = re.compile(r"^\s*(?P<alias>alias\s*\.\s*)?(?:\"(?P<quoted>[\w.+-]+)\"|(?P<bare>[\w-]+))\s*=")
_ALIAS_TABLE = re.compile(r"^\s*\[\s*alias\s*\]")
ALIAS = "alias."

app = typer.Typer(help="Get and set defaults: the model, tools, options of answers.", no_args_is_help=True)

KeyArgument = Annotated[
    str,
    Argument(help="A key, or alias.NAME; `edgefc config list` shows all.", autocompletion=lambda: [*KEYS, ALIAS]),
]


def path() -> Path:
    """Return the path of the file."""
    return aliases.config_path()


def read() -> dict[str, Any]:
    """Return the values of the file, without aliases. Raises RequestError for one that is malformed."""
    text = _read_text()
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _error(str(error)) from None
    table = values.pop("alias", {})
    if (
        unsound := [name for name in table if name not in aliases.parse(table)]
        if isinstance(table, dict)
        else ["alias"]
    ):
        err.print(f"{path()}: alias {unsound[0]!r} must be a plain name for another model", style="yellow")
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
    if name.startswith(ALIAS):
        return _alias_key(name)
    name = name.replace("-", "_")
    if name not in KEYS:
        raise RequestError("config", f"unknown key {name!r}{_suggest(name)}")
    return name


def _alias_key(name: str) -> str:
    alias = name.removeprefix(ALIAS)
    if not aliases.ALIAS.fullmatch(alias):
        raise RequestError("config", f"invalid alias {alias!r}", "Use letters, digits, dots, dashes and underscores.")
    return name


@app.command(cls=HelpfulCommand, epilog="Example:\n  edgefc config get model")
def get(key: KeyArgument) -> None:
    """Print the value of a key. Exits with 1 if it is not set."""
    key = _key(key)
    value = aliases.load().get(key.removeprefix(ALIAS)) if key.startswith(ALIAS) else read().get(key)
    if value is None:
        sys.exit(1)
    write(f"{value if isinstance(value, str) else json.dumps(value)}\n")


@app.command("set", cls=HelpfulCommand, epilog="Examples:\n  edgefc config set model qwen2.5-1.5b\n"
             "  edgefc config set temperature 0.2\n  edgefc config set alias.coder qwen2.5-coder:1.5b")  # fmt: skip
def set_value(key: KeyArgument, value: Annotated[str, Argument(help="The value.")]) -> None:
    """Set a key, or an alias: a name of your own for a model."""
    key = _key(key)
    if key.startswith(ALIAS):
        _set_alias(key, value)
        return
    kind = KEYS[key][0]
    parsed: Any = value
    if kind is not str:
        try:
            parsed = json.loads(value.lower())
        except ValueError:
            parsed = value
    if key == "model":
        value = parsed = _full_path(value)
    _checked(key, parsed)
    _edit(key, json.dumps(parsed, ensure_ascii=False))
    if key == "model":
        _note_missing_model(value)


def _set_alias(key: str, model: str) -> None:
    from edgefc.models import registry

    alias = key.removeprefix(ALIAS)
    if not model.strip() or model == alias:
        raise RequestError("config", f"{key} must be the name or path of a model")
    if alias in registry.cards():
        raise RequestError("config", f"{alias} is the name of a model", "Choose another alias.")
    model = _full_path(model)
    _edit(key, json.dumps(model, ensure_ascii=False))
    _note_missing_model(model)


def _full_path(model: str) -> str:
    """Return the whole path of a file, so that its name holds in every folder; other names as they are."""
    try:
        path = Path(model).expanduser()
        return str(path.resolve()) if path.is_file() else model
    except (OSError, RuntimeError, ValueError):  # no name that a file can have
        return model


def _note_missing_model(name: str) -> None:
    if not _is_known_model(name):
        err.print(f"{single_line(name)} is not on this machine yet: `edgefc pull {single_line(name)}` fetches it")


@app.command(cls=HelpfulCommand, epilog="Example:\n  edgefc config unset model")
def unset(key: KeyArgument) -> None:
    """Remove a key, so that its default holds again."""
    _edit(_key(key), None)


@app.command("list", cls=HelpfulCommand, epilog="Example:\n  edgefc config list")
def list_values(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List all keys, their values and the file."""
    values, names = read(), aliases.load()
    if as_json:
        print_json({**values, **({"alias": names} if names else {})})
        return
    width = max(map(len, KEYS))
    for name, (_, meaning) in KEYS.items():
        value = json.dumps(values[name], ensure_ascii=False) if name in values else "-"
        out.print(single_line(f"{name:<{width}}  {value}  ({meaning})"))
    for name, model in names.items():
        out.print(single_line(f"{ALIAS + name:<{width}}  {json.dumps(model, ensure_ascii=False)}  (alias)"))
    out.print(f"\n{path()}")


def _is_known_model(name: str) -> bool:
    from edgefc.errors import EdgefcError
    from edgefc.models import registry

    try:
        registry.resolve(name)
    except EdgefcError:
        return False
    return True


def _edit(key: str, value: str | None) -> None:
    """Replace the line of a key, or add it; None removes it. Raises RequestError."""
    read()  # a malformed file is not touched
    lines = _read_text().splitlines()
    start, end, name = _region(lines, key)
    region = [text for text in lines[start:end] if _name_in(text) != name]
    if value is not None:
        # Where it was, else at the end, but before the next table, to which it would belong.
        number = next((n for n, text in enumerate(lines[start:end]) if _name_in(text) == name), len(region))
        region.insert(number, f"{_written(name)} = {value}")
    text = "".join(f"{text}\n" for text in [*lines[:start], *region, *lines[end:]])
    try:
        tomllib.loads(text)
        path().parent.mkdir(parents=True, exist_ok=True)
        write_file(path(), text.encode())
    except (OSError, ValueError) as error:
        raise _error(f"cannot be changed: {error}") from None


def _region(lines: list[str], key: str) -> tuple[int, int, str]:
    """Return the lines among which a key belongs, from the first to behind the last, and its name there.

    An alias belongs to the table of aliases if there is one, else it is a key with a dot before all tables.
    """
    tables = [number for number, text in enumerate(lines) if text.lstrip().startswith("[")] + [len(lines)]
    for number, end in itertools.pairwise(tables):
        if key.startswith(ALIAS) and _ALIAS_TABLE.match(lines[number]):
            return number + 1, end, key.removeprefix(ALIAS)
    return 0, tables[0], key


def _name_in(line: str) -> str | None:
    """Return the key that a line sets, with `alias.` before an alias; None for other lines."""
    match = _LINE.match(line)
    if match is None:
        return None
    name = match["quoted"] or match["bare"]
    return f"{ALIAS}{name}" if match["alias"] else name.replace("-", "_") if name.replace("-", "_") in KEYS else name


def _written(name: str) -> str:
    """Write a key as TOML."""
    if name in KEYS:
        return name
    alias = name.removeprefix(ALIAS)
    quoted = alias if re.fullmatch(r"[\w-]+", alias, re.ASCII) else json.dumps(alias)
    return f"{ALIAS}{quoted}" if name.startswith(ALIAS) else quoted

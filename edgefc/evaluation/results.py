"""Results on disk: one run is one file, a line for what was run and one for each case as it is judged.

A line is written whole or, where the process was killed, cut off; what is cut off is asked again.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import edgefc
from edgefc import files
from edgefc.errors import SuiteError
from edgefc.evaluation.cases import Case

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Setting:
    """What is run; results of two runs with the same setting are interchangeable.

    model    its name, and `file` what tells its file from others of that name
    grammar  whether the answers were held to it
    """

    model: str
    file: str
    family: str
    suite: str
    grammar: bool
    max_tokens: int
    n_ctx: int
    version: str = edgefc.__version__

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.model}, {'grammar' if self.grammar else 'no grammar'}"

    @property
    def stem(self) -> str:
        """What its files' names begin with."""
        held = "on" if self.grammar else "off"
        return re.sub(r"[^\w.-]+", "-", f"{self.model}-{self.family}-{self.suite}-grammar-{held}-")


@dataclass(frozen=True, slots=True)
class Result:
    """One case's answer and what is wrong with it: `kind` and `reason` are "" for a right one.

    case    the digest of the case that was asked
    output  the calls as JSON, or the text; without the grammar, what the model wrote
    prompt  exactly what the model saw; kept of wrong answers only
    """

    id: str
    case: str
    category: str
    kind: str
    reason: str
    outcome: str
    question: str
    output: str
    prompt: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def right(self) -> bool:
        return not self.kind


class Run:
    """Results of one setting, in a file that grows."""

    def __init__(self, path: Path, setting: Setting, results: Iterable[Result] = ()) -> None:
        self.path, self.setting = path, setting
        self.results = {result.id: result for result in results}

    @classmethod
    def new(cls, folder: Path, setting: Setting) -> Self:
        """A new file in the folder. Raises SuiteError when it cannot be written."""
        moment = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            number = 1
            while (path := folder / f"{setting.stem}{moment}{f'-{number}' if number > 1 else ''}.jsonl").exists():
                number += 1
            run = cls(path, setting)
            run.write()
        except OSError as error:
            raise SuiteError(f"{folder}: results cannot be kept: {error.strerror}", "Say --out FOLDER.") from None
        return run

    @classmethod
    def latest(cls, folder: Path, setting: Setting) -> Self | None:
        """The newest run of this setting, so that it can go on. Raises SuiteError for one that cannot be read."""
        files = (path for path in folder.glob("*.jsonl") if path.name.startswith(setting.stem))
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            if (found := cls.read(path)).setting == setting:
                return found
        return None

    @classmethod
    def read(cls, path: Path) -> Self:
        """A run from its file; a last line that was cut off is left out. Raises SuiteError with the line."""
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except OSError as error:
            raise SuiteError(f"{path}: {error.strerror}") from None
        results: list[Result] = []
        setting: Setting | None = None
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                if number == 1:
                    if entry.pop("format") != FORMAT:
                        raise SuiteError(f"{path}: written by another version of edgefc", "Measure again.")
                    setting = Setting(**entry)
                else:
                    results.append(Result(**entry))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                if number == len(lines) and number > 1 and not line.endswith(b"\n"):
                    break
                raise SuiteError(f"{path} line {number}: not a result of `edgefc eval`: {error}") from None
        if setting is None:
            raise SuiteError(f"{path} line 1: not a result of `edgefc eval`: the file is empty")
        return cls(path, setting, results)

    def write(self) -> None:
        """Write all of it anew: nothing cut off is left at its end."""
        lines: list[Mapping[str, Any]] = [{"format": FORMAT, **asdict(self.setting)}]
        lines += [_entry(result) for result in self.results.values()]
        files.write_file(self.path, "".join(map(_line, lines)).encode())

    def add(self, result: Result) -> None:
        self.results[result.id] = result
        with self.path.open("ab") as file:
            file.write(_line(_entry(result)).encode())

    def keep(self, cases: Sequence[Case]) -> list[Case]:
        """Forget what is not a result of these cases as they are now; gives those that are still to be asked."""
        digests = {case.id: case.digest for case in cases}
        self.results = {i: result for i, result in self.results.items() if digests.get(i) == result.case}
        self.write()
        return [case for case in cases if case.id not in self.results]


def _entry(result: Result) -> dict[str, Any]:
    """Without what is empty."""
    required = {"id", "case", "category", "kind", "reason", "outcome", "question", "output"}
    return {f.name: value for f in fields(Result) if (value := getattr(result, f.name)) or f.name in required}


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"

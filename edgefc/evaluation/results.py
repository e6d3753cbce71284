"""Results on disk: one file per run, with a line for the setting and one for each judged case.

A killed process may leave its last line incomplete; the case of that line is asked again.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from edgefc import files
from edgefc._version import __version__
from edgefc.errors import SuiteError
from edgefc.evaluation.cases import Case

FORMAT_VERSION = 2
_READABLE = {1, FORMAT_VERSION}  # 1: results without `calls` and what follows it, settings without a tool choice
_REQUIRED_FIELDS = {"id", "case", "category", "kind", "reason", "outcome", "question", "output"}


@dataclass(frozen=True, slots=True)
class EvalSetting:
    """The setting of a run; results of two runs with the same setting are interchangeable.

    model        its name
    file         hash that distinguishes its file from others of the same name
    grammar      True: answers are constrained by the grammar
    version      of the runtime
    tool_choice  auto or required
    runtime      edgefc, or what else computed the answers
    call_bias, min_confidence, tool_budget   as for `Model.chat`; a tool budget of 0 shows all tools
    distractors  number of tools of other cases that each case has beside its own
    """

    model: str
    file: str
    family: str
    suite: str
    grammar: bool
    max_tokens: int
    n_ctx: int
    version: str = __version__
    tool_choice: str = "auto"
    runtime: str = "edgefc"
    call_bias: float | None = None
    min_confidence: float | None = None
    tool_budget: int = 0
    distractors: int = 0

    @property
    def name(self) -> str:
        """A short name for people."""
        if self.runtime != "edgefc":
            return f"{self.model}, {self.runtime}"
        words = [self.model, "grammar" if self.grammar else "no grammar, any spelling"]
        words += [] if self.call_bias is None else [f"call bias {self.call_bias:g}"]
        words += [] if self.min_confidence is None else [f"min confidence {self.min_confidence:g}"]
        words += [f"{self.distractors} distractors"] if self.distractors else []
        words += [f"tool budget {self.tool_budget}"] if self.tool_budget else []
        return ", ".join(words)

    @property
    def stem(self) -> str:
        """The beginning of the names of its files."""
        parts = [self.model, self.family, self.suite, f"grammar-{'on' if self.grammar else 'off'}"]
        parts += [self.runtime] * (self.runtime != "edgefc") + [self.tool_choice] * (self.tool_choice != "auto")
        return re.sub(r"[^\w.-]+", "-", "-".join([*parts, ""]))


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The judged answer to one case: `kind` and `reason` describe the mistake and are "" for a right one.

    case         the digest of the case
    output       the calls as JSON, or the text; without the grammar, the raw text of the model
    prompt       the exact prompt; stored for wrong answers only
    calls        number of calls; None: not recorded, and so are the fields below
    valid        it calls existing tools, with arguments that fit their schemas
    repeated     number of calls equal to an earlier one of the same answer
    cut          it was cut off, mostly by max_tokens
    text_call    it calls nothing, but its text can be read as calls
    model_steps  batches computed for it, prefill included
    seconds      from the first batch to the last; with several cases at once, they share the processor
    p_call, p_tool, p_argument, confidence   as in `judging.Sureness`
    found        the right tools were among those that the model was shown; None: it was shown all, or none is right
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
    calls: int | None = None
    valid: bool = False
    repeated: int = 0
    cut: bool = False
    text_call: bool = False
    model_steps: int = 0
    seconds: float = 0.0
    p_call: float | None = None
    p_tool: float | None = None
    p_argument: float | None = None
    confidence: float | None = None
    found: bool | None = None

    @property
    def right(self) -> bool:
        return not self.kind


class EvalRun:
    """The results of one setting, in a file that grows."""

    def __init__(self, path: Path, setting: EvalSetting, results: Iterable[CaseResult] = ()) -> None:
        self.path, self.setting = path, setting
        self.results = {result.id: result for result in results}

    @classmethod
    def new(cls, folder: Path, setting: EvalSetting) -> Self:
        """Create a new file in the folder. Raises SuiteError when it cannot be written."""
        moment = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            number = 1
            while (path := folder / f"{setting.stem}{moment}{f'-{number}' if number > 1 else ''}.jsonl").exists():
                number += 1
            run = cls(path, setting)
            run.write()
        except OSError as error:
            raise SuiteError(
                f"cannot write results to {folder}: {error.strerror}", "Choose a folder with --out."
            ) from None
        return run

    @classmethod
    def latest(cls, folder: Path, setting: EvalSetting) -> Self | None:
        """Return the newest run of this setting, to be resumed. Raises SuiteError for one that cannot be read."""
        paths = (path for path in folder.glob("*.jsonl") if path.name.startswith(setting.stem))
        for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            if (run := cls.read(path)).setting == setting:
                return run
        return None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a run from its file; an incomplete last line is left out. Raises SuiteError with the line."""
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except OSError as error:
            raise SuiteError(f"{path}: {error.strerror}") from None
        if not lines:
            raise SuiteError(f"{path} line 1: not a result of `edgefc eval`: the file is empty")
        setting = _parse_setting(path, lines[0])
        results: list[CaseResult] = []
        for number, line in enumerate(lines[1:], 2):
            try:
                results.append(CaseResult(**json.loads(line)))
            except (ValueError, TypeError) as error:
                if number == len(lines) and not line.endswith(b"\n"):
                    break
                raise _not_a_result(path, number, error) from None
        return cls(path, setting, results)

    def write(self) -> None:
        """Write the whole file again, so that no incomplete line is left at its end."""
        lines: list[Mapping[str, Any]] = [{"format": FORMAT_VERSION, **asdict(self.setting)}]
        lines += [_to_entry(result) for result in self.results.values()]
        files.write_file(self.path, "".join(map(_to_line, lines)).encode())

    def add(self, result: CaseResult) -> None:
        """Append a result to the file."""
        self.results[result.id] = result
        with self.path.open("ab") as file:
            file.write(_to_line(_to_entry(result)).encode())

    def keep(self, cases: Sequence[Case]) -> list[Case]:
        """Drop results of other or changed cases; returns the cases that have no result yet."""
        digests = {case.id: case.digest for case in cases}
        self.results = {i: result for i, result in self.results.items() if digests.get(i) == result.case}
        self.write()
        return [case for case in cases if case.id not in self.results]


def _parse_setting(path: Path, line: bytes) -> EvalSetting:
    """Read the first line of a file. Raises SuiteError."""
    try:
        entry = json.loads(line)
        version = entry.pop("format")
        setting = EvalSetting(**entry) if version in _READABLE else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _not_a_result(path, 1, error) from None
    if setting is None:
        raise SuiteError(f"{path}: written by another version of edgefc", "Run the evaluation again.")
    return setting


def _not_a_result(path: Path, number: int, error: Exception) -> SuiteError:
    return SuiteError(f"{path} line {number}: not a result of `edgefc eval`: {error}")


def _to_entry(result: CaseResult) -> dict[str, Any]:
    """Return a result as JSON, without optional fields that have their default."""
    values = {field: getattr(result, field.name) for field in fields(CaseResult)}
    return {f.name: value for f, value in values.items() if f.name in _REQUIRED_FIELDS or value != f.default}


def _to_line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"

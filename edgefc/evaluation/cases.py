"""What is asked, what was answered, and what is wrong with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgefc.types import Message, Outcome, Tool


@dataclass(frozen=True, slots=True)
class Case:
    """One question with its tools.

    expected   what a right answer is, in the suite's own form
    functions  BFCL's function docs, whose types say how an argument is compared; other suites have none
    """

    id: str
    category: str
    messages: list[Message]
    tools: list[Tool]
    expected: Any
    functions: Sequence[Any] = ()

    @property
    def digest(self) -> str:
        """Tells whether a kept result is of this very case."""
        content = [self.category, self.messages, self.tools, self.expected, list(self.functions)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's message, read: its calls, or its text; `missing` are the tools a clarification is about."""

    outcome: Outcome
    calls: tuple[Call, ...] = ()
    content: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an answer is wrong: `kind` for counting, `reason` for reading."""

    kind: str
    reason: str

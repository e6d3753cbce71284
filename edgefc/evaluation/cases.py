"""A case of a suite, a model's answer to it, and the mistake in a wrong answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgefc.types import Call, Message, Outcome, Tools


@dataclass(frozen=True, slots=True)
class Case:
    """One question with its tools.

    expected   the right answer, in the suite's own form
    functions  BFCL's function docs, whose types decide how arguments are compared; empty in other suites
    """

    id: str
    category: str
    messages: list[Message]
    tools: Tools
    expected: Any
    functions: Sequence[Any] = ()

    @property
    def digest(self) -> str:
        """Hash of the content: a stored result belongs to this case if it has the same."""
        content = [self.category, self.messages, list(self.tools), self.expected, list(self.functions)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """A model's answer: its calls, or its text; `missing` are the tools a clarification is about."""

    outcome: Outcome
    calls: tuple[Call, ...] = ()
    content: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mistake:
    """The mistake in a wrong answer: `kind` for counting, `reason` for reading."""

    kind: str
    reason: str

"""Chat templates: edgefc's own are rendered here, those that came with a model in a process of their own.

Jinja is imported, and a template compiled, when one is rendered: many commands render none, and looking for a model's
family reads the declarations of all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edgefc import paths
from edgefc.errors import FormatError

if TYPE_CHECKING:
    from edgefc.sandbox.jinja import Program
    from edgefc.sandbox.process import ChildProcess

MAX_SOURCE = 1 << 20  # characters; the longest template known has 25,000


class CostError(FormatError):
    """A template takes too much time or memory: another attempt would as well."""


class Template:
    """A chat template.

    filters     filters besides Jinja's
    is_foreign  it came with a model: it gets the environment of transformers, and no includes of edgefc's. It is
                compiled at once
    """

    def __init__(
        self, name: str, source: str, filters: Mapping[str, Callable[..., Any]], *, is_foreign: bool = False
    ) -> None:
        """Raises FormatError for a foreign source that cannot be compiled."""
        self.name = name
        if len(source) > MAX_SOURCE:
            raise FormatError(f"chat template {name}: {len(source):,} characters; at most {MAX_SOURCE:,} are read")
        assert not (is_foreign and filters), "a foreign template has Jinja's filters"
        self._source, self._filters, self._is_foreign = source, filters, is_foreign
        if is_foreign:
            self._ask(None)

    def compile(self) -> None:
        """Compile the template. Raises FormatError for a source that cannot be compiled."""
        if not self._is_foreign:
            _ = self._program

    def render(self, **variables: Any) -> str:
        """Return the rendered text. Raises FormatError when the template fails, refuses, or costs too much."""
        if self._is_foreign:
            return self._ask(variables)
        from edgefc.sandbox.jinja import ProgramError

        program = self._program
        try:
            return program.render(**variables)
        except ProgramError as error:
            raise self._error(error.kind, error.reason) from None

    @functools.cached_property
    def _program(self) -> Program:
        from edgefc.sandbox.jinja import Program, ProgramError

        try:
            return Program(self._source, self._filters, load=_load_include)
        except ProgramError as error:
            raise self._error(error.kind, error.reason) from None

    def _ask(self, variables: Mapping[str, Any] | None) -> str:
        """Have the child process render the template, or only compile it if `variables` is None."""
        from edgefc.sandbox.process import ChildError

        try:
            answer = _child().ask({"source": self._source, "variables": variables})
        except ChildError as error:
            raise self._error("cost", str(error)) from None
        except (TypeError, ValueError, RecursionError) as error:
            raise self._error("failure", f"its variables are not JSON: {error}") from None
        if "text" not in answer:
            raise self._error(answer["kind"], answer["reason"])
        return str(answer["text"])

    def _error(self, kind: str, reason: str) -> FormatError:
        if kind == "refusal":
            return FormatError(f"chat template {self.name} refuses the conversation: {reason}")
        return (CostError if kind == "cost" else FormatError)(f"chat template {self.name}: {reason}")


@functools.cache
def _child() -> ChildProcess:
    """One process for all foreign templates. Its own limit of processor time comes first, and tells the reason."""
    from edgefc.sandbox.jinja import MAX_SECONDS
    from edgefc.sandbox.process import ChildProcess

    return ChildProcess("edgefc.sandbox.template_child", seconds=1.25 * MAX_SECONDS, memory=640 << 20)


def _load_include(name: str) -> str | None:
    """Read a part that several families share, by its plain file name."""
    path = paths.root() / "chat_formats" / name
    return path.read_text(encoding="utf-8") if "/" not in name and "\\" not in name and path.is_file() else None

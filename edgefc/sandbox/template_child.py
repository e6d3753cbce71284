"""The child process of `ForeignTemplate`: it compiles and renders templates of strangers."""

from __future__ import annotations

import functools
from typing import Any

from edgefc.sandbox.jinja import Program, ProgramError
from edgefc.sandbox.process import serve

MAX_REASON = 500  # characters

_compile = functools.lru_cache(maxsize=4)(functools.partial(Program, is_foreign=True))


def answer(request: Any) -> dict[str, str]:
    """Render the template of a request, or only compile it where `variables` is null."""
    try:
        program = _compile(request["source"])
        variables = request["variables"]
        return {"text": "" if variables is None else program.render(**variables)}
    except ProgramError as error:
        return {"kind": error.kind, "reason": error.reason[:MAX_REASON]}


if __name__ == "__main__":
    serve(answer)

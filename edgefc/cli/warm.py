"""`edgefc warm`: the part of prompts that a tool set has in common, computed before it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from edgefc.cli.options import choice_of, err, load_model, out, print_json, tools_of


def warm(
    model: str,
    tools: Path | None,
    *,
    system: str | None,
    tool_choice: str,
    as_json: bool,
    load: dict[str, Any],
) -> None:
    """Compute it and have it kept on disk; exit code 1 when nothing is kept."""
    offered, _ = tools_of(tools)
    with load_model(model, {"n_parallel": 1, **load}) as loaded:
        done = loaded.warm(tools=offered, system=system, tool_choice=choice_of(tool_choice))
    if as_json:
        print_json(
            {
                "tokens": done.tokens,
                "cached_tokens": done.cached_tokens,
                "bytes": done.bytes,
                "seconds": done.seconds,
                "files": [str(path) for path in done.files],
            }
        )
    elif done.files:
        was = "were on disk already" if done.cached_tokens else "are on disk now"
        out.print(f"{done.tokens:,} tokens {was}: {done.bytes / 1e6:,.1f} MB, {done.seconds:.1f} s", markup=False)
    if not done.files:
        err.print(
            f"nothing was kept: {done.tokens} tokens are computed sooner than read from a file, or the folder of "
            "caches cannot be written (EDGEFC_CACHE_DIR; `edgefc doctor` shows it)",
            markup=False,
        )
        sys.exit(1)

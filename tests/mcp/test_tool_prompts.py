"""The benchmark of tool lists runs; its figures are not tested."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tool_prompts import measure, save_lists


def test_a_list_is_saved_and_its_prompts_are_measured(
    raw: Callable[..., dict[str, Any]], demo_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFC_CACHE_DIR", str(tmp_path / "cache"))
    source, lists = tmp_path / "mcp.json", tmp_path / "lists"
    source.write_text(json.dumps({"mcpServers": {"raw": raw("twenty")}}), encoding="utf-8")
    save_lists(source, lists)
    asked = {
        "question": "Which number has tool 3?",
        "model": str(demo_path),
        "threads": 1,
        "n_ctx": 2048,
        "max_tokens": 20,
    }
    whole, chosen = (measure(lists / "raw.json", **asked, budget=budget) for budget in (0, 500))
    again = measure(lists / "raw.json", **asked, budget=0)
    assert whole["tools"] == 20
    assert 3 <= chosen["tools"] <= 7, "as many as fit, and three"
    assert whole["prompt_tokens"] > chosen["prompt_tokens"]
    assert again["cached_from"] == "disk"
    assert again["steps"] < whole["steps"]

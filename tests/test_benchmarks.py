"""The benchmarks run; what they measure is for people to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import masks, pull


def test_masks_measures_both_executors(demo_path: Path) -> None:
    rows = masks.main([str(demo_path), "--tools", "1", "3", "--json"])
    assert [(row["tools"], row["mode"]) for row in rows] == [(n, mode) for n in (1, 3) for mode in ("required", "auto")]
    for row in rows:
        assert row["answers_refused"] == 0
        assert row["tokens"] > 100
        assert row["llama_cpp_tokens"] >= masks.LLAMA_TOKENS
        assert row["mask_us_p50"] > 0


def test_pull_measures_both_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = pull.main(["--size", "8", "--rounds", "1", "--json"])
    assert {"edgefc", "huggingface_hub"} <= result.keys()
    assert result["rate_ratio"] > 0

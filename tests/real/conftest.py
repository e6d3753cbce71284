"""Real models: SmolLM2-135M everywhere, larger ones where EDGEFC_REAL_MODELS names their folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgefc
from tests.real import weights

MODELS = (weights.NAME, "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "gemma-3-270m")


def find_model(name: str) -> Path:
    """Return the path of a real model's file; skip the test where there is none."""
    folder = os.environ.get("EDGEFC_REAL_MODELS")
    if folder and (path := Path(folder) / f"{name}.gguf").is_file():
        return path
    if name != weights.NAME:
        pytest.skip(f"EDGEFC_REAL_MODELS must name a folder with {name}.gguf")
    return weights.smollm2()


@pytest.fixture(scope="session", params=MODELS)
def real_path(request: pytest.FixtureRequest) -> Path:
    """The file of each real model that is here."""
    return find_model(request.param)


@pytest.fixture(scope="session")
def real_model(real_path: Path) -> Iterator[edgefc.Model]:
    """Each real model, loaded; tests of one model follow one another, so only one is in memory."""
    with edgefc.load(real_path, n_ctx=2048) as model:
        yield model

"""SmolLM2-135M and edgefc-mini for tests: the user's own, or copies that are fetched once, as `edgefc pull` does it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgefc import paths
from edgefc.errors import EdgefcError
from edgefc.models import store
from edgefc.models.cards import own_cards
from edgefc.models.manifest import StoredModel
from edgefc.models.pull import pull_model

NAME = "smollm2-135m"
CARD = own_cards()["edgefc-mini"]
# The machine's folders, found before the tests get folders of their own: the next run has the file already.
MODELS, CACHE = paths.models_dir(), paths.cache_dir() / "weights"


def smollm2() -> Path:
    """Return the file of SmolLM2-135M-Instruct, Q4_1, 98 MB, never trained on tools; skip the test without it."""
    return _stored("smollm2-135m-instruct", "edgefc-mini").path  # the same file


def mini_models() -> Path:
    """Return a models folder (EDGEFC_MODELS_DIR) that has edgefc-mini; skip the test without it."""
    return _stored("edgefc-mini").folder.parents[1]


def _stored(*names: str) -> StoredModel:
    """Return the model of the first of these entries that the user has; otherwise fetch edgefc-mini."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("EDGEFC_MODELS_DIR", str(MODELS))
        for name in names:
            stored = store.find(name)
            if stored is not None and stored.sha256 == CARD.sha256:
                return stored
        monkeypatch.setenv("EDGEFC_MODELS_DIR", str(CACHE))
        try:
            return pull_model("edgefc-mini")
        except EdgefcError as error:
            if os.environ.get("CI", "").lower() in {"true", "1"}:
                pytest.fail(f"continuous integration needs these weights: {error}")
            pytest.skip(f"neither a network nor a copy in {CACHE}: {error}")

"""SmolLM2-135M for tests: the user's own copy, or one that is fetched once per machine, as `edgefc pull` does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefc import paths
from edgefc.models import store
from edgefc.models.cards import own_cards
from edgefc.models.pull import pull_model

NAME = "smollm2-135m"
CARD = own_cards()["smollm2-135m-instruct"]
# The machine's folders, found before the tests get folders of their own: the next run has the file already.
MODELS, CACHE = paths.models_dir(), paths.cache_dir() / "weights"


def smollm2() -> Path:
    """Return the file of SmolLM2-135M-Instruct, Q4_1, 98 MB, never trained on tools. Raises EdgefcError."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("EDGEFC_MODELS_DIR", str(MODELS))
        stored = store.find(CARD.id)
        if stored is None or stored.sha256 != CARD.sha256:
            monkeypatch.setenv("EDGEFC_MODELS_DIR", str(CACHE))
            stored = pull_model(CARD.id)
    return stored.path

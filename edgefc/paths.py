"""Finds edgefc's data files: inside an installed wheel, else in the checkout.

Always starts from this package: an editable install can leave an ageing copy of the data in site-packages,
so sys.path is never searched.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).parent


def root() -> Path:
    """The folder that holds models.toml, chat_formats/ and grammars/."""
    packaged = _PACKAGE / "data"
    return packaged if packaged.is_dir() else _PACKAGE.parent


def demo_model() -> Path:
    """The embedded demo model's GGUF; its tokenizer.json lies beside it."""
    return _PACKAGE / "models" / "demo" / "demo-q8_0.gguf"


def demo_suite() -> Path:
    """The held-back cases that the demo model is measured on; `python -m demo.suite` writes them."""
    return demo_model().with_name("held_back.jsonl.gz")


def models_dir() -> Path:
    """Where models are kept; `EDGEFC_MODELS_DIR` overrides the system's place for data."""
    given = os.environ.get("EDGEFC_MODELS_DIR")
    return Path(given) if given else Path(platformdirs.user_data_dir("edgefc", appauthor=False)) / "models"


def cache_dir() -> Path:
    """Where edgefc keeps what it can make again; `EDGEFC_CACHE_DIR` overrides the system's own place."""
    return Path(os.environ.get("EDGEFC_CACHE_DIR") or platformdirs.user_cache_dir("edgefc", appauthor=False))


def config_dir() -> Path:
    """Where the user's own settings are; `EDGEFC_CONFIG_DIR` overrides the system's own place."""
    return Path(os.environ.get("EDGEFC_CONFIG_DIR") or platformdirs.user_config_dir("edgefc", appauthor=False))

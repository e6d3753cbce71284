"""Finds edgefc's data files: inside an installed wheel, else in the checkout.

Always starts from this package: an editable install can leave an ageing copy of the data in site-packages,
so sys.path is never searched.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
from pathlib import Path


def root() -> Traversable:
    """The folder that holds models.toml, chat_formats/ and grammars/."""
    packaged = files("edgefc") / "data"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent


def demo_model() -> Path:
    """The embedded demo model's GGUF; its tokenizer.json lies beside it."""
    return Path(__file__).parent / "models" / "demo" / "demo-q8_0.gguf"

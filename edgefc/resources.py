"""Finds edgefc's data files: inside an installed wheel, else in the checkout.

Always starts from this package: an editable install can leave an ageing copy of the data in site-packages,
so sys.path is never searched.
"""

from __future__ import annotations

from pathlib import Path

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

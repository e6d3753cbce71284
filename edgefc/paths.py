"""Paths of edgefc's data files, in an installed wheel or a checkout, and of the user's folders.

The search always starts from this package: an editable install can leave an ageing copy of the data in site-packages,
so sys.path is never searched. `inside` is the one function that makes a path of names from outside: of a file, an
archive, a manifest, a hub's answer or a URL.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import platformdirs

from edgefc.errors import StoreError

_PACKAGE = Path(__file__).parent
_DEVICE_NAME = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # reserved on Windows


def root() -> Path:
    """Return the folder that holds models.toml, chat_formats/ and grammars/."""
    packaged = _PACKAGE / "data"
    return packaged if packaged.is_dir() else _PACKAGE.parent


def demo_model() -> Path:
    """Return the embedded demo model's GGUF; its tokenizer.json lies beside it."""
    return _PACKAGE / "models" / "demo" / "demo-q8_0.gguf"


def demo_suite() -> Path:
    """Return the file of held-back cases that measure the demo model; `python -m demo.suite` writes it."""
    return demo_model().with_name("held_back.jsonl.gz")


def models_dir() -> Path:
    """Return the folder of downloaded models; `EDGEFC_MODELS_DIR` overrides the system's data folder."""
    override = os.environ.get("EDGEFC_MODELS_DIR")
    return Path(override) if override else Path(platformdirs.user_data_dir("edgefc", appauthor=False)) / "models"


def cache_dir() -> Path:
    """Return the folder for files that edgefc can rebuild; `EDGEFC_CACHE_DIR` overrides the system's cache folder."""
    return Path(os.environ.get("EDGEFC_CACHE_DIR") or platformdirs.user_cache_dir("edgefc", appauthor=False))


def config_dir() -> Path:
    """Return the folder of the user's settings; `EDGEFC_CONFIG_DIR` overrides the system's config folder."""
    return Path(os.environ.get("EDGEFC_CONFIG_DIR") or platformdirs.user_config_dir("edgefc", appauthor=False))


def state_dir() -> Path:
    """Return the folder of facts about running programs; `EDGEFC_STATE_DIR` overrides the system's state folder."""
    return Path(os.environ.get("EDGEFC_STATE_DIR") or platformdirs.user_state_dir("edgefc", appauthor=False))


def check_name(name: str) -> str:
    """Return a plain file name that is safe on every system. Raises StoreError for others."""
    is_safe = (
        0 < len(name.encode("utf-8", "replace")) <= 200
        and name.isprintable()
        and not name.startswith(".")
        and not name.endswith((".", " "))
        and not set(name) & set('/\\:*?"<>|')
        and not _DEVICE_NAME.fullmatch(name)
    )
    if not is_safe:
        raise StoreError(f"unsafe file name {name[:80]!r}", "Nothing was written.")
    return name


def inside(folder: Path, *names: str) -> Path:
    """Return the path of a file or folder below `folder`, each step of which is a plain name.

    Raises StoreError for any other name, and where a symbolic link leads out of the folder.
    """
    path = folder.joinpath(*map(check_name, names))
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise StoreError(f"{path} leads out of {folder} by a symbolic link", "Remove the link.")
    return path

"""The manifest of a stored model: which files belong to it, with their sizes and hashes.

A manifest may come with a bundle, from a stranger. `parse_manifest` is the only reader; all that it returns has exact
types and is safe to become part of a path.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from edgefc.errors import StoreError
from edgefc.paths import check_name, inside

MANIFEST_VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST = 1 << 20  # bytes
MAX_FILES = 1024
MAX_SIZE = 1 << 50  # bytes of a file
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
Role = Literal["model", "tokenizer", "licence"]
REPO_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_SHA1, SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
_SHORT_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}", re.ASCII)  # a quantization, a family
_CREATED = re.compile(r"\d{4}[\dT:+.Z-]{0,36}", re.ASCII)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a model: its name, size in bytes, and sha256 in hex."""

    name: str
    role: Role
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model on this machine.

    id        its name in models.toml; empty when it has none
    repo      the repository it came from, `owner/name`; empty for a file of the user's own
    revision  the commit it came from, or the package with its version
    created   time of the download, ISO 8601
    """

    folder: Path
    id: str
    repo: str
    revision: str
    quantization: str
    family: str
    licence: str
    created: str
    files: tuple[StoredFile, ...]

    @property
    def path(self) -> Path:
        """The GGUF; of a split one, the first part."""
        return inside(self.folder, self._model_file.name)

    @property
    def sha256(self) -> str:
        """Hash of the GGUF; of a split one, of its first part."""
        return self._model_file.sha256

    @property
    def name(self) -> str:
        return f"{self.id or self.repo or self.path.stem}:{self.quantization}"

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def _model_file(self) -> StoredFile:
        return next(file for file in self.files if file.role == "model")


def check_repo(repo: str) -> str:
    """Return a valid repository name, which becomes part of a path. Raises StoreError for others."""
    if not REPO_NAME.fullmatch(repo) or ".." in repo or "--" in repo or repo.endswith((".", ".git")):
        raise StoreError(f"invalid repository name {repo!r}", "Repositories are named OWNER/NAME.")
    return repo


def check_sha256(text: str) -> str:
    """Return a sha256 in hex. Raises StoreError for any other text."""
    if not SHA256.fullmatch(text):
        raise StoreError(f"invalid sha256 {text[:80]!r}", "It must be 64 hexadecimal digits.")
    return text


def check_digest(text: str) -> str:
    """Return a sha256 or a git id in hex, which becomes part of a path. Raises StoreError for any other text."""
    return text if _SHA1.fullmatch(text) else check_sha256(text)


def check_quantization(text: str) -> str:
    """Return the name of a quantization, which becomes part of a path. Raises StoreError for any other text."""
    if not _SHORT_NAME.fullmatch(text):
        raise StoreError(f"invalid quantization {text[:80]!r}", "It is named like Q4_K_M.")
    return check_name(text)


def parse_manifest(data: bytes, folder: Path) -> StoredModel:
    """Parse the manifest of the model in `folder`; the files themselves are not looked at. Raises StoreError."""
    try:
        if len(data) > MAX_MANIFEST:
            raise ValueError(f"larger than {MAX_MANIFEST:,} bytes")
        fields = json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys)
        return _parse_model(fields, folder)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"invalid manifest: {error}") from None
    except StoreError as error:
        raise StoreError(f"invalid manifest: {error.reason}") from None


def manifest_bytes(model: StoredModel) -> bytes:
    """Return a model's manifest as it is written to disk."""
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model) if field.name != "folder"}
    fields["files"] = [dataclasses.asdict(file) for file in model.files]
    return json.dumps({"format": MANIFEST_VERSION, **fields}, indent=1).encode()


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key appears twice")
    return fields


def _is_text(pattern: re.Pattern[str] | None = None) -> Callable[[str], bool]:
    """Return a test for a field of text: empty, or of this pattern, else one printable line."""
    return lambda text: not text or (pattern.fullmatch(text) is not None if pattern else _is_line(text))


def _is_line(text: str) -> bool:
    return len(text) <= 200 and text.isprintable()


_MODEL_FIELDS: Mapping[str, Callable[[str], bool]] = {
    "id": lambda text: not text or check_name(text) == text,
    "repo": lambda text: not text or check_repo(text) == text,
    "revision": _is_text(),
    "quantization": lambda text: check_quantization(text) == text,
    "family": lambda text: _is_text(_SHORT_NAME)(text) and not text.endswith(".toml"),
    "licence": _is_text(),
    "created": _is_text(_CREATED),
}


def _parse_model(fields: Any, folder: Path) -> StoredModel:
    entries = _take(fields, "files", list)
    if _take(fields, "format", int) != MANIFEST_VERSION:
        raise ValueError("unsupported version")
    texts = {name: _take(fields, name, str) for name in _MODEL_FIELDS}
    if unknown := fields.keys() - {"files", "format", *_MODEL_FIELDS}:
        raise ValueError(f"unknown field {min(unknown)[:80]!r}")
    for name, text in texts.items():
        if not _MODEL_FIELDS[name](text):
            raise ValueError(f"invalid {name} {text[:80]!r}")
    if not 0 < len(entries) <= MAX_FILES:
        raise ValueError(f"it lists {len(entries)} files")
    files = tuple(_parse_file(entry) for entry in entries)
    if len({file.name.casefold() for file in files}) < len(files):
        raise ValueError("it lists a file twice")
    if not any(file.role == "model" for file in files):
        raise ValueError("it lists no model file")
    return StoredModel(folder=folder, files=files, **texts)


def _parse_file(entry: Any) -> StoredFile:
    name, role = check_name(_take(entry, "name", str)), _take(entry, "role", str)
    size, sha256 = _take(entry, "size", int), check_sha256(_take(entry, "sha256", str))
    if len(entry) != 4:
        raise ValueError(f"unknown fields of the file {name!r}")
    if role not in get_args(Role):
        raise ValueError(f"unknown role {role[:80]!r}")
    lower = name.lower()
    is_named_right = {
        "model": lower.endswith(".gguf"),
        "tokenizer": name in {TOKENIZER, TOKENIZER_CONFIG},
        "licence": not lower.endswith((".gguf", ".json")),
    }[role]
    if not is_named_right:
        raise ValueError(f"the {role} file is named {name!r}")
    if not (1 if role == "model" else 0) <= size <= MAX_SIZE:
        raise ValueError(f"{name} has {size} bytes")
    return StoredFile(name, role, size, sha256)


def _take(fields: Any, name: str, expected: type) -> Any:
    """Return a field of exactly this type. Raises ValueError."""
    value = fields.get(name) if isinstance(fields, dict) else None
    if type(value) is not expected:  # True is no number
        raise ValueError(f"{name} must be of the type {expected.__name__}")
    return value

"""Models that other programs have on this machine: Ollama, LM Studio and huggingface_hub's cache.

    OLLAMA_MODELS or ~/.ollama/models   manifests/HOST/NAMESPACE/MODEL/TAG, JSON with the digest of blobs/sha256-HEX
    ~/.lmstudio/models                  PUBLISHER/REPOSITORY/NAME.gguf
    HF_HUB_CACHE or HF_HOME/hub         models--OWNER--NAME/snapshots/COMMIT/NAME.gguf, links to blobs

Nothing is written there. Content that is malformed, too large, or leads out of a program's folder is left out.
EDGEFC_FIND_MODELS=0 turns the search off.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgefc.errors import StoreError
from edgefc.files import open_regular, read_small
from edgefc.models.manifest import REPO_NAME
from edgefc.models.quantization import NO_MODEL, SPLIT, UNNAMED, quantization_of

log = logging.getLogger(__name__)
Program = Literal["Ollama", "LM Studio", "huggingface_hub"]
MAX_ENTRIES = 20_000  # files and folders that are looked at in one program's folder
MAX_MODELS = 500  # of one program
MAX_DEPTH = 6  # of folders below a program's
MAX_MANIFEST = 64 << 10  # bytes; Ollama's have about one KiB
OLLAMA_HOST, OLLAMA_NAMESPACE = "registry.ollama.ai", "library"  # left out of a model's name
MODEL_LAYER = "application/vnd.ollama.image.model"
_PART = re.compile(r"[A-Za-z0-9][\w.+-]{0,95}", re.ASCII)  # of a name in Ollama
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model file of another program.

    name          as that program names it: `qwen3:4b` in Ollama, else `OWNER/NAME:QUANTIZATION`
    path          the file; in huggingface_hub's cache the link to it
    size          in bytes
    repo          repository it came from, `owner/name`; "" for Ollama's own library
    quantization  as its name states it; "" if it does not
    sha256        hash that the program states; "" if it states none. It was not compared with the file
    """

    name: str
    path: Path
    program: Program
    size: int
    repo: str = ""
    quantization: str = ""
    sha256: str = ""


def found_models() -> list[FoundModel]:
    """List the models of other programs, by program and name; of several with one name, the first."""
    if os.environ.get("EDGEFC_FIND_MODELS", "").upper() in {"0", "OFF", "NO", "FALSE"}:
        return []
    found: dict[str, FoundModel] = {}
    for search in (_ollama_models, _lm_studio_models, _hub_models):
        for number, model in enumerate(search()):
            if number >= MAX_MODELS:
                log.info("left out: more than %d models of %s", MAX_MODELS, model.program)
                break
            found.setdefault(model.name.lower(), model)
    return list(found.values())


def find(name: str) -> FoundModel | None:
    """Find the model with this name; the tag `latest` and the quantization of a repository may be left out."""
    key = name.lower().removeprefix(f"{OLLAMA_HOST}/").removeprefix(f"{OLLAMA_NAMESPACE}/")
    if not key:
        return None
    models = found_models()
    return next(
        (model for model in models if key in {model.name.lower(), f"{model.repo}:{model.quantization}".lower()}),
        None,
    ) or next((model for model in models if f"{key}:latest" == model.name.lower() or key == model.repo.lower()), None)


def find_file(repo: str, name: str, sha256: str) -> FoundModel | None:
    """Find a file of a hub's repository by its hash, as programs state it, or by repository and name. It may differ."""
    return next(
        (
            model
            for model in found_models()
            if model.sha256 == sha256 or (model.repo.lower() == repo.lower() and model.path.name == name)
        ),
        None,
    )


# -- Ollama -------------------------------------------------------------------------------------------------------


def _ollama_models() -> Iterator[FoundModel]:
    for root in _ollama_folders():
        manifests = root / "manifests"
        for path in _files_below(manifests):
            host, *names = path.relative_to(manifests).parts
            if len(names) < 2 or not all(map(_PART.fullmatch, (host, *names))):
                continue
            try:
                digest = _model_digest(read_small(path, MAX_MANIFEST))
                blob = root / "blobs" / f"sha256-{digest}"
                size = _gguf_size(blob, root)
            except (OSError, ValueError, RecursionError, StoreError) as error:
                log.info("left out: %s: %s", path, error)
                continue
            yield FoundModel(
                name=_ollama_name(host, names),
                path=blob,
                program="Ollama",
                size=size,
                repo=_repo_of(host, names),
                quantization=_stated(names[-1]),
                sha256=digest,
            )


def _ollama_folders() -> list[Path]:
    if override := os.environ.get("OLLAMA_MODELS"):
        return [Path(override)]
    service = [Path("/usr/share/ollama/.ollama/models")] if os.name == "posix" else []
    return [*_in_home(".ollama/models"), *service]


def _model_digest(data: bytes) -> str:
    """Return the sha256 of the weights that a manifest names. Raises ValueError."""
    manifest = json.loads(data)
    layers = manifest.get("layers") if isinstance(manifest, dict) else None
    for layer in layers if isinstance(layers, list) else ():
        if isinstance(layer, dict) and layer.get("mediaType") == MODEL_LAYER:
            match = _DIGEST.fullmatch(str(layer.get("digest")))
            if match is None:
                raise ValueError("invalid digest")
            return match[1]
    raise ValueError("it names no weights")


def _ollama_name(host: str, names: list[str]) -> str:
    *path, model, tag = names if host == OLLAMA_HOST else [host, *names]
    return "/".join([*(path if path != [OLLAMA_NAMESPACE] else ()), f"{model}:{tag}"])


def _repo_of(host: str, names: list[str]) -> str:
    """Return the repository of a model that Ollama fetched from a hub."""
    repo = "/".join(names[:-1])
    return repo if host in {"hf.co", "huggingface.co"} and REPO_NAME.fullmatch(repo) else ""


# -- LM Studio and huggingface_hub --------------------------------------------------------------------------------


def _lm_studio_models() -> Iterator[FoundModel]:
    for root in _in_home(".lmstudio/models", ".cache/lm-studio/models"):
        for path in _files_below(root):
            repo = "/".join(path.relative_to(root).parts[:2])
            if _is_model_name(path.name) and REPO_NAME.fullmatch(repo):
                yield from _repo_model("LM Studio", repo, path, root)


def _hub_models() -> Iterator[FoundModel]:
    root = _hub_cache()
    for entry in _entries(root) if root else ():
        folder = Path(entry.path)
        kind, _, name = entry.name.partition("--")
        repo = name.replace("--", "/")
        if kind != "models" or not REPO_NAME.fullmatch(repo) or not _is_folder(entry):
            continue
        for path in _files_below(_snapshot(folder)):
            if _is_model_name(path.name):
                yield from _repo_model("huggingface_hub", repo, path, folder)


def _hub_cache() -> Path | None:
    for name, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if value := os.environ.get(name):
            return Path(value, below).expanduser()
    if value := os.environ.get("XDG_CACHE_HOME"):
        return Path(value, "huggingface", "hub")
    return next(iter(_in_home(".cache/huggingface/hub")), None)


def _snapshot(folder: Path) -> Path:
    """Return the folder of the main branch's commit, else of any other."""
    snapshots = folder / "snapshots"
    try:
        commit = read_small(folder / "refs" / "main", 100).decode("ascii").strip()
    except (OSError, ValueError):
        commit = ""
    if re.fullmatch(r"[0-9a-f]{40}", commit) and (snapshots / commit).is_dir():
        return snapshots / commit
    return next((Path(entry.path) for entry in _entries(snapshots) if _is_folder(entry)), snapshots)


def _repo_model(program: Program, repo: str, path: Path, root: Path) -> Iterator[FoundModel]:
    try:
        size = _gguf_size(path, root)
    except (OSError, StoreError) as error:
        log.info("left out: %s: %s", path, error)
        return
    quantization = _stated(path.name)
    yield FoundModel(f"{repo}:{quantization}" if quantization else repo, path, program, size, repo, quantization)


def _is_model_name(name: str) -> bool:
    split = SPLIT.search(name)
    return name.lower().endswith(".gguf") and not NO_MODEL.search(name) and (split is None or int(split[1]) == 1)


def _stated(name: str) -> str:
    quantization = quantization_of(name)
    return "" if quantization == UNNAMED else quantization


# -- folders ------------------------------------------------------------------------------------------------------


def _in_home(*names: str) -> list[Path]:
    try:
        return [Path.home() / name for name in names]
    except RuntimeError:  # no home
        return []


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder's entries by name, at most MAX_ENTRIES; empty for a folder that cannot be read."""
    entries: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as scan:
            for entry in scan:
                entries.append(entry)
                if len(entries) >= MAX_ENTRIES:
                    break
    except (OSError, ValueError):
        return []
    return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _files_below(root: Path) -> Iterator[Path]:
    """Yield the files below a folder in the order of their names; links to folders are not followed."""
    count = 0
    todo = [(root, 0)]
    while todo:
        folder, depth = todo.pop()
        entries = _entries(folder)
        count += len(entries)
        if count > MAX_ENTRIES:
            log.info("left out: %s has more than %d entries", root, MAX_ENTRIES)
            return
        folders = [Path(entry.path) for entry in entries if _is_folder(entry)]
        todo += [(path, depth + 1) for path in reversed(folders) if depth < MAX_DEPTH]
        yield from (Path(entry.path) for entry in entries if not _is_folder(entry))


def _gguf_size(path: Path, root: Path) -> int:
    """Return the size of a GGUF. Raises OSError for other files, StoreError for one outside of `root`."""
    try:
        real, inside = path.resolve(strict=True), root.resolve()
    except RuntimeError:  # links in a circle
        raise StoreError("it is a link to itself") from None
    if not real.is_relative_to(inside):
        raise StoreError("it is a link that leads out of the folder")
    with open_regular(real) as file:
        if file.read(4) != b"GGUF":
            raise StoreError("it is not a GGUF")
        return os.fstat(file.fileno()).st_size

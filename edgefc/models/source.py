"""Parses a user's name for a model, and chooses which of a repository's files to fetch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgefc.errors import DownloadError, ModelNotFoundError, RequestError
from edgefc.models import registry, store
from edgefc.models.download import RemoteFile
from edgefc.models.manifest import check_repo
from edgefc.models.package import PackagedFile
from edgefc.models.quantization import NO_MODEL, SPLIT, UNNAMED, quantization_of

# The best compromise first. Below 2.5 GB, Q8_0 is preferred: the smaller a model, the more it loses by quantization.
PREFERENCE = (
    "Q4_K_M", "Q5_K_M", "Q4_K_S", "Q4_K_L", "Q4_0", "IQ4_XS", "IQ4_NL", "Q5_K_S", "Q6_K", "Q8_0", "Q5_0", "Q5_1",
    "Q4_1", "Q3_K_L", "Q3_K_M", "IQ3_M", "F16", "BF16", "FP16", UNNAMED, "Q3_K_S", "Q2_K", "F32",
)  # fmt: skip
SMALL = 2_500_000_000  # bytes
OVERHEAD = 700 << 20  # bytes for KV cache and buffers, when only the size of the weights is known


@dataclass(frozen=True, slots=True)
class Repository:
    """The contents of a hub repository at one commit; `files` by path."""

    id: str
    revision: str
    licence: str = ""
    base_model: str = ""
    files: dict[str, RemoteFile] = field(default_factory=dict)

    @property
    def models(self) -> dict[str, list[RemoteFile]]:
        """Quantization → the GGUF's file, or its parts in order. Raises DownloadError when a part is missing."""
        files_by_name: dict[str, list[RemoteFile]] = {}
        for path, file in sorted(self.files.items()):
            if path.lower().endswith(".gguf") and not NO_MODEL.search(path):
                files_by_name.setdefault(quantization_of(path), []).append(file)
        return {name: _all_parts(files) for name, files in files_by_name.items()}


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The meaning of a user's name for a model: a repository, perhaps with a file or quantization, or another place.

    Exactly one of `repo`, `package`, `url` and `path` is set; `card` is the entry of models.toml, if there is one.
    """

    repo: str = ""
    revision: str | None = None
    quantization: str = ""
    file: str = ""
    package: PackagedFile | None = None
    url: str = ""
    path: Path | None = None
    card: registry.ModelCard | None = None


def _all_parts(files: list[RemoteFile]) -> list[RemoteFile]:
    """Return all parts of one model. When several whole files have a quantization, the first is chosen."""
    parts = [file for file in files if SPLIT.search(file.path)]
    if not parts or len(parts) < len(files):
        return [file for file in files if file not in parts][:1]
    first = SPLIT.search(parts[0].path)
    assert first is not None
    stem, count = parts[0].path[: first.start()], int(first[2])
    by_path = {file.path: file for file in parts}
    names = [f"{stem}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]
    if missing := [name for name in names if name not in by_path]:
        raise DownloadError(f"the repository lacks {missing[0]}, a part of a model", "Choose another quantization.")
    return [by_path[name] for name in names]


def parse_source(name: str, *, endpoint: str) -> ModelSource:
    """Parse a model's name: an id, OWNER/NAME, either with :QUANTIZATION, a name of Ollama, a URL, or a path.

    Raises ModelNotFoundError, StoreError or RequestError for other names.
    """
    name = registry.plain_name(name)
    if "://" in name:
        return _parse_url(name, endpoint)
    path = registry.local_path(name)
    if path.suffix.lower() == ".gguf" or _is_file(path):
        return ModelSource(path=path)
    named = registry.find_card(name)
    if named is not None:
        card = named.card
        if card.path is not None:
            what = "is part of edgefc" if card.embedded else f"is the file {card.path}"
            raise ModelNotFoundError(f"{card.title} {what}: there is nothing to fetch")
        if card.package:
            packaged = PackagedFile(card.package, card.file, card.sha256)
            return with_choice(ModelSource(package=packaged, card=card), named.quantization, None)
        if not card.repo:
            raise ModelNotFoundError(f"no repository with a GGUF of {card.title} is known", card.about)
        return ModelSource(repo=card.repo, quantization=named.quantization, card=card)
    base, _, quantization = name.partition(":")
    if "/" in base:
        return ModelSource(repo=check_repo(base), quantization=quantization, card=_card_with_repo(base))
    raise registry.unknown_model(name, registry.cards())


def with_choice(source: ModelSource, quantization: str, revision: str | None) -> ModelSource:
    """Add what a user asks for beside the name; what a package lacks comes from the repository of its card.

    Raises ModelNotFoundError.
    """
    chosen = replace(source, quantization=quantization or source.quantization, revision=revision or source.revision)
    if source.package is None or source.card is None:
        return chosen
    own = quantization_of(source.package.path)
    if revision is None and chosen.quantization.upper() in {"", own}:
        return chosen
    if source.card.repo:
        return replace(chosen, package=None, repo=source.card.repo)
    raise ModelNotFoundError(
        f"{source.card.id} has no {revision or quantization}", f"It is in {source.package.requirement}, as {own}."
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no name that a file can have
        return False


def _card_with_repo(repo: str) -> registry.ModelCard | None:
    return next((card for card in registry.cards().values() if card.repo.lower() == repo.lower()), None)


def _parse_url(name: str, endpoint: str) -> ModelSource:
    parts = urlsplit(name)
    if parts.scheme not in {"http", "https"}:
        raise RequestError(
            "model", f"unsupported URL scheme '{parts.scheme}://'", "Give an https URL, OWNER/NAME or a path."
        )
    hosts = {"huggingface.co", "hf.co", urlsplit(endpoint).netloc}
    steps = [unquote(step) for step in parts.path.strip("/").split("/")]
    if parts.netloc in hosts and len(steps) == 2:
        repo = check_repo("/".join(steps))
        return ModelSource(repo=repo, card=_card_with_repo(repo))
    if parts.netloc in hosts and len(steps) >= 5 and steps[2] in {"resolve", "blob"}:
        repo = check_repo("/".join(steps[:2]))
        return ModelSource(repo=repo, revision=steps[3], file="/".join(steps[4:]), card=_card_with_repo(repo))
    store.local_name(unquote(parts.path).rpartition("/")[2])
    return ModelSource(url=name)


def choose_files(repo: Repository, source: ModelSource, max_memory: int) -> tuple[str, list[RemoteFile]]:
    """Choose the quantization to fetch, and its files; `max_memory` are the bytes of memory it may use.

    Raises ModelNotFoundError for a quantization or file that the repository lacks, DownloadError when none fits.
    """
    models = repo.models
    if not models:
        raise ModelNotFoundError(f"{repo.id} holds no GGUF", "Look for a repository whose name ends in GGUF.")
    if source.file:
        return _named_file(repo, models, source.file)
    listing = ", ".join(f"{name} ({_total_size(files) / 1e9:.2f} GB)" for name, files in models.items())
    if source.quantization:
        by_upper = {name.upper(): name for name in models}
        name = by_upper.get(source.quantization.upper())
        if name is None:
            raise ModelNotFoundError(f"{repo.id} has no {source.quantization}", f"It has {listing}.")
        return name, models[name]
    fitting = [name for name, files in models.items() if _total_size(files) + OVERHEAD <= max_memory]
    if not fitting:
        raise DownloadError(
            f"nothing of {repo.id} fits into the {max_memory / 1e9:.1f} GB of free memory: {listing}",
            "Close other programs, or name a quantization to fetch it anyway.",
        )
    best = min(fitting, key=lambda name: (_rank(name, _total_size(models[name])), _total_size(models[name])))
    return best, models[best]


def _named_file(repo: Repository, models: dict[str, list[RemoteFile]], path: str) -> tuple[str, list[RemoteFile]]:
    """Find the model that a file belongs to. Raises ModelNotFoundError."""
    for name, files in models.items():
        if any(file.path == path for file in files):
            return name, files
    if path in repo.files:
        return quantization_of(path), [repo.files[path]]
    raise ModelNotFoundError(f"{repo.id} holds no {path}", f"It holds {', '.join(models)}.")


def _rank(name: str, size: int) -> int:
    if name == "Q8_0" and size < SMALL:
        return -1
    return PREFERENCE.index(name) if name in PREFERENCE else len(PREFERENCE)


def _total_size(files: list[RemoteFile]) -> int:
    return sum(file.size or 0 for file in files)

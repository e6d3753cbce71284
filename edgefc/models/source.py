"""What a user's name for a model means, and which of a repository's files that is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgefc.errors import DownloadError, ModelNotFoundError, RequestError
from edgefc.models import registry, store
from edgefc.models.download import RemoteFile

QUANTIZATION = re.compile(
    r"(?i)(?:^|[-._/])(IQ[1-4]_(?:XXS|XS|S|M|NL)|TQ[12]_0|MXFP4|Q[2-8]_(?:K(?:_[SMLX]{1,2})?|[01](?:_\d_\d)?)|BF16|F16|FP16|F32)"
    r"(?=[-._/]|$)"
)
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_NO_MODEL = re.compile(r"(?i)mmproj|imatrix|/\.|^\.")
UNNAMED = "gguf"  # the quantization of a file whose name states none
# From the best compromise on. Below 2.5 GB, Q8_0 comes first: the smaller a model, the more it loses by rounding.
PREFERENCE = (
    "Q4_K_M", "Q5_K_M", "Q4_K_S", "Q4_K_L", "Q4_0", "IQ4_XS", "IQ4_NL", "Q5_K_S", "Q6_K", "Q8_0", "Q5_0", "Q5_1",
    "Q4_1", "Q3_K_L", "Q3_K_M", "IQ3_M", "F16", "BF16", "FP16", UNNAMED, "Q3_K_S", "Q2_K", "F32",
)  # fmt: skip
SMALL = 2_500_000_000
BESIDE_WEIGHTS = 700 << 20  # bytes for KV cache and buffers when nothing is known of a model but its size


@dataclass(frozen=True, slots=True)
class Repository:
    """What a repository holds at one commit."""

    id: str
    revision: str
    licence: str = ""
    base_model: str = ""
    files: dict[str, RemoteFile] = field(default_factory=dict)

    @property
    def models(self) -> dict[str, list[RemoteFile]]:
        """Quantization → the GGUF's file, or its parts in order. Raises DownloadError when a part is missing."""
        found: dict[str, list[RemoteFile]] = {}
        for path, file in sorted(self.files.items()):
            if path.lower().endswith(".gguf") and not _NO_MODEL.search(path):
                found.setdefault(quantization_of(path), []).append(file)
        return {name: _whole(files) for name, files in found.items()}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asked for: a repository's file or quantization, a URL elsewhere, or a file."""

    repo: str = ""
    revision: str | None = None
    quantization: str = ""
    file: str = ""
    url: str = ""
    path: Path | None = None
    card: registry.ModelCard | None = None


def quantization_of(path: str) -> str:
    """The quantization that a file's name states, in capitals."""
    found = QUANTIZATION.findall(_SPLIT.sub(".gguf", path).removesuffix(".gguf"))
    return str(found[-1]).upper() if found else UNNAMED


def _whole(files: list[RemoteFile]) -> list[RemoteFile]:
    """All parts of one model. Where several files have a quantization, the first is taken."""
    parts = [file for file in files if _SPLIT.search(file.path)]
    if not parts or len(parts) < len(files):
        return [file for file in files if file not in parts][:1]
    first = _SPLIT.search(parts[0].path)
    assert first is not None
    stem, count = parts[0].path[: first.start()], int(first[2])
    have = {file.path: file for file in parts}
    names = [f"{stem}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]
    if missing := [name for name in names if name not in have]:
        raise DownloadError(f"the repository lacks {missing[0]}, a part of a model", "Choose another quantization.")
    return [have[name] for name in names]


def parse(name: str, *, endpoint: str) -> Wanted:
    """What a name means: an id of models.toml, OWNER/NAME, either with :QUANTIZATION, a URL, or a path.

    Raises ModelNotFoundError or StoreError for what is none of them.
    """
    if "://" in name:
        return _parse_url(name, endpoint)
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf" or path.is_file():
        return Wanted(path=path)
    plain, _, quantization = name.partition(":")
    card = registry.cards().get(plain)
    if card is not None:
        if card.embedded:
            raise ModelNotFoundError(f"{card.title} is part of edgefc: there is nothing to fetch")
        if not card.repo:
            raise ModelNotFoundError(f"no repository with a GGUF of {card.title} is known", card.about)
        return Wanted(repo=card.repo, quantization=quantization, card=card)
    if "/" in plain:
        return Wanted(repo=store.check_repo(plain), quantization=quantization, card=_card_of(plain))
    registry.resolve(plain)  # says what is near
    raise ModelNotFoundError(f"unknown model {name!r}", "Give an id, OWNER/NAME, a URL or a path.")


def _card_of(repo: str) -> registry.ModelCard | None:
    return next((card for card in registry.cards().values() if card.repo.lower() == repo.lower()), None)


def _parse_url(name: str, endpoint: str) -> Wanted:
    parts = urlsplit(name)
    if parts.scheme not in {"http", "https"}:
        raise RequestError(
            "model", f"{parts.scheme}:// is not fetched from", "Give an https URL, OWNER/NAME or a path."
        )
    hosts = {"huggingface.co", "hf.co", urlsplit(endpoint).netloc}
    steps = [unquote(step) for step in parts.path.strip("/").split("/")]
    if parts.netloc in hosts and len(steps) == 2:
        repo = store.check_repo("/".join(steps))
        return Wanted(repo=repo, card=_card_of(repo))
    if parts.netloc in hosts and len(steps) >= 5 and steps[2] in {"resolve", "blob"}:
        repo = store.check_repo("/".join(steps[:2]))
        return Wanted(repo=repo, revision=steps[3], file="/".join(steps[4:]), card=_card_of(repo))
    store.base_name(unquote(parts.path).rpartition("/")[2])
    return Wanted(url=name)


def choose(repo: Repository, wanted: Wanted, room: int) -> tuple[str, list[RemoteFile]]:
    """The quantization to fetch, and its files; `room` are the bytes of memory that may be used.

    Raises ModelNotFoundError for a quantization that is not there, DownloadError when none fits.
    """
    models = repo.models
    if not models:
        raise ModelNotFoundError(f"{repo.id} holds no GGUF", "Look for a repository whose name ends in GGUF.")
    if wanted.file:
        found = [(name, files) for name, files in models.items() if any(f.path == wanted.file for f in files)]
        if not found and wanted.file in repo.files:
            return quantization_of(wanted.file), [repo.files[wanted.file]]
        if not found:
            raise ModelNotFoundError(f"{repo.id} holds no {wanted.file}", f"It holds {', '.join(models)}.")
        return found[0]
    listed = ", ".join(f"{name} ({_size(files) / 1e9:.2f} GB)" for name, files in models.items())
    if wanted.quantization:
        name = wanted.quantization.upper()
        near = {key.upper(): key for key in models}
        if name not in near:
            raise ModelNotFoundError(f"{repo.id} has no {wanted.quantization}", f"It has {listed}.")
        return near[name], models[near[name]]
    fitting = [name for name, files in models.items() if _size(files) + BESIDE_WEIGHTS <= room]
    if not fitting:
        raise DownloadError(
            f"nothing of {repo.id} fits into the {room / 1e9:.1f} GB of memory that are free: {listed}",
            "Close other programs, or name a quantization to fetch it all the same.",
        )
    best = min(fitting, key=lambda name: (_rank(name, _size(models[name])), _size(models[name])))
    return best, models[best]


def _rank(name: str, size: int) -> int:
    if name == "Q8_0" and size < SMALL:
        return -1
    return PREFERENCE.index(name) if name in PREFERENCE else len(PREFERENCE)


def _size(files: list[RemoteFile]) -> int:
    return sum(file.size or 0 for file in files)

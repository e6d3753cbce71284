"""Fetches what is needed of a model where another server computes it: tokenizer, chat template and settings."""

from __future__ import annotations

from pathlib import Path

from edgefc.errors import DownloadError, ModelNotFoundError, require_extra
from edgefc.models import hub, registry
from edgefc.models.manifest import TOKENIZER, TOKENIZER_CONFIG, check_repo
from edgefc.models.reporter import Reporter, SilentReporter
from edgefc.models.source import Repository

# As `edgefc.engine.tokenizer_files` reads them; the first one is indispensable.
FILES = (TOKENIZER, TOKENIZER_CONFIG, "chat_template.jinja", "config.json", "generation_config.json")
MAX_FILE = 128 << 20  # bytes


def pull_tokenizer(
    name: str, folder: Path, *, endpoint: str | None = None, reporter: Reporter | None = None
) -> list[Path]:
    """Fetch the files of a model's own repository into a folder; return their paths.

    name  an id of models.toml, or OWNER/NAME; the repository of a GGUF leads to that of the model it was made from

    Raises ModelNotFoundError, DownloadError and its subclasses, or StoreError.
    """
    require_extra("hub", "huggingface_hub", "httpx2")
    repo, report = _repository(name, endpoint), reporter or SilentReporter()
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for file_name in FILES:
        file = repo.files.get(file_name)
        if file is None or (file.size or 0) > MAX_FILE:
            continue
        report.begin(file_name, file.size)
        hub.download(file, folder / file_name, endpoint=endpoint, with_token=True, progress=report.advance)
        paths.append(folder / file_name)
    return paths


def _repository(name: str, endpoint: str | None) -> Repository:
    """Find the repository with the tokenizer of a model."""
    named = registry.find_card(name)
    start = (named.card.tokenizer_repo or named.card.repo) if named else name.partition(":")[0]
    if not start or "/" not in start:
        if named is None:
            raise registry.unknown_model(name, registry.cards())
        raise ModelNotFoundError(f"no repository of {named.card.title} is known", "Name the model as OWNER/NAME.")
    repo = hub.get_repository(check_repo(start), endpoint=endpoint)
    if TOKENIZER not in repo.files and repo.base_model:
        repo = hub.get_repository(check_repo(repo.base_model), endpoint=endpoint)
    if TOKENIZER not in repo.files:
        raise DownloadError(f"{repo.id} has no {TOKENIZER}", "Name the repository of the model itself.")
    return repo

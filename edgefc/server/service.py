"""What a server answers with: its models, its settings, and what is kept of all requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from edgefc.engine import Engine
from edgefc.errors import RequestError
from edgefc.model import Model
from edgefc.server.jobs import Jobs
from edgefc.server.metrics import Metrics
from edgefc.server.model_pool import Models
from edgefc.server.settings import Settings


class Service:
    """All that the requests of a server share."""

    def __init__(self, models: Models, settings: Settings) -> None:
        self.models, self.settings = models, settings
        self.jobs = Jobs(settings.parallel * len(models.places) + settings.max_waiting, settings.timeout)
        self.metrics = Metrics(
            running=lambda: len(self.jobs.running),
            kept_bytes=lambda: sum(_engine(model).prefix_bytes for model in models.loaded),
            loaded=lambda: len(models.loaded),
        )

    @asynccontextmanager
    async def using(self, name: str | None) -> AsyncIterator[Served]:
        """The model of this name, loaded, which stays as long as this is open. Raises what `Models.using` raises."""
        async with self.models.using(name) as (shown, model):
            yield Served(shown, model, self.jobs, self.metrics, self.settings)


@dataclass(frozen=True, slots=True)
class Served:
    """A model as one request sees it; `name` is what answers call it."""

    name: str
    model: Model
    jobs: Jobs
    metrics: Metrics
    settings: Settings

    @property
    def engine(self) -> Engine:
        return _engine(self.model)

    def check_grammar(self, grammar: str | None) -> None:
        """Raises RequestError for a request's own grammar where none is taken."""
        if grammar is not None and not self.settings.grammars:
            raise RequestError("grammar", "this server takes no grammars from requests", "Start it with --grammars.")


def _engine(model: Model) -> Engine:
    assert isinstance(model.engine, Engine)
    return model.engine

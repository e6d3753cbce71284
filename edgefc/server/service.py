"""Everything that the requests of one server share."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgefc.errors import RequestError
from edgefc.grammar import calls
from edgefc.model import Model
from edgefc.server.jobs import Jobs
from edgefc.server.linter import ToolLinter
from edgefc.server.metrics import Metrics
from edgefc.server.model_pool import ModelPool, ServedModel
from edgefc.server.request_record import RequestRecord
from edgefc.server.settings import Settings

if TYPE_CHECKING:
    from edgefc.mcp import McpTools


def cached_bytes(models: Sequence[Model]) -> Mapping[str, int]:
    """Return the memory of each cache, of all models together."""
    sizes = Counter({"grammar texts": calls.cached_bytes()})
    for model in models:
        sizes.update(model.engine.cached_bytes)
    return sizes


class Service:
    """The models, settings, jobs and metrics of a server, and the MCP servers whose tools it runs."""

    def __init__(self, models: ModelPool, settings: Settings) -> None:
        self.models, self.settings = models, settings
        self.jobs = Jobs(settings.parallel * len(models.entries) + settings.max_waiting, settings.timeout)
        self.linter = ToolLinter(settings.timeout)
        self.mcp = _connect(settings.mcp) if settings.mcp else None
        self.metrics = Metrics(
            running=lambda: len(self.jobs.running),
            cached_bytes=lambda: cached_bytes(models.loaded),
            models_loaded=lambda: len(models.loaded),
        )

    @asynccontextmanager
    async def open(self, name: str | None, record: RequestRecord | None = None) -> AsyncIterator[RequestContext]:
        """Give a request the model of this name, loaded until the context ends. Raises what `ModelPool.use` raises."""
        record = record or RequestRecord()
        async with self.models.use(name) as (entry, model):
            record.model = entry.name
            record.loaded = time.perf_counter()
            yield RequestContext(entry, model, self.jobs, self.metrics, self.settings, record, self.mcp)

    def close(self) -> None:
        """End the jobs, the linter's process and the MCP servers."""
        self.jobs.close()
        self.linter.close()
        if self.mcp is not None:
            self.mcp.close()


def _connect(path: str) -> McpTools:
    """Read the configuration of MCP servers, which start when a request needs them. Raises RequestError."""
    from edgefc import mcp

    return mcp.connect(path)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request's model, and what it shares with other requests."""

    entry: ServedModel
    model: Model
    jobs: Jobs
    metrics: Metrics
    settings: Settings
    record: RequestRecord
    mcp: McpTools | None = None

    @property
    def model_name(self) -> str:
        """The name of the model in the response."""
        return self.entry.name

    def keep_alive(self, seconds: float) -> None:
        """Unload the model when it has been idle for so long; infinite: never."""
        if self.entry.can_unload:
            self.entry.keep_alive = seconds
        elif seconds < math.inf:
            self.record.warn(["keep_alive has no effect"])

    def check_grammar(self, grammar: str | None) -> None:
        """Raise RequestError for a grammar in the request if the server does not accept any."""
        if grammar is not None and not self.settings.grammars:
            raise RequestError(
                ("grammar",), "this server accepts no grammars in requests", "Start it with --grammars to allow them."
            )

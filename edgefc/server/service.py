"""Everything that the requests of one server share."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgefc.chat.options import ChatOptions
from edgefc.errors import ModelNotFoundError, RequestError
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
            adapter = _adapter_of(name, entry, model, is_only=len(self.models.entries) == 1)
            record.model = entry.name if adapter is None else f"{entry.name}:{adapter}"
            record.loaded = time.perf_counter()
            yield RequestContext(entry, model, self.jobs, self.metrics, self.settings, record, self.mcp, adapter)

    def close(self) -> None:
        """End the jobs, the linter's process and the MCP servers."""
        self.jobs.close()
        self.linter.close()
        if self.mcp is not None:
            self.mcp.close()


def _adapter_of(name: str | None, entry: ServedModel, model: Model, *, is_only: bool) -> str | None:
    """Return the LoRA adapter that a request names as `MODEL:ADAPTER`. Raises ModelNotFoundError if there is none.

    is_only  no other model is served, so that this one answers to any name
    """
    adapter, choices = entry.adapter_in(name), model.engine.adapters.choices
    if adapter in choices:
        return adapter
    if not adapter or (is_only and not choices):
        return None
    here = f"Loaded are {', '.join(choices)}." if choices else "There is none to choose: see --lora."
    raise ModelNotFoundError(f"{entry.name} has no LoRA adapter {adapter[:80]!r}", here)


def _connect(path: str) -> McpTools:
    """Read the configuration of MCP servers, which start when a request needs them. Raises RequestError."""
    from edgefc import mcp

    return mcp.connect(path)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request's model, and what it shares with other requests.

    adapter  the LoRA adapter that the model's name in the request has; None: it has none
    """

    entry: ServedModel
    model: Model
    jobs: Jobs
    metrics: Metrics
    settings: Settings
    record: RequestRecord
    mcp: McpTools | None = None
    adapter: str | None = None

    @property
    def model_name(self) -> str:
        """The name of the model in the response."""
        return self.record.model

    def with_adapter(self, options: ChatOptions) -> ChatOptions:
        """Return a request's options with the adapter that its model's name has. Raises RequestError."""
        if self.adapter is None:
            return options
        if options.get("lora") is not None:
            raise RequestError(("lora",), f"{self.model_name} names an adapter already", "Use one of the two.")
        return {**options, "lora": {self.adapter: self.model.engine.adapters.scales[self.adapter] or 1.0}}

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

"""The models of a server: loaded on request, and unloaded to make room for others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from edgefc import hardware
from edgefc.errors import EngineClosedError, ModelLoadError, ModelNotFoundError, RequestError
from edgefc.model import Model, load, needed_memory

MEMORY_OPTIONS = ("n_ctx", "n_gpu_layers", "n_parallel", "lora")  # options of `load` that its memory depends on
LATEST = ":latest"
MIN_CHECK_S, MAX_CHECK_S = 0.1, 10.0  # between looks for idle models
log = logging.getLogger("edgefc.server")


@dataclass(eq=False, slots=True)
class ServedModel:
    """A model that requests can name. It is not unloaded while it has `users`.

    source      what `load` gets: an id or a path
    size        bytes that it needs, once they are known
    keep_alive  seconds after which it is unloaded when it is not used; infinite: never
    can_unload  False: the caller loaded the model, and closes it
    """

    source: str
    name: str
    model: Model | None = None
    size: int = 0
    users: int = 0
    last_used: float = 0.0
    keep_alive: float = math.inf
    can_unload: bool = True
    loading: asyncio.Task[None] | None = field(default=None, repr=False)

    def adapter_in(self, name: str | None) -> str:
        """Return the adapter that a name such as `MODEL:ADAPTER` has behind this model's; "" for any other name."""
        head = f"{self.name}:"
        return name.removeprefix(head) if name and name.startswith(head) and not name.endswith(LATEST) else ""


class ModelPool:
    """The served models, by name. The first is the default, and a single one answers to any name.

    `limit` bounds the memory of all loaded models together, in bytes; None: the free memory does. To make room, the
    least recently used idle model is unloaded. If none is idle, the request waits, and later requests for loaded models
    do not overtake it.

    `keep_alive`: seconds after which `unload_idle` unloads a model that is not used; None: never
    """

    def __init__(
        self,
        names: Sequence[str],
        options: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        keep_alive: float | None = None,
    ) -> None:
        """Serve `names`, each loaded with the same `options` of `edgefc.load`. Raises RequestError."""
        self._options, self._limit = dict(options or {}), limit
        self._keep_alive = math.inf if keep_alive is None else keep_alive
        if len(names) > 1 and (own := [name for name in ("family", "lora", "engine") if self._options.get(name)]):
            raise RequestError((own[0],), "cannot be set for several models", "Omit it, or serve a single model.")
        self._memory_options: dict[str, Any] = {
            name: self._options[name] for name in MEMORY_OPTIONS if name in self._options
        }
        self._entries: dict[str, ServedModel] = {}
        for source in names:
            name = Path(source).stem if source.lower().endswith(".gguf") else source
            if self._options.get("engine") and Path(source).is_dir():
                name = Path(source).resolve().name
            entry = ServedModel(source, name, keep_alive=self._keep_alive)
            if entry.name in self._entries:
                raise RequestError(("model",), f"duplicate model name {entry.name!r}", "Remove or rename one of them.")
            self._entries[entry.name] = entry
        self._default = next(iter(self._entries.values()))
        self._load_lock = asyncio.Lock()
        self._model_idle = asyncio.Event()  # set when a request ends
        self._no_load_waiting = asyncio.Event()  # cleared while a model waits for memory
        self._no_load_waiting.set()
        self._idle_check = asyncio.Event()  # set when a model may have to be unloaded at once
        self._closed = False

    @classmethod
    def of_loaded(cls, model: Model) -> Self:
        """Serve one loaded model, which the caller closes."""
        pool = cls([model.name])
        pool._default.model, pool._default.can_unload = model, False
        return pool

    @property
    def entries(self) -> Sequence[ServedModel]:
        """All models, loaded or not."""
        return list(self._entries.values())

    @property
    def loaded(self) -> Sequence[Model]:
        """The models in memory."""
        return [model for entry in self.entries if (model := entry.model) is not None]

    @property
    def problem(self) -> str:
        """The reason why no request can be answered, or ""."""
        # A stock Llama computes in the thread of its caller.
        stopped = [model.name for model in self.loaded if getattr(model.engine, "has_stopped", False)]
        return f"the engine of {stopped[0]} has stopped; see the log" if stopped else ""

    def load_default(self, progress: Callable[[float], bool] | None = None) -> Model:
        """Load the first model, so that its problems show before any request. Raises what `edgefc.load` raises."""
        self._measure(self._default)
        self._default.model = model = load(self._default.source, progress=progress, **self._options)
        self._default.last_used = time.monotonic()
        return model

    def named(self, name: str) -> ServedModel:
        """Return the model of this name; Ollama's clients add `:latest` to one. Raises ModelNotFoundError."""
        entry = self._entries.get(name) or self._entries.get(name.removesuffix(LATEST))
        if entry is None:
            raise ModelNotFoundError(f"unknown model {name!r}", f"Served models: {', '.join(self._entries)}.")
        return entry

    def meant_by(self, name: str | None) -> ServedModel:
        """Return the model that a request names, or the default. Raises ModelNotFoundError."""
        if name is None or len(self._entries) == 1:
            return self._default
        return self.with_adapter(name) or self.named(name)

    def with_adapter(self, name: str) -> ServedModel | None:
        """Return the model of a name such as `MODEL:ADAPTER`; whether there is the adapter shows when it is loaded."""
        named = (entry for entry in self.entries if entry.adapter_in(name))
        return None if name in self._entries else next(named, None)

    @asynccontextmanager
    async def use(self, name: str | None) -> AsyncIterator[tuple[ServedModel, Model]]:
        """Load the model that a request names, or the default, and keep it until the context ends.

        Raises ModelNotFoundError, or what `edgefc.load` raises.
        """
        entry = self.meant_by(name)
        while entry.model is not None and not self._no_load_waiting.is_set():
            await self._no_load_waiting.wait()
        entry.users += 1
        try:
            if entry.model is None:
                if entry.loading is None:
                    entry.loading = asyncio.create_task(self._load(entry))
                await asyncio.shield(entry.loading)  # other requests may wait for it too
            assert entry.model is not None
            yield entry, entry.model
        finally:
            entry.users -= 1
            entry.last_used = time.monotonic()
            self._model_idle.set()
            self.check_idle(entry)

    def check_idle(self, entry: ServedModel) -> None:
        """Let `unload_idle` unload a model now that is not to be kept."""
        if not entry.keep_alive:
            self._idle_check.set()

    async def unload_idle(self) -> None:
        """Unload models that nobody has used for `keep_alive` seconds, until the task is cancelled."""
        while True:
            shortest = min(entry.keep_alive for entry in self.entries)
            with contextlib.suppress(TimeoutError):
                pause = min(max(shortest / 4, MIN_CHECK_S), MAX_CHECK_S)
                await asyncio.wait_for(self._idle_check.wait(), pause)
            self._idle_check.clear()
            for entry in self.entries:
                is_idle = entry.model is not None and not entry.users and entry.can_unload
                if is_idle and time.monotonic() - entry.last_used >= entry.keep_alive:
                    await self._unload(entry)

    def close(self) -> None:
        """Unload all models."""
        self._closed = True
        for entry in self._entries.values():
            if entry.model is not None:
                entry.model.close()

    async def _load(self, entry: ServedModel) -> None:
        try:
            async with self._load_lock:
                await asyncio.to_thread(self._measure, entry)
                await self._make_room(entry)
                start = time.perf_counter()
                model = await asyncio.to_thread(load, entry.source, **self._options)
                if self._closed:
                    model.close()
                    raise EngineClosedError("the server is shutting down")
                entry.model = model
                log.info("loaded %s in %.1f s", entry.name, time.perf_counter() - start)
        finally:
            entry.loading = None

    def _measure(self, entry: ServedModel) -> None:
        """Predict the model's memory. Raises ModelLoadError if it exceeds the limit by itself."""
        if self._options.get("engine"):
            return  # it is another program's
        entry.size = needed_memory(entry.source, **self._memory_options)
        if self._limit is not None and entry.size > self._limit:
            raise ModelLoadError(
                f"{entry.name} needs {entry.size >> 20:,} MiB of memory, but the limit is {self._limit >> 20:,} MiB",
                "Start the server with a larger --memory, or a smaller --n-ctx or --parallel.",
            )

    async def _make_room(self, entry: ServedModel) -> None:
        try:
            while (loaded := [e for e in self.entries if e.model is not None]) and not self._fits(entry, loaded):
                idle = [e for e in loaded if not e.users]
                if idle:
                    await self._unload(min(idle, key=lambda e: e.last_used))
                else:
                    self._no_load_waiting.clear()
                    self._model_idle.clear()
                    await self._model_idle.wait()
        finally:
            self._no_load_waiting.set()

    def _fits(self, entry: ServedModel, loaded: Sequence[ServedModel]) -> bool:
        if self._limit is None:
            return entry.size <= hardware.free_memory()
        return entry.size + sum(e.size for e in loaded) <= self._limit

    async def _unload(self, entry: ServedModel) -> None:
        model, entry.model = entry.model, None
        assert model is not None
        entry.keep_alive = self._keep_alive  # a request's own holds for as long as the model is loaded
        await asyncio.to_thread(model.close)
        log.info("unloaded %s", entry.name)

"""A server's models: loaded when somebody asks for them, unloaded when another needs their memory."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from edgefc import hardware
from edgefc.errors import EngineClosedError, ModelLoadError, ModelNotFoundError, RequestError
from edgefc.model import Model, load, needed_memory

SIZES = ("n_ctx", "n_gpu_layers", "n_parallel")  # options that memory depends on
log = logging.getLogger("edgefc.server")


@dataclass(eq=False, slots=True)
class Place:
    """A model that can be asked for; while `users` need it, it stays."""

    wanted: str
    name: str
    model: Model | None = None
    size: int = 0
    users: int = 0
    last_used: float = 0.0
    loading: asyncio.Task[None] | None = field(default=None, repr=False)


class Models:
    """The models that may be asked for, by name; the first answers where none is named, and a single one to any name.

    `limit` bounds the memory of those that are loaded at the same time, in bytes; None: what is free. To make room,
    the one that was not used for the longest is unloaded, and none while it answers: who asks for another waits, and
    those who come later do not overtake.
    """

    def __init__(
        self, names: Sequence[str], options: Mapping[str, Any] | None = None, *, limit: int | None = None
    ) -> None:
        """`options` are those of `edgefc.load`, for each of them. Raises RequestError for two models of one name."""
        self._options, self._limit = dict(options or {}), limit
        if len(names) > 1 and self._options.get("family"):
            raise RequestError(
                "family", "several models have formats of their own", "Leave it out, or serve one model."
            )
        self._sizes: dict[str, Any] = {name: self._options[name] for name in SIZES if name in self._options}
        self._places: dict[str, Place] = {}
        for wanted in names:
            place = Place(wanted, Path(wanted).stem if wanted.lower().endswith(".gguf") else wanted)
            if place.name in self._places:
                raise RequestError("model", f"two models would be called {place.name!r}", "Leave one out.")
            self._places[place.name] = place
        self._first = next(iter(self._places.values()))
        self._turn = asyncio.Lock()
        self._free = asyncio.Event()  # set when a model got idle
        self._roomy = asyncio.Event()  # not set while a model waits for memory
        self._roomy.set()
        self._closed = False

    @classmethod
    def of(cls, model: Model) -> Self:
        """One model that is loaded already, and the caller's to close."""
        models = cls([model.name])
        models._first.model = model
        return models

    @property
    def places(self) -> Sequence[Place]:
        """All of them, loaded or not."""
        return list(self._places.values())

    @property
    def loaded(self) -> Sequence[Model]:
        """Those that are loaded."""
        return [place.model for place in self.places if place.model is not None]

    def load_first(self, progress: Callable[[float], bool] | None = None) -> Model:
        """Load the first, so that what is wrong with it is known before anybody asks.

        Raises what `edgefc.load` raises.
        """
        self._check(self._first)
        self._first.model = model = load(self._first.wanted, progress=progress, **self._options)
        return model

    def place(self, name: str | None) -> Place:
        """The one of this name. Raises ModelNotFoundError."""
        if name is None or len(self._places) == 1:
            return self._first
        try:
            return self._places[name]
        except KeyError:
            served = ", ".join(self._places)
            raise ModelNotFoundError(f"the model {name!r} is not served", f"These are: {served}.") from None

    @asynccontextmanager
    async def using(self, name: str | None) -> AsyncIterator[tuple[str, Model]]:
        """The model of this name, which stays as long as this is open.

        Raises ModelNotFoundError, or what `edgefc.load` raises.
        """
        place = self.place(name)
        while place.model is not None and not self._roomy.is_set():
            await self._roomy.wait()
        place.users += 1
        try:
            if place.model is None:
                if place.loading is None:
                    place.loading = asyncio.create_task(self._load(place))
                await asyncio.shield(place.loading)  # others may wait for it too
            assert place.model is not None
            yield place.name, place.model
        finally:
            place.users -= 1
            place.last_used = time.monotonic()
            self._free.set()

    def close(self) -> None:
        """Unload all of them."""
        self._closed = True
        for place in self._places.values():
            if place.model is not None:
                place.model.close()

    async def _load(self, place: Place) -> None:
        try:
            async with self._turn:
                await asyncio.to_thread(self._check, place)
                await self._make_room(place)
                began = time.perf_counter()
                model = await asyncio.to_thread(load, place.wanted, **self._options)
                if self._closed:
                    model.close()
                    raise EngineClosedError("the server is stopping")
                place.model = model
                log.info("loaded %s in %.1f s", place.name, time.perf_counter() - began)
        finally:
            place.loading = None

    def _check(self, place: Place) -> None:
        """How much it needs, which must be possible."""
        place.size = needed_memory(place.wanted, **self._sizes)
        if self._limit is not None and place.size > self._limit:
            raise ModelLoadError(
                f"{place.name} needs {place.size >> 20:,} MiB of memory and {self._limit >> 20:,} are allowed",
                "Start the server with a larger --memory, or a smaller --n-ctx or --parallel.",
            )

    async def _make_room(self, wanted: Place) -> None:
        try:
            while (loaded := [p for p in self.places if p.model is not None]) and not self._fits(wanted, loaded):
                idle = [place for place in loaded if not place.users]
                if idle:
                    await self._unload(min(idle, key=lambda place: place.last_used))
                else:
                    self._roomy.clear()
                    self._free.clear()
                    await self._free.wait()
        finally:
            self._roomy.set()

    def _fits(self, wanted: Place, loaded: Sequence[Place]) -> bool:
        if self._limit is None:
            return wanted.size <= hardware.free_memory()
        return wanted.size + sum(place.size for place in loaded) <= self._limit

    async def _unload(self, place: Place) -> None:
        model, place.model = place.model, None
        assert model is not None
        await asyncio.to_thread(model.close)
        log.info("unloaded %s", place.name)

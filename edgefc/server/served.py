"""What a server answers with: the model, its settings, and what is kept of all requests."""

from __future__ import annotations

from edgefc.engine import Engine
from edgefc.errors import RequestError
from edgefc.model import Model
from edgefc.server.jobs import Jobs
from edgefc.server.metrics import Metrics
from edgefc.server.settings import Settings


class Served:
    """One model that is served."""

    def __init__(self, model: Model, settings: Settings) -> None:
        assert isinstance(model.engine, Engine)
        self.model, self.settings, self.engine = model, settings, model.engine
        self.jobs = Jobs(self.engine.setup.n_seq_max + settings.max_waiting, settings.timeout)
        self.metrics = Metrics(lambda: len(self.jobs.running), lambda: self.engine.prefix_bytes)

    def check_grammar(self, grammar: str | None) -> None:
        """Raises RequestError for a request's own grammar where none is taken."""
        if grammar is not None and not self.settings.grammars:
            raise RequestError("grammar", "this server takes no grammars from requests", "Start it with --grammars.")

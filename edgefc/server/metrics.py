"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from edgefc.engine import GenerationStats

MEDIA_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 150, 600)
TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "sampled_tokens", "forced_tokens", "drafted_tokens",
          "accepted_tokens")  # fmt: skip


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(
        self, *, running: Callable[[], float], kept_bytes: Callable[[], float], loaded: Callable[[], float]
    ) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._requests = Counter("edgefc_requests", "HTTP requests", ["path", "status"], registry=registry)
        self._tokens = Counter("edgefc_tokens", "Tokens of answers, by what they are", ["kind"], registry=registry)
        self._steps = Counter("edgefc_model_steps", "Batches that answers took part in", registry=registry)
        self._reused = Counter(
            "edgefc_prefixes", "Prompts, by where their beginning was", ["source"], registry=registry
        )
        self._first = Histogram(
            "edgefc_first_token_seconds", "From the request to the first token", registry=registry, buckets=SECONDS
        )
        self._whole = Histogram("edgefc_answer_seconds", "Whole answers", registry=registry, buckets=SECONDS)
        Gauge("edgefc_running", "Answers being computed or waiting", registry=registry).set_function(running)
        Gauge("edgefc_prefix_bytes", "KV caches of prompts kept in memory", registry=registry).set_function(kept_bytes)
        Gauge("edgefc_models_loaded", "Models in memory", registry=registry).set_function(loaded)

    def answered(self, path: str, status: int) -> None:
        self._requests.labels(path, str(status)).inc()

    def generated(self, stats: GenerationStats) -> None:
        for name in TOKENS:
            self._tokens.labels(name.removesuffix("_tokens")).inc(getattr(stats, name))
        self._steps.inc(stats.model_steps)
        self._reused.labels(stats.cached_from or "none").inc()
        self._first.observe(stats.queue_s + stats.prefill_s)
        self._whole.observe(stats.queue_s + stats.prefill_s + stats.decode_s)

    def text(self) -> bytes:
        return generate_latest(self._registry)

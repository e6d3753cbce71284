"""Prometheus metrics of one server."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from edgefc.engine import GenerationStats

MEDIA_TYPE = CONTENT_TYPE_LATEST
_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 150, 600)
# Prompts' KV caches; grammars in execution, estimated; the texts of grammars, which all models share.
CACHES = ("prompts", "grammars", "grammar texts")
_TOKEN_KINDS = ("prompt", "cached", "completion", "sampled", "forced", "drafted", "accepted")


class Metrics:
    """Counters in a registry of their own; the arguments are read whenever the metrics are rendered."""

    def __init__(
        self,
        *,
        running: Callable[[], float],
        cached_bytes: Callable[[], Mapping[str, float]],
        models_loaded: Callable[[], float],
    ) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("edgefc_requests", "HTTP requests", ["path", "status"], registry=registry)
        self._tokens = Counter("edgefc_tokens", "Tokens of finished answers", ["kind"], registry=registry)
        self._steps = Counter("edgefc_model_steps", "Model steps of finished answers", registry=registry)
        self._prefixes = Counter(
            "edgefc_prefixes", "Prompts, by the source of their cached prefix", ["source"], registry=registry
        )
        self._first_token = Histogram(
            "edgefc_first_token_seconds", "Time from request to first token", registry=registry, buckets=_BUCKETS_S
        )
        self._answer = Histogram(
            "edgefc_answer_seconds", "Time from request to complete answer", registry=registry, buckets=_BUCKETS_S
        )
        for name, description, value in (
            ("edgefc_running", "Requests running or waiting", running),
            ("edgefc_models_loaded", "Models in memory", models_loaded),
        ):
            Gauge(name, description, registry=registry).set_function(value)
        caches = Gauge("edgefc_cache_bytes", "Memory of caches", ["cache"], registry=registry)
        for cache in CACHES:
            caches.labels(cache).set_function(functools.partial(_size_of, cached_bytes, cache))

    def count_request(self, path: str, status: int) -> None:
        self._requests.labels(path, str(status)).inc()

    def record_generation(self, stats: GenerationStats) -> None:
        for kind in _TOKEN_KINDS:
            self._tokens.labels(kind).inc(getattr(stats, f"{kind}_tokens"))
        self._steps.inc(stats.model_steps)
        self._prefixes.labels(stats.cached_from or "none").inc()
        self._first_token.observe(stats.queue_s + stats.prefill_s)
        self._answer.observe(stats.queue_s + stats.prefill_s + stats.decode_s)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


def _size_of(cached_bytes: Callable[[], Mapping[str, float]], cache: str) -> float:
    return cached_bytes().get(cache, 0)

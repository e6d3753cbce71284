"""The metrics of all replicas as one page, each sample with the label `replica`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


class _Merged(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> list[Metric]:
        return self._metrics


def merge(pages: Sequence[tuple[str, bytes]]) -> bytes:
    """Join pages in Prometheus' text format, each with the id of its replica."""
    merged: dict[str, Metric] = {}
    for replica, page in pages:
        for family in text_string_to_metric_families(page.decode()):
            into = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                into.add_sample(sample.name, {**sample.labels, "replica": replica}, sample.value)
    registry = CollectorRegistry()
    registry.register(_Merged(merged.values()))
    return generate_latest(registry)

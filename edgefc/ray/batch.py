"""`edgefc batch --ray`: requests spread over replicas; those of a replica that is lost are asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2

from edgefc.errors import EngineClosedError
from edgefc.ray.application import replica_application, replica_threads
from edgefc.ray.cluster import check_free_cores, cluster, deployed
from edgefc.ray.front import create_front
from edgefc.ray.replicas import MAX_TRIES, Replicas, pauses
from edgefc.ray.scale import Scale
from edgefc.server.batch import RESUME_HINT, BatchCounts, BatchPlan, BatchRequest, run_batch_with
from edgefc.server.settings import Settings

NOT_ANSWERED = {429, 503}  # all replicas are busy, or the one that computed the answer is gone


def run_batch_with_ray(
    model: str,
    scale: Scale,
    options: dict[str, Any],
    plan: BatchPlan,
    settings: Settings,
    progress: Callable[[BatchCounts], None] = lambda _: None,
) -> BatchCounts:
    """Answer the requests of a plan, `settings.parallel` at a time by each replica; returns their numbers.

    Raises OSError, RequestError if the cluster is too small, ModelLoadError if no replica starts, or EngineClosedError
    for a request that no replica survives.
    """
    parallel = settings.parallel * scale.maximum
    settings = replace(settings, max_waiting=2 * parallel)
    threads = replica_threads(options, scale)
    application = replica_application(model, scale, settings, options)
    with cluster(scale.maximum * threads):
        check_free_cores(scale.minimum * threads)
        with deployed(application, model) as handle:
            app = create_front(Replicas(handle, settings.timeout), settings)
            return run_batch_with(app, _ask, plan, parallel, progress)


async def _ask(client: httpx2.AsyncClient, request: BatchRequest) -> httpx2.Response:
    """Ask until a replica has answered. Raises EngineClosedError after MAX_TRIES."""
    for pause in pauses():
        await asyncio.sleep(pause)
        response = await client.post(request.url, json=request.body)
        if response.status_code not in NOT_ANSWERED:
            return response
    raise EngineClosedError(f"{request.custom_id}: no replica has answered in {MAX_TRIES} tries", RESUME_HINT)

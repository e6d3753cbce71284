"""`edgefc serve --ray`: replicas on Ray, behind the HTTP server that `edgefc serve` has in any case."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from edgefc.ray.application import replica_application, replica_threads
from edgefc.ray.cluster import check_free_cores, cluster, deployed
from edgefc.ray.front import create_front
from edgefc.ray.replica import Facts
from edgefc.ray.replicas import Replicas
from edgefc.ray.scale import Scale
from edgefc.server.run import OnStop, listening_socket, run_app
from edgefc.server.settings import Settings


def serve_with_ray(
    model: str,
    scale: Scale,
    options: dict[str, Any],
    settings: Settings,
    on_start: Callable[[str, Facts], None],
    on_stop: OnStop = lambda *_: None,
) -> None:
    """Serve until SIGTERM or SIGINT; `on_start` receives the URL and the model once the server accepts requests.

    Raises RequestError if the address is not available or the cluster is too small, ModelLoadError if no replica
    starts, and KeyboardInterrupt after a second SIGINT.
    """
    threads = replica_threads(options, scale)
    application = replica_application(model, scale, settings, options)
    with listening_socket(settings) as (listener, url), cluster(scale.maximum * threads):
        check_free_cores(scale.minimum * threads)
        with deployed(application, model) as handle:
            replicas = Replicas(handle, settings.timeout)

            async def run() -> bool:
                facts = await replicas.facts()
                app = create_front(replicas, settings)
                return await run_app(app, replicas, settings, listener, lambda: on_start(url, facts), on_stop)

            interrupted = asyncio.run(run())
    if interrupted:
        raise KeyboardInterrupt

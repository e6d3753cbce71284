"""The Ray Serve application: replicas with the model, and an ingress for `serve run`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application, Deployment
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.handle import DeploymentHandle

from edgefc import hardware
from edgefc.cli.choice import default_model
from edgefc.errors import RequestError
from edgefc.ray.front import create_front
from edgefc.ray.replica import Replica
from edgefc.ray.replicas import SPARE_S, Replicas
from edgefc.ray.scale import MAX_REPLICAS, Scale
from edgefc.server.settings import Settings

ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
HEALTH_PERIOD_S, HEALTH_TIMEOUT_S = 2.0, 30.0
START_TRIES = 2  # of all replicas together, until the application has failed
UPSCALE_DELAY_S, DOWNSCALE_DELAY_S = 5.0, 300.0  # a replica costs seconds to load, and then has nothing cached
INGRESS_REQUESTS = 4096  # at the same time; the replicas and their queue have limits of their own


def replica_threads(options: dict[str, Any], scale: Scale) -> int:
    """Return the threads of each replica: those of the options, or its share of this machine's."""
    return int(options.get("n_threads") or max(1, hardware.default_threads() // scale.maximum))


def replica_application(model: str, scale: Scale, settings: Settings, options: dict[str, Any]) -> Application:
    """Bind the replicas alone, for a handle."""
    threads = replica_threads(options, scale)
    # The process in front has checked the client; a client of a replica is that process alone.
    inner = replace(
        settings, host="127.0.0.1", port=0, api_keys=(), allowed_hosts=(), allowed_origins=(), drain=0.0, ui=False
    )
    return deployment_of(Replica, scale, settings, threads).bind(
        model, {"n_parallel": settings.parallel, **options, "n_threads": threads}, inner, str(Path.cwd())
    )


def deployment_of(replica: type, scale: Scale, settings: Settings, threads: int) -> Deployment:
    """Configure the replicas: a busy one gives its requests to the next, and requests wait in front of all."""
    count: dict[str, Any] = {"num_replicas": scale.minimum}
    if not scale.is_fixed:
        count = {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=scale.minimum,
                max_replicas=scale.maximum,
                target_ongoing_requests=max(1, settings.parallel / 2),
                upscale_delay_s=UPSCALE_DELAY_S,
                downscale_delay_s=DOWNSCALE_DELAY_S,
            )
        }
    return serve.deployment(
        replica,
        name="edgefc",
        **count,
        ray_actor_options={"num_cpus": threads, "num_gpus": scale.gpus},
        max_ongoing_requests=settings.parallel,
        max_queued_requests=max(1, settings.max_waiting),
        max_constructor_retry_count=START_TRIES,
        health_check_period_s=HEALTH_PERIOD_S,
        health_check_timeout_s=HEALTH_TIMEOUT_S,
        graceful_shutdown_timeout_s=settings.drain,
        request_router_config=RequestRouterConfig(
            request_router_class=ROUTER, request_router_kwargs={"num_fallback_replicas": MAX_REPLICAS}
        ),
    )


class Front:
    """The ingress of `serve run`: `create_front` behind Ray Serve's own HTTP proxy."""

    def __init__(self, handle: DeploymentHandle[Any], settings: Settings) -> None:
        self._replicas, self._settings = Replicas(handle, settings.timeout), settings

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_front(self._replicas, self._settings)


def build_app(
    model: str,
    *,
    replicas: int | tuple[int, int] = 1,
    gpus: float = 0.0,
    settings: Settings | None = None,
    **options: Any,
) -> Application:
    """Build a Ray Serve application: `serve.run(build_app("demo", replicas=2))`.

    model     id from `edgefc list`, or path of a .gguf file, which every machine of the cluster has
    replicas  their number; as a pair, the bounds between which it follows the load
    gpus      GPUs that Ray reserves for each replica, also a part of one
    settings  of the server; Ray Serve has the address, `parallel` and `max_waiting` hold for each replica and for all,
              and `drain` for a replica that is replaced, too
    options   of `edgefc.load`, such as n_ctx and n_threads (by default a replica's share of this machine's processors)

    Raises RequestError.
    """
    bounds = replicas if isinstance(replicas, tuple) else (replicas, replicas)
    scale, settings = Scale(*bounds, gpus), settings or Settings()
    if settings.mcp_endpoint:
        raise RequestError("mcp_endpoint", "cannot be used with Ray", "MCP's sessions live in one process.")
    front = serve.deployment(
        serve.ingress()(Front),
        name="front",
        max_ongoing_requests=INGRESS_REQUESTS,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=settings.drain + SPARE_S,
    )
    return front.bind(replica_application(model, scale, settings, options), settings)


def app_from_environment() -> Application:
    """Build the application from the variables that `edgefc serve` has, too; `EDGEFC_RAY` is its option `--ray`.

    Raises RequestError.
    """
    scale = Scale.parse(os.environ.get("EDGEFC_RAY", "replicas=1"))
    limits: dict[str, Any] = {
        field: _number(variable, kind)
        for variable, field, kind in (
            ("EDGEFC_PARALLEL", "parallel", int),
            ("EDGEFC_WAITING", "max_waiting", int),
            ("EDGEFC_TIMEOUT", "timeout", float),
            ("EDGEFC_DRAIN", "drain", float),
        )
        if os.environ.get(variable)
    }
    lists: dict[str, Any] = {
        field: tuple(os.environ.get(variable, "").split())
        for variable, field in (
            ("EDGEFC_API_KEY", "api_keys"),
            ("EDGEFC_ALLOWED_HOST", "allowed_hosts"),
            ("EDGEFC_ALLOWED_ORIGIN", "allowed_origins"),
        )
    }
    options: dict[str, Any] = {
        field: _number(variable, int)
        for variable, field in (("EDGEFC_N_CTX", "n_ctx"), ("EDGEFC_N_THREADS", "n_threads"))
        if os.environ.get(variable)
    }
    if family := os.environ.get("EDGEFC_FAMILY"):
        options["family"] = family
    return build_app(
        default_model(),
        replicas=(scale.minimum, scale.maximum),
        gpus=scale.gpus,
        settings=Settings(**lists, **limits),
        **options,
    )


def _number(variable: str, kind: type[int | float]) -> float:
    """Read a number from the environment. Raises RequestError."""
    try:
        return kind(os.environ[variable])
    except ValueError:
        raise RequestError(variable, f"invalid number {os.environ[variable]!r}") from None

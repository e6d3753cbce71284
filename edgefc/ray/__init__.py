"""Replicas on Ray Serve: each has the engine and edgefc's own application, and tool sets find their warm replica.

scale        number of replicas, as a text or as numbers
routing      the part of a request's body that decides which replica answers it
replica      the deployment with the model: an ASGI application behind a Ray handle
replicas     the handle, seen from the process that listens: answers, health, metrics, errors
front        the ASGI application that forwards to the replicas
application  `build_app`, and `app` for `serve run edgefc.ray:app`
cluster      a local Ray, or one to join
serve        `edgefc serve --ray`
batch        `edgefc batch --ray`
evaluation   `edgefc eval --ray`
"""

# ruff: noqa: E402 - the error about missing packages comes before their import
from typing import Any

from edgefc.errors import require_extra

require_extra("ray", "ray")

from edgefc.ray.application import app_from_environment, build_app

__all__ = ["app", "build_app"]


def __getattr__(name: str) -> Any:
    """Build `app` when it is asked for: it reads the environment."""
    if name == "app":
        return app_from_environment()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

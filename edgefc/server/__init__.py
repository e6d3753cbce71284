"""The HTTP server: OpenAI's and Anthropic's APIs on top of the engine.

settings      server options
security      hosts, origins and API keys (ASGI middleware)
access_log    request ids, log lines and counters (ASGI middleware)
model_pool    the served models, loaded on demand
jobs          blocking generation in threads, read from asyncio
service       everything that requests share
sse           server-sent events and client disconnects
errors        exceptions as HTTP error responses
ui/           the page at `/`
api/          the endpoints: routes, and one request handler per API
app, run      the ASGI application, and the process around it
batch         a file of requests, answered by the application without a network
worker/       the same with the models in a child process
"""

# ruff: noqa: E402 - the error about missing packages comes before their import
from edgefc.errors import require_extra

require_extra("server", "fastapi", "h11", "httpx2", "prometheus_client", "uvicorn")

from edgefc.server.app import create_app
from edgefc.server.model_pool import ModelPool
from edgefc.server.run import serve
from edgefc.server.settings import Settings
from edgefc.server.worker.proxy import serve_with_worker
from edgefc.server.worker.supervisor import WorkerSupervisor

__all__ = ["ModelPool", "Settings", "WorkerSupervisor", "create_app", "serve", "serve_with_worker"]

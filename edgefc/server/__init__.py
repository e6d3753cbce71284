"""The OpenAI-compatible server: FastAPI over the engine.

settings    what can be configured
guard       who may ask: hosts, origins, keys
models      which models there are, loaded or not
jobs        requests that wait for the model, in threads, from asyncio
chat, completions, responses, messages    what is asked, endpoint by endpoint
translated  the last two are made into chat completions
routes      all endpoints; app is all of it together, run starts it
worker, child, front    the same with the models in a process of their own
"""

from edgefc.server.app import create_app
from edgefc.server.model_pool import Models
from edgefc.server.run import serve
from edgefc.server.settings import Settings
from edgefc.server.worker.proxy import serve_apart
from edgefc.server.worker.supervisor import Worker

__all__ = ["Models", "Settings", "Worker", "create_app", "serve", "serve_apart"]

"""The OpenAI-compatible server: FastAPI over one engine.

settings    what can be configured
guard       who may ask: hosts, origins, keys
jobs        requests that wait for the model, in threads, from asyncio
chat, completions, tools    what is asked, endpoint by endpoint
app         all of it together; run starts it
"""

from edgefc.server.app import create_app
from edgefc.server.models import Models
from edgefc.server.run import serve
from edgefc.server.settings import Settings

__all__ = ["Models", "Settings", "create_app", "serve"]

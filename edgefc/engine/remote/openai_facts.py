"""Facts about a model from OpenAI's list of models, as vLLM and SGLang extend it."""

from __future__ import annotations

from edgefc.engine.remote.api import RemoteFacts
from edgefc.engine.remote.client import Client


async def model_facts(client: Client) -> RemoteFacts:
    """Ask `/v1/models` for the name and the context of the first model. Raises RemoteEngineError."""
    models = await client.get("/v1/models")
    try:
        model = models["data"][0]
        return RemoteFacts(int(model["max_model_len"]), None, str(model["id"]))
    except (KeyError, IndexError, TypeError, ValueError):
        reason = f"does not describe its model as {client.target.kind} does"
        raise client.error(reason, "Is the URL right?") from None

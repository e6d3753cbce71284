"""A fake Hugging Face hub on this machine, for tests and benchmarks of downloads.

`HubServer` answers the requests of the `huggingface_hub` client about model repositories, and misbehaves on demand. It
listens on three ports of 127.0.0.1, each an origin of its own: the hub, the CDN to which the hub redirects requests for
LFS files, and a third ("other") that only a redirecting `Fault` leads to. Xet is not offered.

    with HubServer() as hub:
        hub.add("owner/name", {"model.gguf": Path("big.gguf"), "config.json": b"{}"}, license="apache-2.0")
        hub.fault("model.gguf", server="cdn", method="GET", cut_after=1000, times=1)
        hf_hub_download("owner/name", "model.gguf", endpoint=hub.url, token=False)
        assert [request.authorization for request in hub.requests_for(server="cdn")] == [None, None]

    repository.py  files and commits
    faults.py      the ways to misbehave, and the requests they hit
    routes.py      the right answer to each request
    handler.py     one connection: the answer with its faults, on the wire
    server.py      the three origins
"""

from tests.models.fake_hub.faults import Fault, Request
from tests.models.fake_hub.repository import HubFile, Repo
from tests.models.fake_hub.server import HubServer

__all__ = ["Fault", "HubFile", "HubServer", "Repo", "Request"]

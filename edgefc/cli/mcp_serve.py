"""`edgefc mcp serve`: this machine's model as an MCP server on stdin and stdout."""

from __future__ import annotations

import signal

from edgefc.cli.choice import chosen_model
from edgefc.cli.loading import find_model
from edgefc.cli.options import (
    ContextOption,
    FamilyOption,
    GpuLayersOption,
    LoadOptions,
    LoraFilesOption,
    ModelArgument,
    ModelOption,
    ThreadsOption,
)

N_PARALLEL = 2  # clients may ask for several calls at once; more would take context from each


def serve(
    model: ModelArgument = None,
    model_option: ModelOption = None,
    family: FamilyOption = None,
    n_ctx: ContextOption = None,
    n_threads: ThreadsOption = None,
    n_gpu_layers: GpuLayersOption = None,
    lora: LoraFilesOption = None,
) -> None:
    """Serve a model to MCP clients on stdin and stdout: tools that choose calls, extract data and check tools."""
    import asyncio

    from edgefc.cli.mcp_local_model import serve_model
    from edgefc.errors import require_extra

    require_extra("mcp", "mcp")
    found = find_model(chosen_model(model, model_option))
    load = LoadOptions(
        family=family,
        n_ctx=n_ctx,
        n_threads=n_threads,
        n_gpu_layers=n_gpu_layers,
        n_parallel=N_PARALLEL,
        lora=lora,
    )
    # The SDK reads stdin in a thread that Ctrl-C does not wake.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(serve_model(found, load))

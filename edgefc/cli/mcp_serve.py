"""`edgefc mcp serve`: this machine's model as an MCP server on stdin and stdout."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from typing import TYPE_CHECKING, Any

from edgefc.cli.choice import chosen_model
from edgefc.cli.loading import find_model
from edgefc.cli.options import (
    ContextOption,
    FamilyOption,
    GpuLayersOption,
    LoadOptions,
    ModelArgument,
    ModelOption,
    ThreadsOption,
)

if TYPE_CHECKING:
    import edgefc
    from edgefc.chat.reply import Reply
    from edgefc.models.registry import ResolvedModel

N_PARALLEL = 2  # clients may ask for several calls at once; more would take context from each


def serve(
    model: ModelArgument = None,
    model_option: ModelOption = None,
    family: FamilyOption = None,
    n_ctx: ContextOption = None,
    n_threads: ThreadsOption = None,
    n_gpu_layers: GpuLayersOption = None,
) -> None:
    """Serve a model to MCP clients on stdin and stdout: tools that choose calls, extract data and check tools."""
    from edgefc.errors import require_extra

    require_extra("mcp", "mcp")
    found = find_model(chosen_model(model, model_option))
    load = LoadOptions(
        family=family, n_ctx=n_ctx, n_threads=n_threads, n_gpu_layers=n_gpu_layers, n_parallel=N_PARALLEL
    )
    # The SDK reads stdin in a thread that Ctrl-C does not wake.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(_serve(found, load))


async def _serve(found: ResolvedModel, load: LoadOptions) -> None:
    from mcp.server.stdio import stdio_server

    from edgefc.mcp.serving import new_server

    delegate = _LocalModel(found, load)
    try:
        server = new_server(delegate)
        async with stdio_server() as (incoming, outgoing):
            delegate.start()
            await server.run(incoming, outgoing, server.create_initialization_options())
    finally:
        await delegate.close()


class _LocalModel:
    """A model that is loaded while the client says hello: clients do not wait long for an answer to that."""

    def __init__(self, found: ResolvedModel, options: LoadOptions) -> None:
        self._found, self._options = found, options
        self._loading: asyncio.Task[edgefc.Model] | None = None

    @property
    def models(self) -> tuple[str, ...]:
        return (self._found.name,)

    def start(self) -> None:
        """Begin to load the model."""
        self._loading = asyncio.create_task(asyncio.to_thread(self._load))

    async def close(self) -> None:
        """Close the model, once it is loaded."""
        if self._loading is not None:
            (model,) = await asyncio.gather(self._loading, return_exceptions=True)
            if not isinstance(model, BaseException):
                model.close()

    async def chat(self, body: dict[str, Any]) -> Reply:
        from edgefc.mcp.serving import without_model

        assert self._loading is not None
        options = without_model(body, self.models)
        model = await asyncio.shield(self._loading)
        reply: Reply = await model.achat(options.pop("messages"), tools=options.pop("tools"), **options)
        return reply

    async def lint(self, tools: list[dict[str, Any]]) -> dict[str, Any]:
        from edgefc.lint import lint_tools

        reports = await asyncio.to_thread(lint_tools, tools)
        return {
            "ok": not any(report.is_refused for report in reports),
            "tools": [dataclasses.asdict(report) for report in reports],
        }

    def _load(self) -> edgefc.Model:
        import edgefc

        return edgefc.load(self._found, **self._options.keywords())

"""A model of this machine behind an MCP server on stdin and stdout, apart from its command, which needs no asyncio."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import edgefc
    from edgefc.chat.reply import Reply
    from edgefc.cli.options import LoadOptions
    from edgefc.models.registry import ResolvedModel


async def serve_model(found: ResolvedModel, load: LoadOptions) -> None:
    """Serve a model until stdin ends."""
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

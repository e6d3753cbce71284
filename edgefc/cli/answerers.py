"""Models that answer: loaded in this process, or in a server."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

from edgefc.cli.choice import path_of
from edgefc.cli.live import ProgressSource
from edgefc.cli.loading import find_model, load_model
from edgefc.cli.options import LoadOptions, QuestionOptions
from edgefc.errors import RequestError

if TYPE_CHECKING:
    import edgefc
    from edgefc.chat.reply import Reply
    from edgefc.tools import ToolSet
    from edgefc.types import Delta, Message


class AnswerStream(ProgressSource, Protocol):
    """An answer that is being generated: iterate over its deltas, then read its `reply`."""

    @property
    def reply(self) -> Reply: ...
    def __iter__(self) -> Iterator[Delta]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class Answerer(Protocol):
    """A model that answers conversations.

    source  the name by which it can be opened again
    """

    name: str
    source: str
    family: str
    n_ctx: int

    def stream(self, messages: list[Message], tools: ToolSet, options: Mapping[str, Any]) -> AnswerStream:
        """Start an answer; `options` as for `Model.chat`. Raises what `Model.chat` raises."""

    def count_tokens(self, messages: list[Message], tools: ToolSet) -> int:
        """Return the number of tokens of a conversation's prompt."""

    def close(self) -> None: ...


class LocalAnswerer:
    """A model in this process."""

    def __init__(self, model: edgefc.Model, source: str) -> None:
        self._model, self.source = model, source
        self.name, self.family, self.n_ctx = model.name, model.family.name, model.n_ctx

    def stream(self, messages: list[Message], tools: ToolSet, options: Mapping[str, Any]) -> AnswerStream:
        stream: AnswerStream = self._model.chat(messages, tools=tools, stream=True, **options)
        return stream

    def count_tokens(self, messages: list[Message], tools: ToolSet) -> int:
        return len(self._model.prompt(messages, tools).ids)

    def close(self) -> None:
        self._model.close()


def open_answerer(name: str, options: QuestionOptions, *, is_named: bool = True) -> Answerer:
    """Find a server with the model, or load it. Raises ModelNotFoundError, ServerError and what `edgefc.load` raises.

    is_named  False: the user named no model, and a server that was named by its address may use its own default
    """
    if options.url is not None and options.lora:
        raise RequestError(
            "lora", "a server loads its own adapters", "Leave out --url, or give --lora to `edgefc serve`."
        )
    if options.url is not None:
        from edgefc.cli.remote import connect

        return connect(options.url, name if is_named else None)
    load = options.load()
    # Only on request: a server may have loaded the file in another way, such as with another chat format.
    finds_servers = bool(os.environ.get("EDGEFC_FIND_SERVER")) and not options.local
    if finds_servers and load == LoadOptions() and (answerer := _find_server(name)) is not None:
        return answerer
    # One question at a time: a quarter of the memory, or a longer context in the same.
    return LocalAnswerer(load_model(find_model(name), dataclasses.replace(load, n_parallel=1)), name)


def _find_server(name: str) -> Answerer | None:
    """Return the model in a running `edgefc serve`; None if no server of this user has the same file."""
    from edgefc.cli import running_servers

    if not running_servers.folder().is_dir() or (path := path_of(name)) is None:
        return None
    server = running_servers.find(path)
    if server is None:
        return None
    from edgefc.cli.remote import connect
    from edgefc.errors import EdgefcError

    try:
        return connect(server.url, server.models[str(path)])
    except EdgefcError:  # it has just stopped, wants a key, or is busy: loading works anyway
        return None

"""The operations of a document as one sequence for `Model.run`, and the functions that call them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, overload

from edgefc.errors import ToolError
from edgefc.grammar.refusal import refusal_of
from edgefc.openapi.document import Document, read_document
from edgefc.openapi.http import send
from edgefc.openapi.keys import read_secrets
from edgefc.openapi.operations import Operation, fit_name, read_operations
from edgefc.openapi.request import build_request
from edgefc.openapi.result import result_text
from edgefc.tools.remote import MAX_RESULT, Omission, RemoteTool

log = logging.getLogger("edgefc.openapi")
TIMEOUT = 30.0  # seconds of a call
MAX_RESPONSE = 4 << 20  # bytes
MAX_REFUSED = 50  # schemas that edgefc refuses; each costs the time of compiling it


class OpenApiTool(RemoteTool):
    """An operation. Calling it with keyword arguments returns a coroutine of the result as text.

    method, path  of the operation, such as GET and /pets/{petId}
    """

    def __init__(self, name: str, operation: Operation, call: Callable[..., Any]) -> None:
        super().__init__(name, operation.source, call)
        self._operation = operation
        self.method, self.path = operation.method, operation.path

    @property
    def origin(self) -> str:
        return f"{self.method} at {self._operation.url.authority}"

    @property
    def address(self) -> str:
        """Return the whole address, with the template of the path."""
        return f"{self._operation.base_url}{self.path}"

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the environment variables that its keys come from."""
        return self._operation.security.variables

    @property
    def missing_keys(self) -> tuple[str, ...]:
        """Return the environment variables that must be set before a call."""
        return self._operation.security.missing()


class OpenApiTools(Sequence[OpenApiTool]):
    """The tools of a document. Used with `with` or `async with`; `close` ends them.

    title    the document's
    omitted  the operations that are left out, with the reason
    """

    def __init__(self, document: Document, *, allow_writes: bool, reserved: Iterable[str], max_result: int,
                 timeout: float) -> None:  # fmt: skip
        self.title = document.title
        self._document, self._max_result, self._timeout = document, max_result, timeout
        self._is_closed = False
        operations, omitted = read_operations(document, allow_writes=allow_writes)
        names = set(reserved)
        tools: list[OpenApiTool] = []
        refused = 0
        for operation in operations:
            name = operation.source.name
            if name in names:
                name = fit_name(f"{self.title}__{name}", names)
            tool = OpenApiTool(name, operation, self._caller(operation))
            too_many = "too many others are refused" if refused >= MAX_REFUSED else ""
            if reason := too_many or refusal_of(tool.schema):
                refused += 1
                omitted.append(Omission(self.title, name, reason))
            else:
                names.add(name)
                tools.append(tool)
        self._tools, self.omitted = tuple(tools), tuple(omitted)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the tools: those that are called after that return an error."""
        self._is_closed = True

    @overload
    def __getitem__(self, index: int) -> OpenApiTool: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[OpenApiTool, ...]: ...
    def __getitem__(self, index: int | slice) -> OpenApiTool | tuple[OpenApiTool, ...]:
        return self._tools[index]

    def __iter__(self) -> Iterator[OpenApiTool]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def _caller(self, operation: Operation) -> Callable[..., Any]:
        """Return the function that calls an operation. A failure is its result: the model can read it."""

        async def call(**arguments: Any) -> str:
            try:
                return await self._call(operation, arguments)
            except ToolError as error:
                log.info("%s: %s %s", operation.source.name, error.reason, error.hint)
                return json.dumps({"error": error.reason}, ensure_ascii=False)

        return call

    async def _call(self, operation: Operation, arguments: Mapping[str, Any]) -> str:
        if self._is_closed:
            raise ToolError("the connection was closed", "Call tools inside the with block.")
        named = self._document.hosts
        secrets = read_secrets(operation.security.choose(), operation.url, named)
        request = build_request(operation, arguments, secrets)
        response = await send(request, named, max_bytes=MAX_RESPONSE, limit_s=self._timeout)
        return result_text(response, self._max_result, secrets.values)


def connect(
    source: str | Path | Mapping[str, Any],
    *,
    allow_writes: bool = False,
    allow_hosts: Iterable[str] = (),
    reserved: Iterable[str] = (),
    max_result: int = MAX_RESULT,
    timeout: float = TIMEOUT,
) -> OpenApiTools:
    """Return the operations of an OpenAPI document as tools, for `Model.run`, `Model.chat` or `ToolSet.of`.

    source        a file or an address, with `#tag` for the operations of a tag; or the document's content
    allow_writes  offer POST, PUT, PATCH and DELETE, beside GET and HEAD
    allow_hosts   hosts, as `host` or `host:port`, that may be on this machine or in a private network; the host that
                  the document is loaded from may be there too
    reserved      names of other tools: an operation of such a name gets the document's title in front
    max_result    characters of a result, of which head and tail remain
    timeout       seconds that a call may take

    Raises RequestError if the document cannot be read.
    """
    document = read_document(source, allow_hosts)
    return OpenApiTools(document, allow_writes=allow_writes, reserved=reserved, max_result=max_result, timeout=timeout)

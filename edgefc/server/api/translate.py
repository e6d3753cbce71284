"""Other APIs' requests as chat completions.

A request is translated to a chat completion, and errors name the fields of the original request.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

from pydantic import ValidationError

from edgefc.chat.reply import Reply
from edgefc.errors import EdgefcError, FieldPath
from edgefc.server.api.chat import ChatHandler, ChatRequest, ChoiceOutput
from edgefc.server.api.fields import CommonFields, ExtensionFields, TokenLimit
from edgefc.server.api.foreign_fields import read_foreign_fields
from edgefc.server.errors import ApiError
from edgefc.server.service import RequestContext
from edgefc.types import Delta


class SharedFields(CommonFields):
    """Fields of chat completions that other APIs lack, but clients send to them as well."""

    max_tokens: TokenLimit | None = None
    chat_template_kwargs: dict[str, Any] | None = None


# What other APIs say in their own way.
_OWN_WAY = {"model", "n", "stream", "stream_options", *ExtensionFields.model_fields}


def shared_fields(extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return those of a request's further fields that have a meaning in chat completions. Raises ApiError."""
    found = read_foreign_fields(extra or {})
    names = (SharedFields.model_fields.keys() - _OWN_WAY) & found.keys()
    try:
        body = SharedFields.model_validate({name: found[name] for name in names})
    except ValidationError as error:
        raise ApiError.from_validation(
            [{**first, "loc": ("body", *first["loc"])} for first in error.errors()]
        ) from None
    fields = {name: getattr(body, name) for name in names}
    if "max_tokens" in fields:
        fields["max_completion_tokens"] = fields.pop("max_tokens")
    return fields


class ChatBuilder:
    """Builds a chat completion request, and remembers which field of the original request each part came from.

    fields    the fields of the ChatRequest, except `messages`
    messages  its messages
    renamed   fields with another name in the original request
    """

    def __init__(self, renamed: Mapping[FieldPath, FieldPath]) -> None:
        self.fields: dict[str, Any] = {}
        self.messages: list[dict[str, Any]] = []
        self._sources = dict(renamed)

    @property
    def last_role(self) -> str | None:
        """The role of the last message."""
        return self.messages[-1]["role"] if self.messages else None

    def add_message(self, message: dict[str, Any], source: FieldPath, **field_sources: FieldPath) -> None:
        """Append a message built from `source`; `field_sources` are the sources of single fields of it."""
        path = ("messages", len(self.messages))
        self.add_source(path, source)
        for name, field_source in field_sources.items():
            self.add_source((*path, name), field_source)
        self.messages.append(message)

    def add_call(
        self,
        call_id: Any,
        function: dict[str, Any],
        source: FieldPath,
        *,
        id_source: FieldPath | None = None,
        arguments_source: FieldPath | None = None,
    ) -> None:
        """Append a tool call, built from `source`, to the last message."""
        calls = self.messages[-1].setdefault("tool_calls", [])
        path = ("messages", len(self.messages) - 1, "tool_calls", len(calls))
        self.add_source(path, source)
        self.add_source((*path, "function"), source)
        if id_source is not None:
            self.add_source((*path, "id"), id_source)
        if arguments_source is not None:
            self.add_source((*path, "function", "arguments"), arguments_source)
        calls.append({"id": call_id, "type": "function", "function": function})

    def add_source(self, path: FieldPath, source: FieldPath) -> None:
        """Record the source of the field at `path` in the chat completion."""
        self._sources[path] = source

    def source_of(self, path: FieldPath) -> FieldPath:
        """Return the original path of a field, by the longest beginning of `path` whose source is known."""
        for length in range(len(path), 0, -1):
            if (source := self._sources.get(path[:length])) is not None:
                return source + path[length:]
        return path


class TranslatedChat:
    """The chat completion of another API's request. Raises what ChatHandler raises, as ApiError with original paths."""

    def __init__(self, builder: ChatBuilder, context: RequestContext) -> None:
        self._builder = builder
        with self._original_paths():
            # The original request's fields have been validated, and the model checks the messages.
            body = ChatRequest.model_construct(messages=builder.messages, **builder.fields)
            self._handler = ChatHandler(body, context)

    @property
    def prompt_tokens(self) -> int:
        """The prompt's length, once a delta has been read."""
        return self._handler.prompt_tokens

    def count_prompt_tokens(self) -> int:
        """Render the prompt, without generating, and return its length."""
        with self._original_paths():
            return len(self._handler.prompt().ids)

    async def reply(self) -> Reply:
        """Wait for the complete reply."""
        with self._original_paths():
            async with aclosing(self._handler.outputs(deltas=False)) as outputs:
                (reply,) = [output.value async for output in outputs if isinstance(output.value, Reply)]
        return reply

    async def deltas(self) -> AsyncGenerator[Delta | Reply, None]:
        """Yield the reply's deltas, then the reply."""
        async with aclosing(self.outputs()) as outputs:
            async for output in outputs:
                yield output.value

    async def outputs(self) -> AsyncGenerator[ChoiceOutput, None]:
        """Yield the reply's deltas, then the reply, with the logprobs of their tokens."""
        with self._original_paths():
            async with aclosing(self._handler.outputs()) as outputs:
                async for output in outputs:
                    yield output

    @contextmanager
    def _original_paths(self) -> Iterator[None]:
        try:
            yield
        except (ApiError, EdgefcError) as error:
            api_error = ApiError.from_exception(error)
            raise api_error.at(*self._builder.source_of(api_error.path)) from error

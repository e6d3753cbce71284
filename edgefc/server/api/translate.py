"""Requests in another form than chat completions: each is made into one, and errors name what its caller wrote."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

from pydantic import ValidationError

from edgefc.chat.reply import Reply
from edgefc.errors import EdgefcError
from edgefc.server.api.chat import ChatCall, ChatRequest
from edgefc.server.errors import ApiError, of, of_validation
from edgefc.server.service import Served
from edgefc.types import Delta


class Places:
    """Of which of the caller's fields a chat completion's were made, such as `messages[2]` of `input[3]`."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._own = dict(known)

    def add(self, made: str, own: str) -> None:
        self._own[made] = own

    def own(self, place: str) -> str:
        """What the caller calls a place; the most of it that is known counts."""
        for made in sorted(self._own, key=len, reverse=True):
            if place.startswith(made) and place[len(made) :][:1] in {"", ".", "["}:
                return self._own[made] + place[len(made) :]
        return place

    @contextmanager
    def told(self) -> Iterator[None]:
        """Raises errors of the chat completion with the caller's places in them."""
        try:
            yield
        except (ApiError, EdgefcError) as raised:
            error = of(raised)
            raise (error if error.param is None else error.at(self.own(error.param))) from raised


class Conversation:
    """A chat's messages, made one by one, and of what."""

    def __init__(self, places: Places) -> None:
        self.messages: list[dict[str, Any]] = []
        self._places = places

    @property
    def speaker(self) -> str | None:
        """Whose the last message is."""
        return self.messages[-1]["role"] if self.messages else None

    def say(self, message: dict[str, Any], place: str, **own: str) -> None:
        """Add a message made of what is at this place, except for fields of it that are the caller's `own`."""
        self._note(f"messages[{len(self.messages)}]", place, own)
        self.messages.append(message)

    def call(self, call_id: Any, function: dict[str, Any], place: str, **own: str) -> None:
        """Add a call to the last message, likewise."""
        calls = self.messages[-1].setdefault("tool_calls", [])
        made = f"messages[{len(self.messages) - 1}].tool_calls[{len(calls)}]"
        self._note(made, place, {"function": place, **own})
        calls.append({"id": call_id, "type": "function", "function": function})

    def _note(self, made: str, place: str, own: Mapping[str, str]) -> None:
        self._places.add(made, place)
        for name, field in own.items():
            self._places.add(f"{made}.{name}", field)


class TranslatedCall:
    """A chat completion that asks what another request asks. Raises what ChatCall raises, as ApiError."""

    def __init__(self, asked: dict[str, Any], places: Places, served: Served) -> None:
        self._places = places
        with places.told():
            try:
                body = ChatRequest.model_validate(asked)
            except ValidationError as error:
                raise of_validation([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from None
            self._chat = ChatCall(body, served)

    async def pieces(self, *, whole: bool = False) -> AsyncGenerator[Delta | Reply, None]:
        """The answer's deltas, unless only the `whole` is wanted, and its Reply."""
        with self._places.told():
            async with aclosing(self._chat.pieces(whole=whole)) as pieces:
                async for _, piece, _ in pieces:
                    yield piece

    def count_prompt(self) -> int:
        """Its prompt's length in tokens."""
        with self._places.told():
            return self._chat.count_prompt()

"""Readers of arguments: each is given a stream and emits one JSON object, as far as no further text can change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgefc.formats.encodings.literals import LiteralReader
from edgefc.formats.encodings.tagged import TaggedReader
from edgefc.formats.json_text import JsonEnd
from edgefc.grammar.argument_types import ArgumentTypes
from edgefc.grammar.tags import tags_of
from edgefc.types import OutputSyntax

Emit = Callable[[str], None]


class ArgumentsReader(Protocol):
    """Reads the arguments of one call.

    is_complete  their end was read; what follows belongs to the family's syntax
    is_broken    the text is not of the encoding: there will be no end
    """

    is_complete: bool
    is_broken: bool

    def read(self, text: str, emit: Emit) -> str:
        """Read a text as far as possible, emit pieces of JSON, and return the rest, to be given again with more."""
        ...


class JsonReader:
    """Passes a JSON object on as it is."""

    is_broken = False

    def __init__(self) -> None:
        self.is_complete = False
        self._end = JsonEnd()

    def read(self, text: str, emit: Emit) -> str:
        size = self._end.scan(text)
        piece = text if size is None else text[:size]
        self._end.drop(len(piece))
        emit(piece)
        self.is_complete = size is not None
        return text[len(piece) :]


def arguments_reader(syntax: OutputSyntax, types: ArgumentTypes | None) -> ArgumentsReader:
    """Return a reader of one call's arguments; `types` are those of its tool, None: it is not known."""
    match syntax.arguments:
        case "json":
            return JsonReader()
        case "pythonic":
            return LiteralReader("=", ")")
        case "gemma":
            return LiteralReader(":", "}", quote=syntax.quote, bare_keys=True)
        case "tagged":
            return TaggedReader(types, tags_of(syntax))

"""Encodings of a call's arguments: readers from a stream, which give JSON text, and writers for history.

Their grammars are the layouts of `edgefc.grammar.json_schema.encodings`.
"""

from edgefc.formats.encodings.reading import ArgumentsReader, arguments_reader
from edgefc.formats.encodings.writing import unwritable_value, write_arguments

__all__ = ["ArgumentsReader", "arguments_reader", "unwritable_value", "write_arguments"]

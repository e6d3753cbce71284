"""Text from models, files, tools and clients, on its way to a terminal or a log; and Ctrl-C.

printable  control characters made visible
stream     the same for all that is written to a stream
encoding   consoles that cannot write every character
wrap       streamed text, broken at spaces
logs       the handler of all log records
interrupts Ctrl-C, which never interrupts an import
"""

from edgefc.terminal.encoding import accept_all_characters, has_all_characters
from edgefc.terminal.logs import send_logs_to_stderr
from edgefc.terminal.printable import escape_json, printable, single_line
from edgefc.terminal.stream import PrintableStream
from edgefc.terminal.wrap import WordWrap

__all__ = [
    "PrintableStream",
    "WordWrap",
    "accept_all_characters",
    "escape_json",
    "has_all_characters",
    "printable",
    "send_logs_to_stderr",
    "single_line",
]

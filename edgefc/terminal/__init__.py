"""Text from models, files, tools and clients, on its way to a terminal or a log.

printable  control characters made visible
stream     the same for all that is written to a stream
logs       the handler of all log records
"""

from edgefc.terminal.logs import send_logs_to_stderr
from edgefc.terminal.printable import escape_json, printable, single_line
from edgefc.terminal.stream import PrintableStream

__all__ = ["PrintableStream", "escape_json", "printable", "send_logs_to_stderr", "single_line"]

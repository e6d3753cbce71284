"""The process between edgefc and a stdio server: `python guard.py DESCRIPTOR COMMAND …`.

It starts the server in a process group and ends the whole group when the server ends, or when the pipe at DESCRIPTOR is
closed: then edgefc has closed the connection, or was killed, which no handler in edgefc could notice. It runs alone,
without edgefc and site-packages, so that it starts in some 20 ms.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 1.0  # after SIGTERM


def main() -> None:
    """Run the server. Exits with its status; with 127 if it cannot be started."""
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    try:
        child = subprocess.Popen(command, process_group=0)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(127)
    null = os.open(os.devnull, os.O_RDWR)
    for own in (0, 1):  # only the server holds its pipes, so that edgefc sees when it closes them
        os.dup2(null, own)
    threading.Thread(target=_end_with_edgefc, args=(lifeline, child.pid), daemon=True).start()
    status = child.wait()
    _signal_group(child.pid, signal.SIGKILL)
    sys.exit(128 - status if status < 0 else status)


def _end_with_edgefc(lifeline: int, group: int) -> None:
    while os.read(lifeline, 1):
        pass
    _signal_group(group, signal.SIGTERM)
    time.sleep(GRACE_S)
    _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except OSError:
        return


if __name__ == "__main__":
    main()

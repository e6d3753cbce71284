"""The program `edgefc`, and `python -m edgefc`."""

from __future__ import annotations

import sys
from typing import NoReturn

from edgefc.terminal import interrupts


def main() -> NoReturn:
    """Run the command line; without the packages of its extra, say how to install them."""
    interrupts.spare_imports()
    try:
        from edgefc.errors import MissingPackageError, require_extra

        try:
            require_extra("cli", "typer", "rich", "prompt_toolkit")
        except MissingPackageError as error:
            sys.stderr.write(f"error: {error}\n")
            sys.exit(2)
        from edgefc.cli import app
    except KeyboardInterrupt:
        sys.exit(130)

    app.main()


if __name__ == "__main__":
    main()

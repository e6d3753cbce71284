"""The program `edgefc`: registers the commands, each declared in a module of its own.

Command modules import what they run inside their functions, so that `--help` is quick.
"""

from __future__ import annotations

import sys
import traceback
from typing import Annotated, NoReturn

import typer

from edgefc._version import __version__
from edgefc.cli import (
    bench,
    chat,
    doctor,
    evaluate,
    inspect,
    lint,
    models,
    oneshot,
    recommend,
    serve,
    transcripts,
    warm,
)
from edgefc.cli.console import err, fail, guard_stderr
from edgefc.errors import EdgefcError
from edgefc.terminal import send_logs_to_stderr

app = typer.Typer(
    name="edgefc",
    help="Run small local GGUF models that call tools reliably, offline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 a check failed, 2 invalid input, 130 interrupted.",
)


def _print_version(enabled: bool) -> None:
    if enabled:
        typer.echo(f"edgefc {__version__}")
        raise typer.Exit


@app.callback()
def set_up_logging(
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show debug logs, llama.cpp's included.")] = False,
) -> None:
    """Send logs to stderr; without `--verbose`, warnings only."""
    send_logs_to_stderr(verbose=verbose)


# In the order in which `edgefc --help` lists them.
app.command()(chat.chat)
app.command()(oneshot.run)
app.command()(oneshot.call)
app.command()(inspect.render)
app.command()(inspect.grammar)
app.command()(inspect.show)
app.command()(lint.lint)
app.command()(models.pull)
app.command("list")(models.list_models)
app.command()(recommend.recommend)
app.command()(bench.bench)
app.command("eval")(evaluate.evaluate)
app.command()(warm.warm)
app.command("rm")(models.remove)
app.command()(models.verify)
app.command()(models.bundle)
app.command()(models.unbundle)
app.command()(doctor.doctor)
app.command()(serve.serve)
app.add_typer(transcripts.app, name="transcripts")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command. An EdgefcError is printed as one message without a traceback, and the exit code is 2."""
    guard_stderr()
    try:
        app(args=arguments, prog_name="edgefc")
    except EdgefcError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        sys.stderr.close()
        sys.exit(0)
    except Exception:  # noqa: BLE001 - a bug: the traceback is made printable, as every text on the terminal
        err.print(traceback.format_exc(), end="")
        sys.exit(1)
    sys.exit(0)

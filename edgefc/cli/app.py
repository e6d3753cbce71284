"""The program `edgefc`: registers the commands, each declared in a module of its own.

Command modules import what they run inside their functions, so that `--help` is quick.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from edgefc._version import __version__
from edgefc.cli import (
    batch,
    bench,
    chat,
    config,
    doctor,
    evaluate,
    inspect,
    launch,
    lint,
    man,
    mcp,
    models,
    oneshot,
    openapi,
    recommend,
    serve,
    transcripts,
    warm,
)
from edgefc.cli.console import close_output, err, fail, guard_stderr
from edgefc.cli.help import HelpfulCommand, HelpfulGroup
from edgefc.errors import EdgefcError
from edgefc.terminal import accept_all_characters, send_logs_to_stderr

log = logging.getLogger(__name__)
TALK, INSPECT, MODELS, SERVER, DATA = "Talk", "Inspect", "Models", "Server and setup", "Data and measurements"
EXIT_CODES = (
    "Exit codes: 0 success; 1 a check failed, or an answer was cut off; 2 invalid input; 3 `call`: the answer has no "
    "call; 130 interrupted."
)
EXAMPLES = """Examples:
  edgefc chat                                 talk to the default model
  edgefc run "What is 17*23?"                 one question, with tools
  git diff | edgefc run qwen2.5-1.5b "Explain this change:"
  edgefc config set model qwen2.5-1.5b        choose the default model"""

app = typer.Typer(
    name="edgefc",
    cls=HelpfulGroup,
    help="Run small local GGUF models that call tools reliably, offline.",
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"{EXAMPLES}\n\n{EXIT_CODES}",
)


def _print_version(enabled: bool) -> None:
    if enabled:
        typer.echo(f"edgefc {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def set_up(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show debug logs, llama.cpp's included.")] = False,
) -> None:
    """Send logs to stderr; without `--verbose`, warnings only. Without a command, print the help."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        return
    send_logs_to_stderr(verbose=verbose)
    if context.invoked_subcommand not in {"config", "doctor"} and not {"-h", "--help"} & set(sys.argv):
        values = config.defaults()
        context.default_map = dict.fromkeys(CONFIGURED, values)


# Commands whose options take their defaults from `edgefc config`.
CONFIGURED = ("chat", "run", "call", "render", "warm", "bench", "serve")


def _register(panel: str, name: str, command: Callable[..., None], *examples: str) -> None:
    text = "\n".join(f"  {example}" for example in examples)
    epilog = f"Example{'s' if len(examples) > 1 else ''}:\n{text}"
    app.command(name, cls=HelpfulCommand, rich_help_panel=panel, epilog=epilog)(command)


# In the order in which `edgefc --help` lists them.
_register(TALK, "chat", chat.chat, "edgefc chat", "edgefc chat qwen2.5-1.5b --tools my_tools.py")
_register(
    TALK,
    "run",
    oneshot.run,
    'edgefc run "What is the weather in Paris and in Oslo?"',
    'edgefc run qwen2.5-1.5b "Hello" --no-tools',
    'cat report.txt | edgefc run "Summarize this:" --no-tools',
)
_register(
    TALK,
    "call",
    oneshot.call,
    'edgefc call "What time is it in Lima?"',
    'edgefc call "Order two pizzas" --tools tools.json --tool-choice required',
    "echo 'What is 17*23?' | edgefc call -",
)
_register(INSPECT, "render", inspect.render, 'edgefc render "Hello" --no-tools')
_register(INSPECT, "grammar", inspect.grammar, "edgefc grammar tools.json --family hermes")
_register(INSPECT, "show", inspect.show, "edgefc show demo")
_register(INSPECT, "lint", lint.lint, "edgefc lint tools.json --strict")
_register(INSPECT, "openapi", openapi.openapi, "edgefc openapi petstore.json --model demo")
_register(
    MODELS, "pull", models.pull, "edgefc pull arch-function-3b", "edgefc pull Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q4_K_M"
)
_register(MODELS, "list", models.list_models, "edgefc list --all")
_register(MODELS, "recommend", recommend.recommend, "edgefc recommend --n-ctx 8192")
_register(MODELS, "rm", models.remove, "edgefc rm arch-function-3b")
_register(MODELS, "verify", models.verify, "edgefc verify")
_register(MODELS, "bundle", models.bundle, "edgefc bundle arch-function-3b model.edgefc.tar")
_register(MODELS, "unbundle", models.unbundle, "edgefc unbundle model.edgefc.tar")
_register(SERVER, "serve", serve.serve, "edgefc serve", "edgefc serve qwen2.5-1.5b --port 8080 --keep-alive 10m")
_register(
    SERVER, "launch", launch.launch, "edgefc launch opencode qwen2.5-1.5b", "edgefc launch home-assistant --print"
)
_register(SERVER, "warm", warm.warm, "edgefc warm demo --tools tools.json")
_register(SERVER, "doctor", doctor.doctor, "edgefc doctor")
_register(SERVER, "man", man.man, "edgefc man | man -l -")
app.add_typer(config.app, name="config", cls=HelpfulGroup, rich_help_panel=SERVER)
_register(
    DATA,
    "batch",
    batch.batch,
    "edgefc batch requests.jsonl --out answers.jsonl",
    "edgefc batch requests.jsonl --resume",
)
_register(DATA, "bench", bench.bench, "edgefc bench demo --calibrate")
_register(DATA, "eval", evaluate.evaluate, "edgefc eval demo --limit 20", "edgefc eval demo --family hermes,generic")
app.add_typer(mcp.app, name="mcp", cls=HelpfulGroup, rich_help_panel=SERVER)
app.add_typer(transcripts.app, name="transcripts", cls=HelpfulGroup, rich_help_panel=DATA)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command. An EdgefcError is printed as one message without a traceback, and the exit code is 2."""
    accept_all_characters(sys.stdout, sys.stderr)
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
    except OSError as error:  # of stdout, such as a full disk, or of a file that a command reads
        log.debug("", exc_info=error)
        close_output()
        fail(EdgefcError(f"{error.filename}: {error.strerror}" if error.filename else f"output: {error.strerror}"))
    except Exception:  # noqa: BLE001 - a bug: the traceback is made printable, as every text on the terminal
        err.print(traceback.format_exc(), end="")
        sys.exit(1)
    sys.exit(0)

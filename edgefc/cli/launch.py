"""`edgefc launch`: the settings of another program for `edgefc serve`, printed or written, and then the server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from edgefc.cli import client_settings, serve
from edgefc.cli.choice import chosen_model
from edgefc.cli.client_settings import CLIENTS, ClientSettings, ServerAddress
from edgefc.cli.console import confirm, err, has_terminal, print_json, write
from edgefc.cli.loading import find_model
from edgefc.cli.options import ModelArgument, ModelOption
from edgefc.errors import RequestError
from edgefc.terminal import single_line

ClientArgument = Annotated[
    str, Argument(metavar="CLIENT", help=f"One of {', '.join(CLIENTS)}.", autocompletion=lambda: list(CLIENTS))
]
PrintOption = Annotated[bool, Option("--print", help="Print the settings only: write no file, start no server.")]
YesOption = Annotated[bool, Option("--yes", "-y", help="Write the client's file without a question.")]
JsonOption = Annotated[bool, Option("--json", help="Print the settings as JSON; implies --print.")]


def launch(
    client: ClientArgument,
    model: ModelArgument = None,
    model_option: ModelOption = None,
    host: serve.HostOption = "127.0.0.1",
    port: serve.PortOption = 8080,
    api_key: serve.ApiKeyOption = None,
    keep_alive: serve.KeepAliveOption = "never",
    n_ctx: serve.RequestContextOption = None,
    print_only: PrintOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Set up another program for a model of yours, and start the server for it."""
    if client not in CLIENTS:
        raise RequestError("client", f"unknown client {client!r}", f"Use one of {', '.join(CLIENTS)}.")
    if not port:
        raise RequestError("port", "must not be 0", "Name the port that the client's settings will have.")
    source = chosen_model(model, model_option)
    found = find_model(source)
    name = Path(source).stem if source.lower().endswith(".gguf") else source
    url = f"http://{'127.0.0.1' if host in client_settings.EVERYWHERE else host}:{port}"
    settings = CLIENTS[client](ServerAddress(url, name, n_ctx or _usual_context(found.path), bool(api_key)))
    if as_json:
        print_json({"client": client, "model": name, "url": url, **settings.to_json()})
        return
    _show(settings)
    if print_only:
        return
    if settings.path is not None:
        _offer_to_write(settings, yes=yes)
    serve.serve([source], host=host, port=port, api_key=api_key, keep_alive=keep_alive, n_ctx=n_ctx)


def _usual_context(path: Path) -> int:
    from edgefc import gguf
    from edgefc.gguf import memory

    return memory.usual_context(gguf.read_model(path))


def _show(settings: ClientSettings) -> None:
    if settings.path is not None:
        err.print(f"# {single_line(str(settings.path))}", markup=False, soft_wrap=True)
    write(settings.text)
    for note in settings.notes:
        err.print(f"note: {single_line(note)}", markup=False, soft_wrap=True)


def _offer_to_write(settings: ClientSettings, *, yes: bool) -> None:
    """Write the client's file if the user agrees; a file that cannot be changed keeps the server from nothing."""
    path = single_line(str(settings.path))
    can_ask = sys.stdin.isatty() and has_terminal(err)
    if not yes and not (can_ask and confirm(f"Add this to {path}?")):
        err.print(f"{path} is not changed", markup=False, soft_wrap=True)
        return
    try:
        settings.write()
    except RequestError as error:
        err.print(single_line(f"{error.reason}. {error.hint}"), markup=False, soft_wrap=True)
        return
    err.print(f"wrote {path}", markup=False, soft_wrap=True)

"""`edgefc man`: every command and option of the help is in it, and groff reads it without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import typer.main

from edgefc.cli.app import app
from edgefc.cli.man import _escaped
from tests.cli.conftest import Edgefc


def test_the_manual_has_all_commands_and_options(edgefc: Edgefc) -> None:
    page = edgefc("man").stdout
    program = typer.main.get_command(app)
    context = typer.Context(program, info_name="edgefc")
    sections = re.split(r"^\.SS ", page, flags=re.MULTILINE)[1:]
    for name in program.list_commands(context):  # type: ignore[attr-defined]
        command = program.get_command(context, name)  # type: ignore[attr-defined]
        section = "".join(text for text in sections if text.startswith(_escaped(f"edgefc {name} ")))
        assert section, name
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" and not parameter.hidden else ():
                assert _escaped(option) in section, (name, option)
    assert r"edgefc transcripts export" in page
    assert "Exit codes" in page


def test_groff_reads_it(edgefc: Edgefc) -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("needs groff")
    page = edgefc("man").stdout
    done = subprocess.run([groff, "-man", "-Tutf8", "-ww"], input=page.encode(), capture_output=True, check=True)
    assert done.stderr == b""
    shown = re.sub(r".\x08|\x1b\[[0-9;]*m", "", done.stdout.decode())
    assert 'edgefc run "What is 17*23?"' in shown
    assert "--min-confidence" in shown

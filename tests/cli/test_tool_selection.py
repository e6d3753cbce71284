"""Many tools on the command line: it says which of them the model is shown."""

from __future__ import annotations

import json
from pathlib import Path

from edgefc.tools.examples import EXAMPLE_TOOLS
from tests.cli.conftest import Edgefc

LAMPS = [
    {"name": f"lamp_{number}_{state}", "description": f"Switch lamp {number} {state}"}
    for number in range(10)
    for state in ("on", "off")
]


def test_a_line_a_field_and_marks_name_the_tools(edgefc: Edgefc, tmp_path: Path) -> None:
    tools = [*LAMPS, *(tool.schema for tool in EXAMPLE_TOOLS)]
    (tmp_path / "tools.json").write_text(json.dumps(tools), encoding="utf-8")
    words = ("call", "What's the weather in Paris?", "--tools", "tools.json", "--tool-budget", "500")
    done = edgefc(*words)
    assert "of 26 tools are shown: " in done.stderr
    selection = json.loads(edgefc(*words, "--json").stdout)["tool_selection"]
    assert (selection["total"], selection["budget"]) == (26, 500)
    assert {"name": "get_weather", "reason": "rank 1"} in selection["tools"]
    assert "are shown" not in edgefc(*words[:-1], "0", "--max-tokens", "60").stderr

    chat = edgefc("chat", *words[2:], stdin="Hello!\n/tools\n/stats\n")
    assert "* lamp_0_on()" in chat.stdout, chat.stderr
    assert "\n  roll_dice(" in chat.stdout
    assert "of 26 tools are shown: lamp_0_on, " in chat.stdout

"""Kills at random moments; `python -m benchmarks.mcp_kills` has 200 of them."""

from __future__ import annotations

import os

import pytest

from benchmarks.mcp_kills import kill_all


@pytest.mark.skipif(os.name != "posix", reason="signals of Unix")
def test_a_killed_run_leaves_no_process_of_its_servers() -> None:
    kills = kill_all(7, at_once=2, seed=2)
    assert not [kill for kill in kills if kill.left]
    assert any(kill.servers for kill in kills)

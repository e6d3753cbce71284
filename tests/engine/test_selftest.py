"""The self-test in a child process, and the advice it gives."""

from __future__ import annotations

import subprocess

import pytest

from edgefc.engine import selftest


def test_this_build_survives_a_decode_one_way_or_the_other() -> None:
    assert "" in {selftest.run_child(extra_buffers=True), selftest.run_child(extra_buffers=False)}


def test_a_signal_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.run

    def killed(command: list[str], **options: object) -> object:
        return real([command[0], "-c", "import os, signal; os.kill(os.getpid(), signal.SIGILL)"], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", killed)
    assert "SIGILL" in selftest.run_child(extra_buffers=True)


def test_the_advice_is_a_command_for_this_release() -> None:
    from importlib.metadata import version

    assert f"llama-cpp-python=={version('llama-cpp-python')}" in selftest.reinstall_command()

"""`edgefc doctor`: facts about this machine and installation, and how to fix problems."""

from __future__ import annotations

import platform
import sys
from typing import Any

from rich.text import Text

from edgefc._version import __version__
from edgefc.cli.console import out, print_json
from edgefc.cli.options import JsonOption
from edgefc.terminal import single_line

PACKAGES = ("llama-cpp-python", "llguidance", "tokenizers", "huggingface-hub", "jinja2", "numpy")


def doctor(as_json: JsonOption = False) -> None:
    """Check this machine and installation, and say how to fix problems."""
    report = examine()
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    if report["problems"]:
        sys.exit(1)


def examine() -> dict[str, Any]:
    """Collect the report. A crash of llama.cpp ends a child process only."""
    from edgefc import hardware, paths

    problems: list[str] = []
    packages = {name: _version(name, problems) for name in PACKAGES}
    self_test, system_info = _test_llama_cpp(problems)
    if not paths.demo_model().is_file():
        problems.append("the demo model is missing from the installation: reinstall edgefc")
    return {
        "edgefc": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "packages": packages,
        "processor": f"{hardware.usable_cores()} usable cores, AMX: {'yes' if hardware.cpu_has_amx() else 'no'}",
        "threads": hardware.default_threads(),
        "free_memory": f"{hardware.free_memory() / 2**30:.1f} GiB",
        "llama_cpp": system_info,
        "self_test": self_test,
        "cache": str(paths.cache_dir()),
        "problems": problems,
    }


def _test_llama_cpp(problems: list[str]) -> tuple[str, str]:
    """Decode a batch in a child process; return the result and llama.cpp's description of the system."""
    from edgefc import hardware
    from edgefc.engine import selftest

    failure = selftest.run_child(extra_buffers=True)
    plain_failure = selftest.run_child(extra_buffers=False) if failure else ""
    if failure and hardware.cpu_has_amx():
        problems.append(selftest.amx_advice())
    elif failure:
        problems.append(f"llama.cpp does not work: {failure}. Reinstall llama-cpp-python, then run this again.")
    if failure and plain_failure:
        return failure, "unknown: llama.cpp crashes"
    from edgefc.engine import llama

    result = f"{failure}; works without repacked weights, so edgefc turns them off (slower prefill)"
    return result if failure else "decoded a batch", llama.system_info().strip()


def _version(name: str, problems: list[str]) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        problems.append(f"{name} is not installed: pip install {name}")
        return "missing"


def _print_report(report: dict[str, Any]) -> None:
    for name, value in report.items():
        if name != "problems":
            text = ", ".join(f"{key} {entry}" for key, entry in value.items()) if isinstance(value, dict) else value
            out.print(Text.assemble((name.replace("_", " "), "bold"), f"  {single_line(str(text))}"))
    for problem in report["problems"]:
        out.print(Text.assemble(("problem", "red"), f"  {single_line(problem)}"))
    if not report["problems"]:
        out.print("no problems found", style="green")

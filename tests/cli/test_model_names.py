"""Names of models on the command line: aliases, names of the user's own, Ollama's, and models of other programs."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Edgefc


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Folders of the test's own, and the one of Ollama, which is searched."""
    for name in ("config", "models", "cache"):
        monkeypatch.setenv(f"EDGEFC_{name.upper()}_DIR", str(tmp_path / name))
    monkeypatch.setenv("EDGEFC_FIND_MODELS", "1")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def add_to_ollama(root: Path, model: Path, name: str, tag: str) -> Path:
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    manifest = root / "manifests" / "registry.ollama.ai" / "library" / name / tag
    manifest.parent.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": 1}
    manifest.write_text(json.dumps({"layers": [layer]}), encoding="utf-8")
    blob = root / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(exist_ok=True)
    blob.write_bytes(model.read_bytes())
    return blob


def test_an_alias_is_used_everywhere(edgefc: Edgefc, folders: Path, demo_path: Path) -> None:
    (folders / "config").mkdir()
    settings = folders / "config" / "config.toml"
    settings.write_text("# mine\nmax_tokens = 64\n", encoding="utf-8")
    done = edgefc("config", "set", "alias.my.demo", str(demo_path))
    assert done.returncode == 0, done.stderr
    assert settings.read_text(encoding="utf-8").startswith('# mine\nmax_tokens = 64\nalias."my.demo" = ')
    assert edgefc("config", "get", "alias.my.demo").stdout.strip() == str(demo_path)
    assert "391" in edgefc("run", "my.demo", "What's 17*23?").stdout
    assert json.loads(edgefc("show", "my.demo", "--json").stdout)["path"] == str(demo_path)
    assert f"alias my.demo = {demo_path}" in edgefc("list").stdout
    assert json.loads(edgefc("config", "list", "--json").stdout)["alias"] == {"my.demo": str(demo_path)}
    later = edgefc("config", "set", "alias.coder", "qwen2.5-coder:1.5b")
    assert "edgefc pull qwen2.5-coder:1.5b" in later.stderr
    assert "edgefc pull qwen2.5-coder:1.5b" in edgefc("run", "coder", "Hi").stderr
    assert edgefc("config", "unset", "alias.my.demo").returncode == 0
    assert edgefc("config", "get", "alias.my.demo").returncode == 1
    assert settings.read_text(encoding="utf-8") == '# mine\nmax_tokens = 64\nalias.coder = "qwen2.5-coder:1.5b"\n'


def test_aliases_go_where_the_others_are(edgefc: Edgefc, folders: Path) -> None:
    (folders / "config").mkdir()
    settings = folders / "config" / "config.toml"
    settings.write_text('[alias]\na = "demo"\n\n[other]\na = 1\n', encoding="utf-8")
    for key, value in (("alias.b.c", "demo"), ("alias.a", "x.gguf"), ("n_ctx", "512")):
        done = edgefc("config", "set", key, value)
        assert done.returncode == 0, done.stderr
    expected = 'n_ctx = 512\n[alias]\na = "x.gguf"\n\n"b.c" = "demo"\n[other]\na = 1\n'
    assert settings.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("alias.", "demo", "invalid alias"),
        ("alias.a/b", "demo", "invalid alias"),
        ("alias.demo", "x.gguf", "demo is the name of a model"),
        ("alias.a", "a", "must be the name or path of a model"),
        ("alias.a", " ", "must be the name or path of a model"),
    ],
)
def test_aliases_that_mean_nothing_are_refused(edgefc: Edgefc, key: str, value: str, reason: str) -> None:
    done = edgefc("config", "set", key, value)
    assert (done.returncode, reason in done.stderr) == (2, True), done.stderr


def test_a_file_is_pulled_under_a_name_without_a_copy(edgefc: Edgefc, folders: Path, demo_path: Path) -> None:
    path = folders / "file.gguf"
    path.write_bytes(demo_path.read_bytes())
    done = edgefc("pull", str(path), "--name", "mine", "--json")
    assert done.returncode == 0, done.stderr
    assert f"linked to {path}, not copied" in done.stderr
    facts = json.loads(done.stdout)
    assert (facts["name"], facts["licence"]) == ("mine:Q8_0", "apache-2.0")
    assert os.path.samefile(facts["path"], path)  # noqa: PTH121
    assert "391" in edgefc("run", "mine", "What's 17*23?").stdout
    assert [model["name"] for model in json.loads(edgefc("list", "--json").stdout)] == ["demo", "mine:Q8_0"]
    copied = edgefc("pull", str(path), "--name", "other", "--copy")
    assert copied.returncode == 0
    assert edgefc("rm", "other", "--yes").returncode == 0
    assert path.is_file()


def test_models_of_ollama_are_listed_and_used(edgefc: Edgefc, folders: Path, demo_path: Path) -> None:
    blob = add_to_ollama(folders / "ollama", demo_path, "tiny", "6m")
    (folders / "ollama" / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "bad").write_bytes(b"[" * 99)
    listed = edgefc("list")
    assert listed.stdout.splitlines()[0].split() == ["name", "size", "family", "licence", "from"]
    assert "tiny:6m  0.01 GB  by its file  by its file  Ollama" in listed.stdout
    (found,) = (model for model in json.loads(edgefc("list", "--json").stdout) if model["program"] == "Ollama")
    assert (found["name"], found["path"]) == ("tiny:6m", str(blob))
    assert "391" in edgefc("run", "tiny:6m", "What's 17*23?").stdout
    refused = edgefc("rm", "tiny:6m", "--yes")
    assert (refused.returncode, "belongs to Ollama" in refused.stderr) == (2, True)
    pulled = edgefc("pull", "tiny:6m", "--offline")
    assert pulled.returncode == 0, pulled.stderr
    assert "tiny:6m is on this machine already, in the folder of Ollama" in pulled.stderr
    assert "tiny-6m:Q8_0" in edgefc("list").stdout
    unknown = edgefc("run", "qwen2.5-coder:9b", "Hi")
    assert unknown.returncode == 2
    assert "qwen2.5-coder:1.5b (qwen2.5-coder-1.5b-instruct)" in unknown.stderr


def test_recommended_models_come_with_their_command(edgefc: Edgefc) -> None:
    done = edgefc("recommend", "--limit", "0", "--json")
    models = json.loads(done.stdout)["models"]
    assert all(model["command"] == f"edgefc pull {model['id']}" for model in models)
    forbidding = [model["non_commercial"] for model in models]
    assert forbidding == sorted(forbidding), "models that one may use come first"
    text = edgefc("recommend", "--limit", "1").stdout
    assert f"edgefc pull {models[0]['id']} " in text
    assert "under licences that forbid commercial use: --limit 0 shows them" in text

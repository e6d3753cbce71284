"""Models that Ollama, LM Studio and huggingface_hub have on this machine, sound and hostile."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import edgefc
from edgefc import inspection
from edgefc.errors import EdgefcError, ModelNotFoundError, StoreError
from edgefc.models import inventory, other_programs, recommend, registry, store
from edgefc.models.pull import pull_model
from edgefc.tools.examples import EXAMPLE_TOOLS
from tests.models.test_recommend import LAPTOP

COMMIT = "a" * 40
LAYER = "application/vnd.ollama.image.model"


class Folders:
    """The folders of the three programs, in which tests put the demo model."""

    def __init__(self, home: Path, model: Path) -> None:
        self.home, self.model = home, model
        self.digest = hashlib.sha256(model.read_bytes()).hexdigest()
        self.ollama, self.hub = home / ".ollama" / "models", home / "hub"

    def manifest(self, *names: str) -> Path:
        path = self.ollama.joinpath("manifests", *names)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def blob(self) -> Path:
        path = self.ollama / "blobs" / f"sha256-{self.digest}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(self.model.read_bytes())
        return path

    def add_to_ollama(self, *names: str, digest: str = "", media_type: str = LAYER) -> Path:
        layers = [{"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "0" * 64, "size": 5},
                  {"mediaType": media_type, "digest": digest or f"sha256:{self.digest}", "size": 7}]  # fmt: skip
        path = self.manifest(*names)
        path.write_text(json.dumps({"schemaVersion": 2, "layers": layers}), encoding="utf-8")
        return self.blob()

    def add_to_lm_studio(self, *names: str) -> Path:
        path = self.home.joinpath(".lmstudio", "models", *names)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.model.read_bytes())
        return path

    def add_to_hub(self, repo: str, name: str, target: Path | None = None) -> Path:
        folder = self.hub / f"models--{repo.replace('/', '--')}"
        blob, link = folder / "blobs" / self.digest, folder / "snapshots" / COMMIT / name
        for path in (blob, link, folder / "refs" / "main"):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(self.model.read_bytes())
        link.symlink_to(target or os.path.relpath(blob, link.parent))
        (folder / "refs" / "main").write_text(COMMIT, encoding="ascii")
        return link


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, demo_path: Path) -> Folders:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("OLLAMA_MODELS", str(home / ".ollama" / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setenv("EDGEFC_FIND_MODELS", "1")
    monkeypatch.setenv("EDGEFC_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("EDGEFC_CONFIG_DIR", str(tmp_path / "config"))
    return Folders(home, demo_path)


def names() -> dict[str, str]:
    return {model.name: model.program for model in other_programs.found_models()}


def test_models_are_found_under_the_names_of_their_programs(folders: Folders) -> None:
    assert names() == {}
    folders.add_to_ollama("registry.ollama.ai", "library", "qwen2.5-coder", "1.5b")
    folders.add_to_ollama("registry.ollama.ai", "someone", "tiny", "latest")
    folders.add_to_ollama("hf.co", "acme", "tiny-GGUF", "Q4_K_M")
    folders.add_to_lm_studio("acme", "other-GGUF", "other-Q8_0.gguf")
    folders.add_to_lm_studio("acme", "other-GGUF", "mmproj-other-f16.gguf")
    folders.add_to_lm_studio("acme", "parts-GGUF", "parts-Q4_0-00001-of-00002.gguf")
    folders.add_to_lm_studio("acme", "parts-GGUF", "parts-Q4_0-00002-of-00002.gguf")
    folders.add_to_hub("acme/demo-GGUF", "demo-Q8_0.gguf")
    assert names() == {
        "hf.co/acme/tiny-GGUF:Q4_K_M": "Ollama",
        "qwen2.5-coder:1.5b": "Ollama",
        "someone/tiny:latest": "Ollama",
        "acme/other-GGUF:Q8_0": "LM Studio",
        "acme/parts-GGUF:Q4_0": "LM Studio",
        "acme/demo-GGUF:Q8_0": "huggingface_hub",
    }


def test_the_search_can_be_turned_off(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    folders.add_to_ollama("registry.ollama.ai", "library", "tiny", "latest")
    assert names()
    monkeypatch.setenv("EDGEFC_FIND_MODELS", "0")
    assert names() == {}


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("qwen2.5-coder:1.5b", "qwen2.5-coder-1.5b-instruct"),
        ("qwen2.5-coder-1.5b-instruct", "qwen2.5-coder-1.5b-instruct"),
        ("registry.ollama.ai/library/qwen2.5-coder:1.5b", "qwen2.5-coder-1.5b-instruct"),
        ("qwen2.5-coder", "qwen2.5-coder-1.5b-instruct"),  # the only one on this machine
        ("someone/tiny", ""),
        ("hf.co/acme/tiny-GGUF", ""),
    ],
)
def test_a_model_is_used_where_it_lies(folders: Folders, name: str, card: str) -> None:
    blob = folders.add_to_ollama("registry.ollama.ai", "library", "qwen2.5-coder", "1.5b")
    folders.add_to_ollama("registry.ollama.ai", "someone", "tiny", "latest")
    folders.add_to_ollama("hf.co", "acme", "tiny-GGUF", "Q4_K_M")
    found = registry.resolve(name)
    assert found.path == blob
    assert (found.card.id if found.card else "") == card
    assert not store.stored_models(), "nothing is copied"


def test_a_model_of_ollama_answers(folders: Folders) -> None:
    folders.add_to_ollama("registry.ollama.ai", "library", "tiny", "6m")
    with edgefc.load("tiny:6m") as model:
        assert model.name == "tiny:6m"
        assert "391" in model.run("What's 17*23?", tools=EXAMPLE_TOOLS).content


def test_a_tokenizer_beside_the_file_is_used(folders: Folders, demo_path: Path) -> None:
    link = folders.add_to_hub("acme/demo-GGUF", "demo-Q8_0.gguf")
    found = registry.resolve("acme/demo-GGUF")
    assert found.path == link, "the name, and the files beside it, are those of the repository"
    link.with_name("tokenizer.json").write_bytes(demo_path.with_name("tokenizer.json").read_bytes())
    assert inspection.describe("acme/demo-GGUF")["tokenizer"] == "tokenizer.json"


def test_all_models_are_listed_each_file_once(folders: Folders) -> None:
    folders.add_to_ollama("registry.ollama.ai", "library", "qwen2.5-coder", "1.5b")
    folders.add_to_lm_studio("acme", "other-GGUF", "other-Q8_0.gguf")
    cards = registry.cards()
    listed = {model.name: model for model in inventory.models_here(cards)}
    assert list(listed) == ["demo", "qwen2.5-coder:1.5b", "acme/other-GGUF:Q8_0"]
    assert listed["qwen2.5-coder:1.5b"].licence == "Apache-2.0"
    (coder,) = (item for item in recommend.suggest_models(LAPTOP) if item.id == "qwen2.5-coder-1.5b-instruct")
    assert (coder.is_here, coder.command) == (True, "edgefc chat qwen2.5-coder-1.5b-instruct")
    pull_model("qwen2.5-coder:1.5b")
    names = [model.name for model in inventory.models_here(cards)]
    assert names == ["demo", "qwen2.5-coder-1.5b-instruct:Q8_0", "acme/other-GGUF:Q8_0"]


# -- pulling ------------------------------------------------------------------------------------------------------


def test_pulling_a_model_of_ollama_links_it(folders: Folders) -> None:
    blob = folders.add_to_ollama("registry.ollama.ai", "library", "qwen2.5-coder", "1.5b")
    model = pull_model("qwen2.5-coder:1.5b", offline=True)
    assert (model.name, model.licence) == ("qwen2.5-coder-1.5b-instruct:Q8_0", "Apache-2.0")
    assert model.path.samefile(blob)
    assert not store.verify(model)
    assert registry.resolve("qwen2.5-coder:1.5b").path == model.path
    store.remove(model)
    assert blob.is_file()
    with pytest.raises(StoreError, match="belongs to Ollama"):
        inventory.get_own("qwen2.5-coder:1.5b")


def test_a_damaged_model_of_ollama_is_not_pulled(folders: Folders) -> None:
    blob = folders.add_to_ollama("registry.ollama.ai", "library", "tiny", "6m")
    blob.write_bytes(blob.read_bytes()[:-1] + b"\0")
    with pytest.raises(StoreError, match="is damaged"):
        pull_model("tiny:6m")
    assert not store.stored_models()


@pytest.mark.parametrize("has_hard_links", [True, False])
@pytest.mark.parametrize("copy", [False, True])
def test_a_file_is_linked_unless_a_copy_is_asked_for(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_hard_links: bool, copy: bool
) -> None:
    path = tmp_path / "file-of-mine.gguf"
    path.write_bytes(folders.model.read_bytes())
    if not has_hard_links:  # as between two disks

        def refuse(*_: object) -> None:
            raise OSError("cross-device link")

        monkeypatch.setattr(os, "link", refuse)
    model = pull_model(str(path), own_name="mine", copy=copy)
    assert model.name == "mine:Q8_0", "the header states the quantization that the name does not"
    assert model.path.samefile(path) != copy
    assert model.path.is_symlink() == (not copy and not has_hard_links)
    assert registry.resolve("mine").name == "mine"
    assert pull_model(str(path), own_name="ours").name == "ours:Q8_0", "it gets the other name"
    assert [other.name for other in store.stored_models()] == ["ours:Q8_0"]
    store.remove(store.get("ours"))
    assert path.is_file()


def test_a_link_to_nowhere_is_reported(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(folders.model.read_bytes())
    monkeypatch.delattr(os, "link")
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError()), raising=False)
    pull_model(str(path))
    path.unlink()
    problems: list[StoreError] = []
    assert [model.name for model in inventory.models_here(registry.cards(), problems)] == ["demo"]
    assert "mine.gguf" in problems[0].reason


@pytest.mark.parametrize(
    ("own_name", "reason"),
    [("demo", "is the name of another model"), ("../x", "invalid name"), ("a b", "invalid name"), ("a:b", "invalid name"), ("con", "unsafe")],
)  # fmt: skip
def test_a_name_that_a_model_cannot_have(folders: Folders, own_name: str, reason: str) -> None:
    with pytest.raises(EdgefcError, match=reason):
        pull_model(str(folders.model), own_name=own_name)
    assert not store.stored_models()


def test_a_file_may_be_the_model_of_a_card(folders: Folders, tmp_path: Path) -> None:
    path = tmp_path / "some.gguf"
    path.write_bytes(folders.model.read_bytes())
    pull_model(str(path), own_name="qwen2.5-coder-0.5b-instruct")
    found = registry.resolve("qwen2.5-coder:0.5b")
    assert found.card is not None
    assert (found.name, found.path.samefile(path)) == ("qwen2.5-coder-0.5b-instruct", True)


@pytest.mark.parametrize("name", ["demo", "mine"])
def test_models_that_edgefc_did_not_pull_are_not_removed(folders: Folders, tmp_path: Path, name: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "models.toml").write_text("[mine]\npath = 'mine.gguf'\n", encoding="utf-8")
    with pytest.raises(StoreError, match=r"is part of edgefc|is the file"):
        inventory.get_own(name)


def test_a_repository_has_its_name(folders: Folders) -> None:
    with pytest.raises(EdgefcError, match="has a name already") as caught:
        pull_model("acme/demo-GGUF", own_name="mine")
    assert "edgefc config set alias.mine acme/demo-GGUF" in caught.value.hint


# -- hostile content ----------------------------------------------------------------------------------------------

MANIFESTS: dict[str, bytes] = {
    "no JSON": b"{",
    "empty": b"",
    "not UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "null": b"null",
    "nested": b"[" * 60_000,
    "nested objects": b'{"layers":' * 6_000,
    "layers of another type": b'{"layers": {"a": 1}}',
    "layers of numbers": b'{"layers": [1, null, "x", []]}',
    "a digest of another type": json.dumps({"layers": [{"mediaType": LAYER, "digest": {"a": 1}}]}).encode(),
    "a digest with a path": json.dumps({"layers": [{"mediaType": LAYER, "digest": "sha256:../../../x"}]}).encode(),
    "a digest without a file": json.dumps({"layers": [{"mediaType": LAYER, "digest": "sha256:" + "1" * 64}]}).encode(),
    "huge": b'{"a": "' + b"x" * (other_programs.MAX_MANIFEST + 1) + b'"}',
    "a number without an end": b'{"layers": ' + b"9" * 60_000 + b"}",
}


@pytest.mark.parametrize("data", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_malformed_manifest_is_left_out(folders: Folders, data: bytes) -> None:
    folders.manifest("registry.ollama.ai", "library", "bad", "1b").write_bytes(data)
    folders.add_to_ollama("registry.ollama.ai", "library", "tiny", "6m")
    assert names() == {"tiny:6m": "Ollama"}


def _link_out(folders: Folders, outside: Path) -> None:
    blob = folders.add_to_ollama("registry.ollama.ai", "library", "tiny", "6m")
    blob.unlink()
    blob.symlink_to(outside)


def _circle(folders: Folders, _: Path) -> None:
    blob = folders.add_to_ollama("registry.ollama.ai", "library", "tiny", "6m")
    blob.unlink()
    blob.symlink_to(blob)


def _pipe(folders: Folders, _: Path) -> None:
    blob = folders.add_to_ollama("registry.ollama.ai", "library", "tiny", "6m")
    blob.unlink()
    os.mkfifo(blob)
    path = folders.add_to_lm_studio("acme", "a-GGUF", "a.gguf")
    path.unlink()
    os.mkfifo(path)
    os.mkfifo(folders.manifest("registry.ollama.ai", "library", "pipe", "6m"))


def _other_content(folders: Folders, _: Path) -> None:
    folders.add_to_lm_studio("acme", "a-GGUF", "a.gguf").write_bytes(b"GGU")
    folders.add_to_lm_studio("acme", "b-GGUF", "b.gguf").write_bytes(b"")
    folders.add_to_ollama("registry.ollama.ai", "library", "x", "y", media_type="application/vnd.ollama.image.adapter")


def _hub_link_out(folders: Folders, outside: Path) -> None:
    folders.add_to_hub("acme/demo-GGUF", "demo-Q8_0.gguf", target=outside)


def _folder_links(folders: Folders, outside: Path) -> None:
    root = folders.home / ".lmstudio" / "models"
    (root / "acme").mkdir(parents=True)
    (root / "acme" / "x-GGUF").symlink_to(outside.parent)
    (root / "acme" / "loop").symlink_to(root)
    folders.hub.mkdir()
    (folders.hub / "models--acme--x").symlink_to(outside.parent)
    (folders.ollama).mkdir(parents=True)
    (folders.ollama / "manifests").symlink_to(outside.parent)


def _hostile_names(folders: Folders, _: Path) -> None:
    for name in ("a\x1b]0;x\x07", "a b", "-x", "..x", "é", "a" * 97):
        folders.add_to_ollama("registry.ollama.ai", "library", name, "6m")
        folders.add_to_lm_studio(name, "x-GGUF", "x.gguf")


def _files_for_folders(folders: Folders, _: Path) -> None:
    folders.ollama.parent.mkdir(parents=True)
    folders.ollama.write_text("x", encoding="utf-8")
    folders.hub.write_text("x", encoding="utf-8")
    (folders.home / ".lmstudio").write_text("x", encoding="utf-8")


def _no_permission(folders: Folders, _: Path) -> None:
    folders.add_to_lm_studio("acme", "a-GGUF", "a.gguf").chmod(0)
    folders.add_to_ollama("registry.ollama.ai", "library", "tiny", "6m").parent.chmod(0)


HOSTILE: list[Callable[[Folders, Path], None]] = [
    _link_out, _circle, _pipe, _other_content, _hub_link_out, _folder_links, _hostile_names, _files_for_folders,
]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are made with Unix calls")
@pytest.mark.parametrize("prepare", HOSTILE, ids=lambda prepare: prepare.__name__.strip("_"))
def test_hostile_content_is_left_out(
    folders: Folders, tmp_path: Path, prepare: Callable[[Folders, Path], None]
) -> None:
    outside = tmp_path / "outside" / "secret.gguf"
    outside.parent.mkdir()
    outside.write_bytes(folders.model.read_bytes())
    prepare(folders, outside)
    assert names() == {}
    assert [model.name for model in inventory.models_here(registry.cards())] == ["demo"]
    with pytest.raises(ModelNotFoundError):
        registry.resolve("tiny:6m")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="POSIX permissions, which root ignores")
def test_unreadable_content_is_left_out(folders: Folders, tmp_path: Path) -> None:
    _no_permission(folders, tmp_path)
    assert names() == {}
    folders.blob().parent.chmod(0o700)


def test_the_search_has_an_end(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        folders.add_to_ollama("registry.ollama.ai", "library", f"m{number}", "6m")
    monkeypatch.setattr(other_programs, "MAX_MODELS", 3)
    assert len(names()) == 3
    deep = folders.add_to_lm_studio("acme", *"abcdefghij", "x.gguf")
    assert deep.is_file()
    assert "LM Studio" not in names().values()
    monkeypatch.setattr(other_programs, "MAX_ENTRIES", 2)
    assert names() == {}

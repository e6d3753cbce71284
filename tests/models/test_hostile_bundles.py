"""Bundles and manifests of strangers: nothing is written or deleted outside of the models folder, and nothing breaks."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefc import paths
from edgefc.errors import EdgefcError, StoreError
from edgefc.models import store
from edgefc.models.bundle import HASH_HEADER, read_bundle
from edgefc.models.manifest import MANIFEST
from tests.bounded import run_edgefc

NAME = "m.gguf"
Manifest = dict[str, Any]


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of models with a foreign folder beside it."""
    folder = tmp_path / "home" / "models"
    folder.mkdir(parents=True)
    (tmp_path / "home" / "x").mkdir()
    (tmp_path / "home" / "x" / "thesis.txt").write_text("precious")
    monkeypatch.setenv("EDGEFC_MODELS_DIR", str(folder))
    return folder


@pytest.fixture(scope="module")
def content() -> bytes:
    return paths.demo_model().read_bytes()


def listing(content: bytes, **changes: Any) -> Manifest:
    file = {"name": NAME, "role": "model", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    texts = {"repo": "", "revision": "", "family": "", "licence": ""}
    return {"format": 1, "id": "nice", "quantization": "q", "created": "2026", **texts, "files": [file], **changes}


def pack(path: Path, manifest: Manifest | bytes, *entries: tuple[str, bytes], head: str = MANIFEST) -> Path:
    data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo(head)
        entry.size, entry.pax_headers = len(data), {HASH_HEADER: hashlib.sha256(data).hexdigest()}
        archive.addfile(entry, io.BytesIO(data))
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def tree(folder: Path) -> set[tuple[Path, bytes]]:
    return {(path, path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*")}


def assert_refused(archive: Path, tmp_path: Path) -> None:
    """The archive is refused with a typed error, and everything is as it was."""
    before = tree(tmp_path / "home")
    with pytest.raises(EdgefcError):
        read_bundle(archive)
    assert tree(tmp_path / "home") == before


def test_a_bundle_of_our_form_is_accepted(content: bytes, tmp_path: Path) -> None:
    model = read_bundle(pack(tmp_path / "a.tar", listing(content), (NAME, content)))
    assert model.path.read_bytes() == content
    assert model.created > "2026-0", "the time of the import"
    assert store.find("nice") == model


@pytest.mark.parametrize("digest", ["/../../../x/", "../../x", "/etc", "", "A" * 64, "0" * 63, 5, None])
def test_a_file_that_is_listed_twice(content: bytes, tmp_path: Path, digest: object) -> None:
    """The first entry named the folder, and the last one the hash."""
    good = listing(content)["files"][0]
    for number in range(2):
        bad = listing(content, files=[{**good, "sha256": digest}, good][number:] + [good] * number)
        archive = pack(tmp_path / "a.tar", bad, (NAME, content))
        assert_refused(archive, tmp_path)
    assert_refused(
        pack(tmp_path / "a.tar", listing(content, files=[{**good, "sha256": digest}]), (NAME, content)), tmp_path
    )


ODD_TEXTS = ["../x", "/x", "a\\b", "C:x", "a\nb", "\x1b[2J", "..", ".", "con", "a" * 300, 5, None, True, [], {}]


@pytest.mark.parametrize("field", ["id", "repo", "revision", "quantization", "family", "licence", "created", "format"])
def test_odd_fields(content: bytes, tmp_path: Path, field: str) -> None:
    fine = {"revision": {"../x", "/x", "a\\b", "C:x", "..", ".", "con"}}
    fine["licence"] = fine["revision"]
    for value in ODD_TEXTS:
        if (isinstance(value, str) and value in fine.get(field, ())) or (field == "family" and value == "con"):
            continue
        if field == "format" and value is True:
            value = 1.0
        assert_refused(pack(tmp_path / "a.tar", listing(content, **{field: value}), (NAME, content)), tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("name", name) for name in (*ODD_TEXTS, "", MANIFEST, "m.gguf.", ".m.gguf", "m.bin", "aux.gguf")],
        *[("role", role) for role in ("licence", "tokenizer", "template", "", 1, None, ["model"])],
        *[("size", size) for size in (-1, 0, 1 << 80, 1e9, "5", None, True)],
        ("more", 1),
    ],
)
def test_odd_fields_of_a_file(content: bytes, tmp_path: Path, key: str, value: object) -> None:
    file = {**listing(content)["files"][0], key: value}
    name = value if isinstance(value, str) and key == "name" else NAME
    for files in ([file], [listing(content)["files"][0], file]):
        archive = pack(tmp_path / "a.tar", listing(content, files=files), (name or "x", content))
        assert_refused(archive, tmp_path)


@pytest.mark.parametrize(
    "manifest",
    [
        b"", b"{", b"[]", b"null", b"\xff", b'"' + b"a" * (1 << 20) + b'"', b"[" * 100_000, b'{"a":' * 50_000,
        b'{"format": 1, "format": 1}', b"9" * 100_000, b'{"files": []}',
    ],
)  # fmt: skip
def test_odd_manifests(content: bytes, tmp_path: Path, manifest: bytes) -> None:
    assert_refused(pack(tmp_path / "a.tar", manifest, (NAME, content)), tmp_path)


def test_contents_that_do_not_fit_the_manifest(content: bytes, tmp_path: Path) -> None:
    good = listing(content)
    two = [*good["files"], {**good["files"][0], "name": "tokenizer.json", "role": "tokenizer"}]
    for manifest, entries in [
        (good, []),
        (good, [(NAME, content), (NAME, content)]),
        (good, [(NAME, content[:-1])]),
        (good, [(NAME, content[:-1] + b"!")]),
        (good, [(NAME.upper(), content)]),
        (good, [("./" + NAME, content)]),
        (good, [("../" + NAME, content)]),
        (good, [(NAME, content), ("more", b"x")]),
        (listing(content, files=two), [(NAME, content)]),
    ]:
        assert_refused(pack(tmp_path / "a.tar", manifest, *entries), tmp_path)
    assert_refused(pack(tmp_path / "a.tar", good, (NAME, content), head=f"./{MANIFEST}"), tmp_path)


@pytest.mark.parametrize("kind", ["lnk", "sym", "chr", "blk", "dir", "fifo", "cont", "gnu sparse"])
def test_members_that_are_no_files(content: bytes, tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path / "a.tar", listing(content), (NAME, content))
    header = entry_header(NAME, len(content), {"gnu sparse": b"S", "cont": b"7"}.get(kind) or link_type(kind))
    with tarfile.open(archive) as tar:
        offset = tar.getmembers()[1].offset
    data = bytearray(archive.read_bytes())
    data[offset : offset + 512] = header
    archive.write_bytes(data)
    assert_refused(archive, tmp_path)


def link_type(kind: str) -> bytes:
    return {"lnk": b"1", "sym": b"2", "chr": b"3", "blk": b"4", "dir": b"5", "fifo": b"6"}[kind]


def entry_header(name: str, size: int | bytes, kind: bytes = b"0", *, magic: bytes = b"ustar\x0000") -> bytes:
    """Write the header of a member by hand."""
    header = bytearray(512)
    header[: len(name)] = name.encode()
    header[100:108] = header[108:116] = header[116:124] = header[136:144] = b"0000644\0"
    header[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    header[156:157], header[257:265] = kind, magic
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def binary(number: int) -> bytes:
    """A size as GNU tar writes those that are too large for octal digits, or negative (CVE-2025-8194)."""
    return (number & ((1 << 96) - 1) | 1 << 95).to_bytes(12, "big")


def bombs(content: bytes) -> Iterator[tuple[str, Manifest, bytes]]:
    """Names, manifests, and what follows them in the archive."""
    good = listing(content)
    huge = listing(content, files=[{**good["files"][0], "size": 40 << 30}])
    sparse = bytearray(entry_header(NAME, 0, b"S", magic=b"ustar  \0"))
    sparse[386:398] = sparse[483:495] = binary(40 << 30)
    sparse[148:156] = b" " * 8
    sparse[148:156] = b"%06o\0 " % sum(sparse)
    yield "sparse", huge, bytes(sparse)
    yield "negative", good, entry_header(NAME, binary(-512))
    yield "binary", huge, entry_header(NAME, binary(40 << 30))
    yield "truncated", huge, entry_header(NAME, 8**11 - 1)
    for text in ("-512", str(40 << 30), "1e9", "٣", "9" * 5000):
        yield f"pax size {text[:9]}", huge, pax_header({"size": text}) + entry_header(NAME, len(content)) + content
    yield "pax sparse", huge, pax_header({"GNU.sparse.realsize": str(40 << 30)}) + entry_header(NAME, 0)
    yield "large pax header", good, entry_header("x", 1 << 32, b"x")
    yield "long name", good, entry_header("././@LongLink", 1 << 32, b"L")
    yield "wrong pax length", good, entry_header("x", 512, b"x") + b"99999 size=1\n".ljust(512, b"\0")
    yield "two pax headers", good, pax_header({"path": NAME}) * 2 + entry_header(NAME, len(content)) + content
    yield "global header", good, entry_header("x", 512, b"g") + b"12 size=100\n".ljust(512, b"\0")
    yield "path in a pax header", good, pax_header({"path": "../x/y"}) + entry_header(NAME, len(content)) + content


def pax_header(fields: dict[str, str]) -> bytes:
    data = tarfile.TarInfo._create_pax_generic_header(fields, b"x", "utf-8")  # type: ignore[attr-defined]
    return bytes(data)


def test_bombs_write_nothing(content: bytes, tmp_path: Path) -> None:
    for name, manifest, rest in bombs(content):
        archive = pack(tmp_path / f"{name}.tar", manifest)
        archive.write_bytes(archive.read_bytes().rstrip(b"\0") + b"\0")
        data = archive.read_bytes()
        archive.write_bytes(data + bytes(-len(data) % 512) + rest + bytes(-len(rest) % 512) + bytes(1024))
        assert_refused(archive, tmp_path)


def test_a_bundle_of_a_pipe_or_a_device(tmp_path: Path) -> None:
    import os

    if not hasattr(os, "mkfifo"):
        pytest.skip("needs pipes")
    os.mkfifo(tmp_path / "pipe.tar")
    for path in (tmp_path / "pipe.tar", Path("/dev/zero"), tmp_path):
        assert_refused(path, tmp_path)


def test_what_edgefc_did_not_make_is_never_deleted(content: bytes, models: Path, tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar", listing(content), (NAME, content))
    folder = store.model_folder("local/files", "q", listing(content)["files"][0]["sha256"])
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("precious")
    assert_refused(archive, tmp_path)
    (folder / "thesis.txt").unlink()
    folder.rmdir()
    folder.symlink_to(models.parent / "x", target_is_directory=True)
    assert_refused(archive, tmp_path)
    folder.unlink()
    folder.parent.rmdir()
    folder.parent.symlink_to(models.parent / "x", target_is_directory=True)
    assert_refused(archive, tmp_path)
    folder.parent.unlink()
    model = read_bundle(archive)
    (model.folder / "thesis.txt").write_text("precious")
    store.remove(model)
    assert [path.name for path in model.folder.iterdir()] == [store.MARK, "thesis.txt"]


def test_what_an_interrupted_import_left_is_replaced(content: bytes, tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar", listing(content), (NAME, content))
    model = read_bundle(archive)
    (model.folder / MANIFEST).unlink()
    (model.folder / NAME).write_bytes(content[:1000])
    assert read_bundle(archive).path.read_bytes() == content
    store.remove(store.get("nice"))
    assert not list(paths.models_dir().iterdir())


def broken_manifests(content: bytes) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Names of folders, and what stands in place of their manifest."""
    good = listing(content)
    for key in good:
        yield f"int-{key}", lambda path, key=key: path.write_text(json.dumps({**good, key: 5}))  # type: ignore[misc]
    yield "deep", lambda path: path.write_bytes(b"[" * 500_000)
    yield "large", lambda path: path.write_bytes(b" " * (2 << 20))
    yield "folder", lambda path: path.mkdir()
    yield "loop", lambda path: path.symlink_to(path)
    yield "device", lambda path: path.symlink_to("/dev/zero")


def test_a_broken_entry_breaks_no_command(content: bytes, models: Path, tmp_path: Path) -> None:
    import os

    sound = read_bundle(pack(tmp_path / "a.tar", listing(content), (NAME, content)))
    for name, write in broken_manifests(content):
        folder = models / "acme--x" / name
        folder.mkdir(parents=True)
        (folder / NAME).write_bytes(b"x")
        write(folder / MANIFEST)
    if hasattr(os, "mkfifo"):
        (models / "acme--x" / "pipe").mkdir()
        os.mkfifo(models / "acme--x" / "pipe" / MANIFEST)
    assert store.stored_models() == [sound]
    for arguments in (["list"], ["show", "nice"], ["verify"], ["rm", "nice", "--yes"], ["recommend"]):
        assert "error" not in run_edgefc(*arguments, folder=tmp_path)


def test_names_from_outside_stay_inside(models: Path) -> None:
    for name in ("..", "../x", "/etc", "a/b", "a\\b", "", ".x", "x.", "nul", "a\0b"):
        with pytest.raises(StoreError):
            paths.inside(models, name)
        with pytest.raises(StoreError):
            paths.inside(models, "a", name)
    assert paths.inside(models, "a", "b.gguf") == models / "a" / "b.gguf"

"""Metadata of many megabytes costs no memory, and no template is used in part."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefc import formats, gguf
from edgefc.errors import FormatError
from edgefc.gguf import ArrayLength
from tests.bounded import run_edgefc
from tests.gguf_edit import edit_metadata

LONG = "x" * (5 << 20)


def test_of_long_texts_only_the_length_is_kept(demo_path: Path, tmp_path: Path) -> None:
    path = edit_metadata(demo_path, tmp_path / "x.gguf", {"general.name": LONG, "tokenizer.huggingface.json": LONG})
    metadata = gguf.read_metadata(path)
    assert metadata["general.name"] == metadata["tokenizer.huggingface.json"] == ArrayLength(len(LONG))
    assert gguf.read_model(path).n_tensors == gguf.read_model(demo_path).n_tensors


@pytest.mark.parametrize("template", [LONG, 5])
def test_a_template_that_is_too_long_or_no_text_is_not_left_out(
    demo_path: Path, tmp_path: Path, template: str | int
) -> None:
    changes = {"general.name": "odd", "tokenizer.chat_template": template}
    path = edit_metadata(demo_path, tmp_path / "odd.gguf", changes)
    with pytest.raises(FormatError, match="chat template is no text, or too long"):
        formats.family_of(gguf.read_metadata(path), path.name)
    assert "is no text, or too long" in run_edgefc("show", path, folder=tmp_path)

"""The documents build as a site, and its page of the API holds every public name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import edgefc

ROOT = Path(__file__).parents[1]


def test_the_site_documents_every_public_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    documented = set(re.findall(r'id="edgefc\.([\w.]+)"', page))
    assert set(edgefc.__all__) - {"__version__", "EdgefcError"} <= documented
    assert {"errors.EdgefcError", "errors.RequestError", "Model.achat", "Model.arun", "Reply.parsed"} <= documented
    assert re.search(r"<li>\s*(<p>)?<code>max_tokens</code>: limit of the answer", page), "columns are lists"
    assert not re.findall(r'(?:src|href)="https?://(?!squidfunk)[^"]*\.(?:css|js|woff2?)', page), (
        "a page asks no other server"
    )

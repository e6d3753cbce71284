"""The system's Chromium, driven by playwright, and pages of it that report every mistake."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.server.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("EDGEFC_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium: install the system's package `chromium`, or name its program in EDGEFC_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        # A container's root has no sandbox; the pages are our own.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """Return a function that opens a server's page; at the end nothing was asked of others, and no error was logged."""
    contexts, urls, problems = [], [], []

    def open_at(server: ServerProcess, **options: Any) -> Page:
        origin = f"http://{server.host}:{server.port}"
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: urls.append((origin, request.url)))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.goto(origin)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert [url for origin, url in urls if not url.startswith((f"{origin}/", f"blob:{origin}/"))] == []
    # A refused request is logged as an error, too: tests that ask for one check what the page says.
    assert [text for text in problems if "the server responded with a status of 4" not in text] == []

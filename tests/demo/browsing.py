"""A browser for tests, where there is one."""

import os
import shutil
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
HOW = (
    "the page is tried in a browser: pip install -e '.[demo-test]', and Chromium of the "
    "distribution (apt-get install chromium), or its place in $CHROMIUM"
)


def require() -> tuple[Any, str]:
    """Playwright's entrance and the program of a browser; skips the test where one is missing."""
    pytest.importorskip("gradio", reason=HOW)
    playwright = pytest.importorskip("playwright.sync_api", reason=HOW)
    programs = [os.environ.get("CHROMIUM"), *map(shutil.which, _NAMES)]
    program = next((program for program in programs if program), None)
    if program is None:
        pytest.skip(HOW)
    return playwright.sync_playwright, program

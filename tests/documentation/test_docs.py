"""docs/ can be built without a warning, and what it says of the code is there."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.mark.skipif(
    importlib.util.find_spec("sphinx") is None, reason="no Sphinx; pip install -e '.[docs]'"
)
def test_pages_are_built_without_a_warning(tmp_path):
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E"]
        + ["-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "html")],
        env={**os.environ, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    keys = (tmp_path / "html" / "reference" / "config_train.html").read_text()
    assert "config.optimizer.peak_lr" in keys and "config.mesh.fsdp" in keys


def test_errors_that_troubleshooting_explains_are_there():
    code = "\n".join(
        path.read_text() for room in ("lvm_jax", "tools") for path in (ROOT / room).rglob("*.py")
    )
    # Texts that go on in the next line are one.
    code = re.sub(r"[\"'],?\s*\n\s*f?[\"']", "", code)
    table = (DOCS / "troubleshooting.md").read_text().split("## Without a line")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    texts = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    assert len(texts) > 30
    unknown = [
        text
        for text in texts
        for part in text.split("…")
        if part.strip(" :;,") and part.strip(" :;,") not in code
    ]
    assert unknown == []


def test_every_page_of_the_questions_is_there():
    pages = re.findall(r"\]\(([\w/]+\.md)\)", (DOCS / "faq.md").read_text())
    assert pages and all((DOCS / page).is_file() for page in pages)

"""docs/ can be built without a warning, and what it says of the code is there."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.documentation import blocks

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
    tools = (tmp_path / "html" / "reference" / "tools.html").read_text()
    assert "python tools/train.py --config=" in tools and str(ROOT) not in tools


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


def test_every_tool_is_in_the_reference():
    tools = ROOT / "tools"
    is_program = lambda path: 'if __name__ == "__main__":' in path.read_text()
    files = [*filter(is_program, tools.rglob("*.py")), *(tools / "launch").glob("*.s[bh]*")]
    names = {str(path.relative_to(tools)).removesuffix(".py") for path in files} - {"__main__"}
    page = (DOCS / "reference" / "tools.md").read_text()
    assert names == set(re.findall(r"^```\{tool-help\} (\S+)$", page, re.MULTILINE))


# Pages are read as they are, too: what Sphinx would fill in or find is not enough.
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:)([^)\s]*)\)")


@pytest.mark.parametrize(
    "page", [*blocks.PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_have_a_text_and_lead_somewhere(page):
    for text, link in LINK.findall(_without_code(page)):
        assert text, f"[]({link}) shows nothing where pages are not built"
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", _without_code(target), re.MULTILINE)
            assert anchor in map(_anchor, headings), link


def _without_code(page: pathlib.Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_questions_lead_to_pages():
    links = [link for _, link in LINK.findall((DOCS / "faq.md").read_text())]
    assert len(links) > 20 and all(".md" in link for link in links)

"""How Sphinx makes these pages: `sphinx-build -W docs build/docs`, without a network."""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path[:0] = [str(ROOT), str(ROOT / "tools"), str(ROOT / "docs" / "extensions")]

from lvm_jax.version import __version__  # noqa: E402

project = "lvm_jax"
copyright = "the authors of lvm_jax, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["extensions", "static"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
# Docstrings write `name` for a name.
default_role = "code"
smartquotes = False  # of --flags it would make dashes
# Private links of the code to the code are no pages.
nitpicky = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_title = f"lvm_jax {release}"
html_show_sourcelink = False
html_copy_source = False

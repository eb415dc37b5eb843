"""Directives that write what the code knows already: keys of configs, flags of tools.

```{config-keys} train          all keys of --config of tools/train.py, a section each
```{tool-help} train            what `python tools/train.py --help` prints
"""

import importlib
import os
import pathlib
import re
import subprocess
import sys

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import config_help

ROOT = pathlib.Path(__file__).resolve().parents[2]


class ConfigKeys(SphinxDirective):
    """The keys of a tool's config."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # code is no file of the page
        sections = importlib.import_module(self.arguments[0]).keys()
        text = "\n\n".join(map(_of_key, config_help.keys(sections)))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class ToolHelp(SphinxDirective):
    """The --help of a tool, or of a script that is no Python."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        # Help names a tool as it was typed: from the checkout, as its readers will.
        tool = pathlib.Path("tools", self.arguments[0])
        command = ["bash", tool] if tool.suffix else [sys.executable, tool.with_suffix(".py")]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            [*map(str, command), "--help"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        about, _, flags = done.stdout.strip().partition("\n\nflags:\n")
        block = nodes.literal_block(about, about, language="text")
        # Flags of every tool are explained once, on the page.
        lines = re.findall(r"^  --(?!v=1|helpfull)(\S+): (.*)$", flags, re.MULTILINE)
        text = "\n\n".join(f"`--{name}`\n: {_escaped(line)}" for name, line in lines)
        return [block, *(self.parse_text_to_nodes(text) if text else [])]


def _escaped(text: str) -> str:
    """Text in which signs that mean something to Markdown do not, but for what is in backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"([<>*\[\]_\\])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _of_key(key: config_help.Key) -> str:
    """A section or a key in Markdown."""
    about = _escaped(key.about)
    if not key.type:
        return f"## {key.path}\n\n{about[:1].upper()}{about[1:]}"
    default = f"= `{key.default}`" if key.default else ", required"
    kind = key.type.replace("|", " | ")
    return f"`{key.path}`: {kind} {default}\n: {about}".replace(" ,", ",")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("config-keys", ConfigKeys)
    app.add_directive("tool-help", ToolHelp)
    return {"parallel_read_safe": True}

"""examples/visual_prompting.ipynb: its code on a toy pair, and all of it on the pair that ships."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.generation.jobs.prompt_files import PromptFile
from lvm_jax.pretrained import places
from tests import toys

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "visual_prompting.ipynb"
KERNEL = "the kernel of a notebook is not installed: pip install -e '.[notebook-test]'"
RUN = """
import sys
import nbclient, nbformat
nbclient.NotebookClient(nbformat.read(sys.argv[1], 4), timeout=300).execute()
"""


@pytest.fixture(scope="module")
def cells():
    return [
        cell
        for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]


def test_it_is_kept_without_outputs(cells):
    """They would be a picture of an older pair, and a hundred times as large."""
    assert len(cells) >= 8
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)


def test_its_code_runs_on_a_toy_pair(cells, model, tokenizer, tmp_path, monkeypatch, capsys):
    toys.write_pair(tmp_path / "uvd_mini", model, tokenizer)
    (tmp_path / "uvd_mini" / "prompts").mkdir()
    rng = np.random.default_rng(0)
    prompts = {name: "analogy" for name in ("emoji_mask", "emoji_edges", "3d_to_flat")}
    for name, layout in (prompts | {"animation": "sequence"}).items():
        pictures = rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
        *shown, target = map(images.encode_png, pictures)
        prompt = PromptFile(
            images=tuple(shown), targets=(target,), layout=layout, attribution="Somebody"
        )
        (tmp_path / "uvd_mini" / "prompts" / f"{name}.json").write_text(prompt.text())
    monkeypatch.setattr(places, "ROOT", tmp_path)
    shown_figures = []
    monkeypatch.setattr(plt, "show", lambda: shown_figures.append(plt.gcf()))
    try:
        names = {}
        for cell in cells:
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
    finally:
        plt.close("all")
    assert len(shown_figures) == 5
    said = capsys.readouterr().out
    assert "query alone" in said and "animation: Somebody" in said
    assert names["new"].shape == (1, 1, 16, 16, 3)


def test_it_runs_on_the_pair_that_ships():
    """From the top, in a kernel of its own."""
    try:
        places.find("uvd_mini")
    except ValueError as error:
        pytest.skip(str(error))
    if not all(importlib.util.find_spec(name) for name in ("nbclient", "ipykernel")):
        pytest.skip(KERNEL)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", RUN, str(NOTEBOOK)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]

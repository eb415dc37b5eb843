"""The import order of the design: a module imports only from those above it."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "lvm_jax"

ORDER = (
    "version",
    "vocabulary",
    "configs",
    "file_names",
    "atomic",
    "edited_file",
    "tiff_directory",
    "image_metadata",
    "image_samples",
    "images",
    "file_kinds",
    "image_folders",
    "reading",
    "sheets",
    "trees",
    "progress_bar",
    "distributed",
    "mesh",
    "partition",
    "flops",
    "tokenizer",
    "sentences",
    "model",
    "data",
    "training",
    "generate",
    "evaluation",
)
FORBIDDEN = ("ml_collections", "experiments", "tools", "torch", "transformers", "diffusers")


def imported_names(path: pathlib.Path) -> set[str]:
    """Dotted names of every module that a file imports, wherever in the file it does."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the order; import lvm_jax.x"
            # `from lvm_jax import mesh` imports lvm_jax.mesh.
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def stage(dotted: str) -> str | None:
    """The part of the package that a dotted name lies in: `lvm_jax.data.rows` -> `data`."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "lvm_jax" and len(parts) > 1 and parts[1] in ORDER else None


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def test_every_module_has_a_place_in_the_order():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert parts <= set(ORDER), f"not in ORDER: {sorted(parts - set(ORDER))}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_from_above(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imported_names(path):
        assert name.split(".")[0] not in FORBIDDEN, f"{path} imports {name}"
        other = stage(name)
        if other is not None and other != own:
            assert ORDER.index(other) < ORDER.index(own), f"{own} must not import {name}"

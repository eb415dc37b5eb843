"""The import order of the design, room by room: a module imports only from rooms below its own."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "lvm_jax"

# From the ground up. Rooms of one line do not import one another; `training` is also the room of
# the files beside its sub-packages. The last words of a line may name rooms that are still empty.
FLOORS = (
    "version configs commands file_names progress_bar",
    "storage",
    "vocabulary atomic worker_processes device_grid",
    "trees draws mesh devices distributed",
    "image_formats",
    "images",
    "file_kinds image_record sheets pages",
    "image_folders",
    "weight_files",
    "modules rules",
    "partition",
    "frames",
    "pictures",
    "measures",
    "sentences",
    "tokenizer",
    "model.attention",
    "model",
    "model.weights",
    "data.shards",
    "data.building data.feeding",
    "training",
    "training.transformer training.vqgan",
    "conversion",
    "planning",
    "generation",
    "pretrained",
    "evaluation.metrics",
    "evaluation.tasks",
    "evaluation.asking",
    "evaluation.report",
    "evaluation",
    "demo",
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}
FORBIDDEN = ("ml_collections", "experiments", "tools", "torch", "transformers", "diffusers")

# What the order alone would allow: room -> rooms that it never imports.
NEVERS = {
    # The loop knows none of what it trains, nor on what.
    "training": "model tokenizer sentences data",
    # A record carries all that feeding needs.
    "data.shards": "sentences tokenizer model",
    "data.feeding": "sentences pictures tokenizer model",
    # Pictures go straight into a tokenizer's training.
    "training.vqgan": "data",
    # They read what a training left through `training.workdir` and `training.checkpoints`.
    "conversion": "training.transformer training.vqgan",
    "generation": "training.transformer training.vqgan",
    "evaluation": "training.transformer training.vqgan",
    "sentences": "tokenizer data.shards",
    # Networks know nothing of how they are trained.
    "tokenizer": "sentences",
    "model": "tokenizer sentences",
}


def imported_names(path: pathlib.Path) -> set[str]:
    """Dotted names of every module that a file imports, wherever in the file it does."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the order; import lvm_jax.x"
            # `from lvm_jax import mesh` imports lvm_jax.mesh.
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def room_of(dotted: str) -> str | None:
    """The smallest room that a dotted name lies in: `lvm_jax.data.feeding.rows` -> `data.feeding`.

    None for what lies in no room: other packages, and the face of this one.
    """
    first, *parts = dotted.split(".")
    rooms = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((room for room in rooms if room in FLOOR_OF), None) if first == "lvm_jax" else None


def is_inside(room: str, other: str) -> bool:
    return room == other or room.startswith(f"{other}.")


def module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def test_every_module_has_a_room():
    homeless = [p for p in MODULES if p.name != "__init__.py" and room_of(module_name(p)) is None]
    assert not homeless, f"in no room of FLOORS: {homeless}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_from_below(path):
    own = room_of(module_name(path))
    for name in imported_names(path):
        assert name.split(".")[0] not in FORBIDDEN, f"{path} imports {name}"
        other = room_of(name)
        if other is None or other == own:
            continue
        assert FLOOR_OF[other] < FLOOR_OF[own], f"{own} must not import {name}"
        for never in NEVERS.get(own, "").split():
            assert not is_inside(other, never), f"{own} never imports {name}"


def test_the_order_and_the_nevers_name_rooms_once_each():
    rooms = " ".join(FLOORS).split()
    assert len(rooms) == len(FLOOR_OF)
    named = {*NEVERS, *" ".join(NEVERS.values()).split()} - {"data"}
    assert named <= set(rooms), f"not in FLOORS: {sorted(named - set(rooms))}"

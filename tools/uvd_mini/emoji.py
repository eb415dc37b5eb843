"""Emoji: outline and color drawings, flat and 3D pictures with their masks, one unseen style."""

import collections
import dataclasses
import io
import json
import pathlib

import numpy as np
from PIL import Image

from uvd_mini import files, items, splits

# A sentence of a category shows different things of one kind: smaller folders are not written.
MIN_GROUP = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Emoji:
    """One emoji as one package draws it.

    Attributes:
        key: lower-case codepoints, which name its files.
        source: the SVG or WebP file; for noto, the SVG itself.
        folder: what it is written to within its split, as "emoji_color".
        group: the category folder that it is put in as well; "" for none.
    """

    key: str
    source: str
    folder: str
    group: str = ""

    @property
    def split(self) -> str:
        return splits.split_of(splits.emoji_identity(self.key))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every file that is made of it, relative to the corpus."""
        names = [f"{self.split}/{self.folder}/{self.key}.png"]
        if self.folder == "emoji_3d":
            names += [f"{self.split}/emoji_mask/{self.key}.png"]
        if self.group:
            names += [f"{self.split}/emoji_groups/{self.group}/{self.key}.png"]
        if self.folder == "emoji_noto":
            names += [f"{self.split}/emoji_noto_source/{self.key}.png"]
        return tuple(names)


def list_openmoji(package: pathlib.Path, tones: bool) -> list[Emoji]:
    """The outline and the color drawing of each emoji.

    Args:
        package: the unpacked openmoji.
        tones: whether to take the skin-tone variants too.
    """
    entries = json.loads((package / "data/openmoji.json").read_text(encoding="utf-8"))
    drawn = []
    for entry in entries:
        key = entry["hexcode"].lower()
        has_tone = bool(entry["skintone"]) or splits.has_skin_tone(key)
        if has_tone and not tones:
            continue
        # A group holds different things, not one thing in five tones.
        group = "" if has_tone else f"{entry['group']}--{entry['subgroups']}"
        for folder, style in (("emoji_line", "black"), ("emoji_color", "color")):
            drawn.append(
                Emoji(
                    key=key,
                    source=str(package / style / "svg" / f"{entry['hexcode']}.svg"),
                    folder=folder,
                    group=group if folder == "emoji_color" else "",
                )
            )
    sizes = collections.Counter((emoji.split, emoji.group) for emoji in drawn)
    return [
        dataclasses.replace(emoji, group="")
        if emoji.group and sizes[emoji.split, emoji.group] < MIN_GROUP
        else emoji
        for emoji in drawn
    ]


def list_fluent(package: pathlib.Path, folder: str, tones: bool) -> list[Emoji]:
    """The emoji of a Fluent package, which names its files by codepoint; `tones` as above.

    Its flags are those of noto, the same in flat and in 3D: they would give the held-out style away
    and teach that the two styles are one.
    """
    listed = []
    for path in sorted((package / "assets").iterdir()):
        if path.suffix not in (".svg", ".webp") or is_flag(path.stem):
            continue
        if tones or not splits.has_skin_tone(path.stem):
            listed.append(Emoji(key=path.stem, source=str(path), folder=folder))
    return listed


def is_flag(key: str) -> bool:
    """Whether an emoji is the flag of a country or of a part of one."""
    first, *rest = key.split("-")
    return 0x1F1E6 <= int(first, 16) <= 0x1F1FF or (first == "1f3f4" and rest[:1] == ["e0067"])


def list_noto(package: pathlib.Path, keys: set[str]) -> list[Emoji]:
    """The unseen style, for the held-out ones among the `keys` of OpenMoji.

    Icon sets leave out the variation selector fe0f; keys here are OpenMoji's, so that the drawing
    and its noto form pair up.
    """
    icons = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    names = json.loads((package / "chars.json").read_text(encoding="utf-8"))
    width, height = icons.get("width", 128), icons.get("height", 128)
    listed = []
    for key in sorted(key for key in keys if not is_flag(key)):
        bare = "-".join(point for point in key.split("-") if point != "fe0f")
        name = names.get(key) or names.get(bare)
        name = icons.get("aliases", {}).get(name, {}).get("parent", name)
        if name not in icons["icons"]:
            continue
        body = icons["icons"][name]["body"]
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{body}</svg>'
        emoji = Emoji(key=key, source=svg, folder="emoji_noto")
        if emoji.split == splits.HELD_OUT:
            listed.append(emoji)
    return listed


def make(out: pathlib.Path, emoji: Emoji) -> None:
    """Writes the files of one emoji; the unseen style comes after OpenMoji's drawings.

    Raises:
        items.ItemError: its source cannot be read.
    """
    if emoji.source.startswith("<svg"):
        picture = draw_svg(emoji.source, emoji.key)
    elif emoji.source.endswith(".svg"):
        picture = draw_svg(pathlib.Path(emoji.source).read_text(encoding="utf-8"), emoji.key)
    else:
        picture, mask = read_picture_and_mask(emoji.source)
        files.write_png(out, emoji.outputs[1], mask)
    files.write_png(out, emoji.outputs[0], picture)
    if emoji.group:
        files.link(out, emoji.outputs[0], emoji.outputs[-1])
    if emoji.folder == "emoji_noto":
        # The pair's other half, so that both folders hold the same keys.
        files.link(out, f"{emoji.split}/emoji_color/{emoji.key}.png", emoji.outputs[-1])


def is_done(out: pathlib.Path, emoji: Emoji) -> bool:
    return all((out / name).exists() for name in emoji.outputs)


def draw_svg(svg: str, name: str) -> np.ndarray:
    """An SVG drawing on white paper: uint8 [SIZE, SIZE, 3]."""
    import resvg_py  # an extra; the tool has checked that it is there

    try:
        png = resvg_py.svg_to_bytes(
            svg_string=svg,
            background="#ffffff",
            width=files.SIZE,
            height=files.SIZE,
            skip_system_fonts=True,
        )
    except ValueError as error:
        raise items.ItemError(f"{name}: {' '.join(str(error).split())}") from error
    with Image.open(io.BytesIO(bytes(png))) as image:
        return files.resized(files.over_white(image))


def read_picture_and_mask(path: str) -> tuple[np.ndarray, np.ndarray]:
    """A picture with transparency on white, and its mask: both uint8 [SIZE, SIZE, 3]."""
    try:
        with Image.open(path) as image:
            rgba = image.convert("RGBA")
    except OSError as error:
        raise items.ItemError(f"{pathlib.Path(path).name}: {error}") from error
    size = (files.SIZE, files.SIZE)
    alpha = np.asarray(rgba.getchannel("A").resize(size, Image.Resampling.LANCZOS))
    mask = np.where(alpha >= 128, 255, 0).astype(np.uint8)
    return files.resized(files.over_white(rgba)), np.repeat(mask[..., None], 3, axis=2)

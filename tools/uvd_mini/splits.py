"""Which things are held out: by what they show, not by file, so that no variant leaks.

Two pictures of one thing (a skin tone, another style, another size) always share a split.
"""

import hashlib
import re

HELD_OUT_SHARE = 0.1
HELD_OUT_CATEGORY = "Bathroom"
# Degrees of longitude: Central Asia, India, western Siberia.
HELD_OUT_BAND = (60.0, 96.0)

TRAIN, HELD_OUT = "train", "held_out"

_SKIN_TONES = {f"1f3f{digit}" for digit in "bcdef"}
_JOINERS = {"fe0f", "200d"}
_GENDER_SIGNS = {"2640", "2642"}
# Man and woman are drawn as the person is; likewise the young and the old, prince and princess.
_PERSONS = {
    "1f468": "1f9d1",
    "1f469": "1f9d1",
    "1f466": "1f9d2",
    "1f467": "1f9d2",
    "1f474": "1f9d3",
    "1f475": "1f9d3",
    "1f478": "1f934",
    "1f936": "1f385",
}


def emoji_identity(key: str) -> str:
    """What an emoji shows: its codepoints without skin tone, gender and joiners.

    Args:
        key: lower-case hexadecimal codepoints joined by "-", as "1f468-1f3fb-200d-2695-fe0f".

    Returns:
        The same form, as "1f9d1-2695".
    """
    dropped = _SKIN_TONES | _JOINERS | _GENDER_SIGNS
    points = key.lower().split("-")
    kept = [_PERSONS.get(point, point) for point in points if point not in dropped]
    return "-".join(kept or points)


def has_skin_tone(key: str) -> bool:
    """Whether an emoji is one of five skin-tone variants of another."""
    return not _SKIN_TONES.isdisjoint(key.split("-"))


def model_identity(name: str) -> str:
    """What a model shows: its name without number, color, size and maker.

    Args:
        name: as "scopia_oak-table2" or "kitchenCabinet_white".

    Returns:
        A stem that the variants of a model share, as "oaktable".
    """
    name = name.split("_", 1)[1] if name.startswith(_MAKERS) else name
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    kept = [word.lower() for word in words if not _VARIANT.fullmatch(word.lower())]
    return "".join(kept) or name.lower()


_MAKERS = ("blendswap-cc-0_", "blendswap-cc-by_", "katorlegaz_", "reallusion_", "scopia_")
_VARIANT = re.compile(
    "black|white|red|green|blue|yellow|brown|grey|gray|orange|pink|purple|beige|dark|light|small|"
    "large|big|little|tall|short|long|wide|double|single|left|right|half|old|new|swap|open|closed|"
    r"opened|with|without|texture|and|a|the|\d+"
)


def fraction(identity: str, salt: str = "uvd-mini") -> float:
    """A number in [0, 1) that depends on nothing but the identity, the same on every machine."""
    digest = hashlib.sha256(f"{salt}:{identity}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(identity: str) -> str:
    """The split of an identity: "held_out" for a tenth of them, else "train"."""
    return HELD_OUT if fraction(identity) < HELD_OUT_SHARE else TRAIN


def model_split(name: str, category: str) -> str:
    """The split of a 3D model: one whole category is held out besides a tenth of the rest."""
    return HELD_OUT if category == HELD_OUT_CATEGORY else split_of(model_identity(name))


def tile_split(west: float, east: float) -> str | None:
    """The split of a map tile by its longitudes in degrees; None where it straddles the border."""
    low, high = HELD_OUT_BAND
    if low <= west and east <= high:
        return HELD_OUT
    return TRAIN if east <= low or west >= high else None

"""What the samples of a picture mean: colors in 8 bits, or the numbers as they are stored.

Pillow applies bits per sample, transparent colors and planes at some depths only. Functions here
take a picture that is opened and not decoded yet: its tiles tell how samples are stored.
Legend: H height, W width in pixels.
"""

import dataclasses
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, TypeGuard

import numpy as np
import PIL.Image
from PIL.ImageFile import ImageFile

if TYPE_CHECKING:  # imported by Pillow when it is needed, which decides who looks at a file first
    from PIL.TiffImagePlugin import TiffImageFile

WHITE = (255, 255, 255)
_LONG_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_GRAY_MODES = ("1", "L", "F", *_LONG_MODES)
NUMBER_MODES = ("1", "L", "P", *_LONG_MODES)
# Formats whose readers start other programs, or leave out how the numbers are scaled.
REFUSED_FORMATS = ("EPS", "FITS", "WMF")
# Formats whose pictures of bits have 1 for black, which Pillow takes for white.
_ONE_IS_BLACK = ("PSD", "XBM")
_START_OF_CODE = b"\xff\x4f\xff\x51"  # of JPEG 2000
# TIFF's tags and values.
_BITS, _PHOTOMETRIC, _PLANES, _INKS, _EXTRA, _FORMAT = 258, 262, 284, 332, 338, 339
_APART, _ASSOCIATED, _SIGNED, _YCBCR = 2, 1, 2, 6
# What Y, Cb and Cr must be to be read as they lie in the file, by tag: what holds without it, and
# what is plain. Coefficients, subsampling, black and white.
_PLAIN_YCBCR = {
    529: ((0.299, 0.587, 0.114), (0.299, 0.587, 0.114)),
    530: ((2, 2), (1, 1)),
    532: ((0, 255, 128, 255, 128, 255), (0, 255, 128, 255, 128, 255)),
}


@dataclasses.dataclass(frozen=True)
class Gray:
    """Numbers of a gray picture, whole or float32 [H, W], of which 0 and `white` are the ends."""

    numbers: np.ndarray
    white: int


def to_rgb(
    image: ImageFile,
    background: tuple[int, int, int] = WHITE,
    *,
    white_is_zero: bool = False,
) -> PIL.Image.Image:
    """Any mode as 8-bit RGB.

    Unsigned samples are fractions of the largest number of their bits; those of 16 bits and more
    that may be negative lie in 0..65535, and floats in [0, 1]. Transparency is laid over the
    background: an alpha channel, associated or not, and a color that is said to be transparent,
    which is compared with the samples as they are stored.

    Args:
        image: opened, at one frame.
        background: red, green, blue in 0..255.
        white_is_zero: of a gray picture.

    Raises:
        ValueError: numbers beyond these, or samples that are not supported.
    """
    return over(to_colors(image, white_is_zero=white_is_zero), background)


def over(image: PIL.Image.Image, background: tuple[int, int, int]) -> PIL.Image.Image:
    """What `to_colors` gives, laid over red, green, blue in 0..255: RGB."""
    if image.mode == "RGB":
        return image
    below = PIL.Image.new("RGBA", image.size, (*background, 255))
    return PIL.Image.alpha_composite(below, image).convert("RGB")


def to_colors(image: ImageFile, *, white_is_zero: bool = False) -> PIL.Image.Image:
    """As `to_rgb`, but of a picture with transparency RGBA, its colors not multiplied by alpha."""
    frame = _gif_frame(image)
    colors = _to_colors(image, white_is_zero)
    if frame is None:
        return colors
    screen = PIL.Image.new("RGBA", image.size)
    screen.paste(colors.crop(frame), frame)
    return screen


def _to_colors(image: ImageFile, white_is_zero: bool) -> PIL.Image.Image:
    _require_known(image)
    if image.mode == "1" and image.format in _ONE_IS_BLACK:
        white_is_zero = True
    key = image.info.get("transparency")
    if image.mode in _GRAY_MODES:
        if white_is_zero and _is_signed(image):
            raise ValueError("white is zero among signed numbers, which is not supported")
        gray = stored_gray(image)
        rgb = PIL.Image.fromarray(_eight_bits(gray, white_is_zero)).convert("RGB")
        if isinstance(key, int):
            # Of pictures of one bit Pillow makes the key 0 or 255.
            rgb.putalpha(PIL.Image.fromarray(gray.numbers != (key & gray.white)).convert("L"))
        return rgb
    if white_is_zero:
        raise ValueError(f"white is zero in a picture of mode {image.mode}, which is not supported")
    if image.mode == "RGB" and isinstance(key, tuple):
        mask = PIL.Image.fromarray(~_is_color(image, key))
        rgb = image.copy()
        rgb.putalpha(mask.convert("L"))
        return rgb
    if image.mode == "La":
        return image.convert("LA").convert("RGBA")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _gif_frame(image: ImageFile) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of the first frame of a GIF, if it does not fill the screen."""
    if image.format != "GIF" or not image.tile:
        return None
    frame = image.tile[0].extents
    return None if frame == (0, 0, *image.size) else frame


def stored_labels(image: ImageFile) -> np.ndarray:
    """The numbers of a gray or palette picture exactly as its file holds them.

    A file that says that white is zero, or what its largest number is, says how the numbers are
    shown and not what they are. Where bits are stored, as in PBM and in TIFF, 1 is 1.

    Args:
        image: opened, of one of NUMBER_MODES.

    Returns:
        Whole numbers [H, W].

    Raises:
        ValueError: samples that are not supported.
    """
    _require_known(image)
    if _gif_frame(image) is not None:
        raise ValueError("its frame does not fill the screen, and what is beside it has no label")
    if image.mode == "P":
        return np.asarray(image)
    if image.format == "SGI" and _is_wide_sgi(image):
        raise ValueError("SGI with 16 bits is not supported for labels; convert it to PNG")
    if image.format == "PPM":
        _take_unscaled(image)
    numbers_HW = stored_gray(image).numbers
    # PBM says 1 for black.
    return 1 - numbers_HW if image.format == "PPM" and image.mode == "1" else numbers_HW


def stored_gray(image: ImageFile) -> Gray:
    """The numbers of a gray picture of any depth.

    Raises:
        ValueError: samples that are not supported.
    """
    if image.format in ("BMP", "DIB") and (gray := _gray_bmp(image)):
        return gray
    bits, signed = _bits(image), _is_signed(image)
    values_HW = np.asarray(image)
    if image.mode == "F":
        return Gray(values_HW, 1)
    if image.mode == "1":
        return Gray(values_HW.astype(np.uint8), 1)
    if image.mode == "L":
        # Pillow spreads fewer bits over the byte, from its top.
        values_HW = values_HW >> (8 - bits)
        return Gray(values_HW.view(np.int8) if signed else values_HW, 2**bits - 1)
    if image.mode == "I":
        if bits == 32 and not signed and image.format == "TIFF":
            return Gray(values_HW.view(np.uint32), 2**32 - 1)
        return Gray(values_HW, 2**16 - 1)
    if image.format == "JPEG2000":
        values_HW = values_HW >> (16 - bits)
    return Gray(values_HW, 2**bits - 1)


def _eight_bits(gray: Gray, white_is_zero: bool) -> np.ndarray:
    numbers_HW, white = gray.numbers, gray.white
    if numbers_HW.dtype == np.uint8 and white == 255 and not white_is_zero:
        return numbers_HW
    if numbers_HW.dtype.kind == "f":
        if not np.all((numbers_HW >= 0) & (numbers_HW <= 1)):
            raise ValueError("float values are not within [0, 1]")
        return np.rint((1 - numbers_HW if white_is_zero else numbers_HW) * 255).astype(np.uint8)
    if numbers_HW.size and not 0 <= numbers_HW.min() <= numbers_HW.max() <= white:
        raise ValueError(
            f"values {numbers_HW.min()}..{numbers_HW.max()} do not lie in 0..{white}, which is "
            "what is known as black and white"
        )
    # As narrow as 255 times white allows: pictures may be large.
    numbers_HW = numbers_HW.astype(np.uint32 if white < 2**16 else np.uint64)
    if white_is_zero:
        numbers_HW = white - numbers_HW
    return ((numbers_HW * 255 + white // 2) // white).astype(np.uint8)


def _is_color(image: ImageFile, key: tuple[int, int, int]) -> np.ndarray:
    """Where an RGB picture has a color, as stored: bool [H, W]."""
    if _rawmode(image) != "RGB;16B":
        return (np.asarray(image) == np.array(key) % 256).all(-1)
    if image.tell():
        raise ValueError("a transparent color of 16 bits is supported in the first frame only")
    # Pillow keeps the high byte of each sample. Read in the other order, it keeps the low one.
    with PIL.Image.open(_file(image)) as other:
        other.tile = [tile._replace(args="RGB;16L") for tile in other.tile]
        low = np.asarray(other)
    high = np.asarray(image)
    return ((high.astype(np.uint16) << 8 | low) == np.array(key)).all(-1)


def _require_known(image: ImageFile) -> None:
    """Refuses samples that would be read wrong without a word."""
    if image.format in REFUSED_FORMATS:
        raise ValueError(f"{image.format} files are not supported; convert it to PNG")
    if image.format == "JPEG2000" and image.mode not in _GRAY_MODES and _bits(image) < 8:
        raise ValueError("JPEG 2000 with less than 8 bits a sample is supported for gray only")
    if _is_tiff(image):
        _require_known_tiff(image)


def _is_tiff(image: ImageFile) -> "TypeGuard[TiffImageFile]":
    return image.format == "TIFF"


def _require_known_tiff(image: "TiffImageFile") -> None:
    tags, raw = image.tag_v2, image.info.get("compression") == "raw"
    if tags.get(_INKS, 1) != 1:
        raise ValueError("its inks are not cyan, magenta, yellow and black; convert it to RGB")
    if tags.get(_PHOTOMETRIC) == _YCBCR and raw:
        for tag, (default, plain) in _PLAIN_YCBCR.items():
            if not np.allclose(np.asarray(tags.get(tag, default), float), plain, atol=1e-3):
                raise ValueError("it holds Y, Cb and Cr subsampled or scaled; convert it to RGB")
    if tags.get(_PLANES) == _APART and len(image.getbands()) > 1:
        if image.mode not in ("RGB", "RGBA", "CMYK") or _ASSOCIATED in tags.get(_EXTRA, ()):
            raise ValueError(f"samples of mode {image.mode} in planes are not supported; use one")
        if raw and _bits(image) == 16:
            # Pillow would take the bytes of planes for samples.
            order = ";16L" if tags.prefix == b"II" else ";16B"
            _take_as(image, lambda rawmode: rawmode + order)
    if not raw and image.mode in ("I", "F"):
        # What was unpacked is in the machine's order; Pillow would swap it as the file is swapped.
        _take_as(image, lambda rawmode: rawmode.replace("B", "N"))


def _gray_bmp(image: ImageFile) -> Gray | None:
    """Palette numbers of a BMP whose colors are gray; None if Pillow reads them right.

    It takes such numbers for gray samples of 1 or 8 bits, however many bits they have.
    """
    tile, file = _only_tile(image), _file(image)
    file.seek(14 if image.format == "BMP" else 0)
    header = file.read(16)
    # The older header is shorter.
    place = 10 if header[0] == 12 else 14
    bits = int.from_bytes(header[place : place + 2], "little")
    if tile.codec_name != "raw" or bits == (1 if image.mode == "1" else 8):
        return None
    _, stride, direction = tile.args
    file.seek(tile.offset)
    data = file.read(stride * image.height)
    rawmode = "P" if bits == 8 else f"P;{bits}"
    numbers = PIL.Image.frombytes("P", image.size, data, "raw", rawmode, stride, direction)
    return Gray(np.asarray(numbers), 1 if image.mode == "1" else 255)


def _is_wide_sgi(image: ImageFile) -> bool:
    """Whether it has 16 bits, of which Pillow keeps the upper half."""
    tile = _only_tile(image)
    return tile.codec_name == "SGI16" or (tile.codec_name == "sgi_rle" and tile.args[-1] == 2)


def _take_as(image: ImageFile, change: Callable[[str], str]) -> None:
    """Has the decoder take samples from the file in another way."""
    tiles: list[Any] = image.tile
    image.tile = [tile._replace(args=(change(tile.args[0]), *tile.args[1:])) for tile in tiles]


def _take_unscaled(image: ImageFile) -> None:
    """Numbers of a PGM are taken as they are, whatever it says is the largest."""
    tile = _only_tile(image)
    if tile.codec_name in ("ppm", "ppm_plain") and isinstance(tile.args, tuple):
        rawmode, most = tile.args
        image.tile = [tile._replace(args=(rawmode, 255 if most < 256 else 65535))]


def _bits(image: ImageFile) -> int:
    """Bits a sample as stored, the fewest of a picture's."""
    if _is_tiff(image):
        return min(image.tag_v2.get(_BITS, (1,)))
    if image.format == "JPEG2000":
        return _jpeg2000_bits(image)
    rawmode = _rawmode(image)
    if rawmode in ("L;2", "L;4"):
        return int(rawmode[2:])
    return {"1": 1, "I": 32}.get(image.mode, 16 if image.mode in _LONG_MODES else 8)


def _jpeg2000_bits(image: ImageFile) -> int:
    file = _file(image)
    position = file.tell()
    file.seek(0)
    start = file.read(1 << 16)
    file.seek(position)
    header = start[start.find(_START_OF_CODE) :]
    precisions = header[42 : 42 + 3 * int.from_bytes(header[40:42], "big") : 3]
    if not precisions or max(precisions) >= 128:
        raise ValueError("JPEG 2000 with signed samples is not supported")
    return min(precisions) + 1


def _is_signed(image: ImageFile) -> bool:
    return _is_tiff(image) and image.tag_v2.get(_FORMAT, (1,))[0] == _SIGNED


def _rawmode(image: ImageFile) -> str:
    """How the decoder is told that samples lie in the file."""
    tiles = getattr(image, "tile", None)
    args = tiles[0].args if tiles else ""
    rawmode = args[0] if isinstance(args, tuple) and args else args
    return rawmode if isinstance(rawmode, str) else ""


def _only_tile(image: ImageFile) -> Any:
    """The one part in which the picture is stored, as Pillow's decoders are told."""
    (tile,) = image.tile
    return tile


def _file(image: ImageFile) -> IO[bytes]:
    assert image.fp is not None, "it is open"
    return image.fp

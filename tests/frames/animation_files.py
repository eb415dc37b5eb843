"""Animations written byte by byte, and what their standards say they show."""

import dataclasses
import io
import struct
import zlib

import numpy as np
import PIL.Image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """What a frame draws.

    Attributes:
        pixels: numbers, uint8 [H, W], or samples [H, W, 2..4].
        left, top: of its rectangle.
        disposal: as its format counts.
        blending: of PNG and WebP, as the format counts; None where there is none.
        transparent: of GIF: this number, if any.
    """

    pixels: np.ndarray
    left: int = 0
    top: int = 0
    disposal: int = 0
    blending: int | None = None
    transparent: int | None = None

    @property
    def place(self) -> tuple[slice, slice]:
        height, width = self.pixels.shape[:2]
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def gif(
    size: tuple[int, int], colors: np.ndarray, frames: list[Frame], *, end: bytes = b";"
) -> bytes:
    """A GIF of (width, height) with 256 colors, uint8 [256, 3], and frames of their numbers."""
    parts = [b"GIF89a" + struct.pack("<HH", *size) + b"\xf7\x05\0" + colors.tobytes()]
    for frame in frames:
        height, width = frame.pixels.shape
        flags = frame.disposal << 2 | (frame.transparent is not None)
        if flags:
            parts.append(b"!\xf9\x04" + bytes([flags, 4, 0, frame.transparent or 0, 0]))
        parts.append(b"," + struct.pack("<4HB", frame.left, frame.top, width, height, 0))
        parts.append(_lzw(frame.pixels.tobytes()))
    return b"".join(parts) + end


def _lzw(numbers: bytes) -> bytes:
    """Codes of nine bits; the table is cleared before they need more."""
    codes = []
    for start in range(0, len(numbers), 200):
        codes += [256, *numbers[start : start + 200]]
    bits = "".join(f"{code:09b}"[::-1] for code in [*codes, 257])
    data = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
    blocks = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"\x08" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def chunk(name: bytes, data: bytes = b"") -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    size: tuple[int, int],
    bits: int,
    color: int,
    frames: list[Frame],
    *,
    default: np.ndarray | None = None,
    front: bytes = b"",
) -> bytes:
    """An animated PNG.

    Args:
        size: width and height.
        bits: a sample, 8 or 16.
        color: the type of samples: 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGB and alpha.
        frames: of such samples; without a default picture the first fills the size.
        default: a picture in front that is not part of the animation.
        front: chunks such as PLTE and tRNS.
    """
    parts = [
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, color, *b"\0\0\0")),
    ]
    parts += [front, chunk(b"acTL", struct.pack(">II", len(frames), 0))]
    sequence = 0
    if default is not None:
        parts.append(chunk(b"IDAT", _filtered(default, bits)))
    for number, frame in enumerate(frames):
        height, width = frame.pixels.shape[:2]
        values = sequence, width, height, frame.left, frame.top, 1, 25
        parts.append(
            chunk(b"fcTL", struct.pack(">5I2H2B", *values, frame.disposal, frame.blending or 0))
        )
        sequence += 1
        data = _filtered(frame.pixels, bits)
        if number == 0 and default is None:
            parts.append(chunk(b"IDAT", data))
            continue
        for piece in (data[:7], data[7:]):  # data may be cut anywhere
            parts.append(chunk(b"fdAT", struct.pack(">I", sequence) + piece))
            sequence += 1
    return b"".join([*parts, chunk(b"IEND")])


def _filtered(pixels: np.ndarray, bits: int) -> bytes:
    rows = pixels.astype(f">u{bits // 8}").reshape(len(pixels), -1)
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))


def webp(size: tuple[int, int], frames: list[Frame], *, has_alpha: bool) -> bytes:
    """An animated WebP of uint8 [H, W, 4], lossless; left and top are even."""

    def riff(name: bytes, data: bytes) -> bytes:
        return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    def short(*values: int) -> bytes:
        return b"".join(struct.pack("<I", value)[:3] for value in values)

    flags = bytes([2 | (0x10 if has_alpha else 0), 0, 0, 0])
    body = riff(b"VP8X", flags + short(size[0] - 1, size[1] - 1)) + riff(
        b"ANIM", b"\xff\0\0\xff\0\0"
    )
    for frame in frames:
        height, width = frame.pixels.shape[:2]
        buffer = io.BytesIO()
        PIL.Image.fromarray(frame.pixels).save(buffer, "WEBP", lossless=True, exact=True)
        place = short(frame.left // 2, frame.top // 2, width - 1, height - 1, 40)
        how = bytes([(frame.blending or 0) << 1 | frame.disposal])
        body += riff(b"ANMF", place + how + buffer.getvalue()[12:])
    return riff(b"RIFF", b"WEBP" + body)


def composed(
    size: tuple[int, int], drawn: list[tuple[Frame, np.ndarray]], *, clear: int, restore: int
) -> list[np.ndarray]:
    """What frames show, float [H, W, 4] in 0..255, by the rules that GIF, PNG and WebP share.

    Args:
        size: width and height.
        drawn: frames with their pixels as uint8 [H, W, 4]; those of blending 1 are laid over.
        clear: the disposal after which the rectangle is transparent.
        restore: the disposal after which it is what it was before.
    """
    canvas = np.zeros((size[1], size[0], 4))
    shown = []
    for frame, pixels in drawn:
        before = canvas.copy()
        seen = canvas[frame.place]
        pixels = pixels[: seen.shape[0], : seen.shape[1]].astype(float)
        if frame.blending == 1:
            above, below = pixels[..., 3:] / 255, seen[..., 3:] / 255 * (1 - pixels[..., 3:] / 255)
            whole = np.where(above + below > 0, above + below, 1)
            colors = (pixels[..., :3] * above + seen[..., :3] * below) / whole
            pixels = np.concatenate([colors, (above + below) * 255], -1)
        canvas[frame.place] = pixels
        shown.append(canvas.copy())
        if frame.disposal == clear:
            canvas[frame.place] = 0
        elif frame.disposal == restore:
            canvas = before
    return shown


def laid_over(shown: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """[H, W, 4] -> [H, W, 3], both float in 0..255."""
    alpha = shown[..., 3:] / 255
    return shown[..., :3] * alpha + np.array(background) * (1 - alpha)

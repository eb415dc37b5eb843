"""Animations show what their standards say, frame after frame."""

import dataclasses
import io
import logging
import struct

import numpy as np
import PIL.Image
import pytest

from lvm_jax import images
from lvm_jax.frames import frame_readers
from lvm_jax.pictures import palette
from tests.frames.animation_files import Frame, chunk, composed, gif, laid_over, png, webp
from tests.frames.reading import BACKGROUND, read_all

SIZE = 14, 10
COLORS = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)


def read_data(path, data):
    path.write_bytes(data)
    return read_all(path)


def require_shown(frames, expected, tolerance=0):
    assert len(frames) == len(expected)
    for picture, drawn in zip(frames, expected):
        wanted = np.rint(laid_over(drawn, BACKGROUND))
        np.testing.assert_allclose(picture, wanted, atol=tolerance, rtol=0)


def rectangle(rng):
    """left, top, width and height within SIZE."""
    width, height = (int(rng.integers(1, side + 1)) for side in SIZE)
    left, top = (int(rng.integers(0, side - own + 1)) for side, own in zip(SIZE, (width, height)))
    return left, top, width, height


def gif_expected(size, sequence):
    drawn = []
    for frame in sequence:
        alpha = np.where(frame.pixels == frame.transparent, 0, 255)[..., None]
        pixels = np.concatenate([COLORS[frame.pixels], alpha], -1)
        drawn.append((dataclasses.replace(frame, blending=1), pixels))
    return composed(size, drawn, clear=2, restore=3)


@pytest.mark.parametrize("seed", range(12))
def test_gif_frames_are_kept_cleared_and_restored(tmp_path, seed):
    rng = np.random.default_rng(seed)
    sequence = []
    for _ in range(8):
        left, top, width, height = rectangle(rng)
        numbers = rng.integers(0, 4, (height, width), dtype=np.uint8)
        transparent = int(rng.integers(0, 4)) if rng.random() < 0.6 else None
        disposal = int(rng.choice([0, 1, 2, 2, 3, 3, 5]))
        sequence.append(
            Frame(pixels=numbers, left=left, top=top, disposal=disposal, transparent=transparent)
        )
    frames = read_data(tmp_path / "a.gif", gif(SIZE, COLORS, sequence))
    require_shown(frames, gif_expected(SIZE, sequence))


def test_a_gif_frame_without_disposal_after_one_that_cleared_is_kept(tmp_path):
    full, dot = np.full((10, 14), 1, np.uint8), np.full((4, 4), 2, np.uint8)
    sequence = [
        Frame(pixels=full, disposal=2),
        Frame(pixels=dot, disposal=0),
        Frame(pixels=dot, left=8, disposal=0),
    ]
    frames = read_data(tmp_path / "a.gif", gif(SIZE, COLORS, sequence))
    assert (frames[1][9, 13] == BACKGROUND).all(), "the first frame was cleared"
    assert (frames[2][0, 0] == COLORS[2]).all(), "the second one stays"
    assert (frames[2][0, 8] == COLORS[2]).all()


def test_a_gif_is_as_large_as_its_screen_or_its_first_frame(tmp_path):
    large = [
        Frame(pixels=np.full((12, 16), 1, np.uint8)),
        Frame(pixels=np.full((30, 30), 2, np.uint8), left=3, top=2),
    ]
    frames = read_data(tmp_path / "a.gif", gif(SIZE, COLORS, large))
    require_shown(frames, gif_expected((16, 12), large))


@pytest.mark.parametrize("transparent", [None, 2])
def test_a_still_of_an_animation_shows_its_first_frame(tmp_path, transparent):
    pixels = np.arange(70, dtype=np.uint8).reshape(7, 10) % 4
    first = Frame(pixels=pixels, left=4, top=2, transparent=transparent)
    (tmp_path / "a.gif").write_bytes(gif(SIZE, COLORS, [first, first]))
    (tmp_path / "one.gif").write_bytes(gif(SIZE, COLORS, [first]))
    colors = np.concatenate([COLORS[pixels], np.full((7, 10, 1), 255)], -1).astype(np.uint8)
    lossless = dataclasses.replace(first, pixels=colors)
    for has_alpha in (False, True):
        data = webp(SIZE, [lossless, lossless], has_alpha=has_alpha)
        (tmp_path / f"{has_alpha}.webp").write_bytes(data)
    for path in tmp_path.iterdir():
        still = images.read_image(path, background=BACKGROUND)
        np.testing.assert_array_equal(still, read_all(path)[0])
        assert (still[0, 0] == BACKGROUND).all() and (still[2, 5] == COLORS[1]).all(), path
    with pytest.raises(images.ImageError, match=r"one\.gif: its frame does not fill the screen"):
        palette.read_labels(tmp_path / "one.gif", 4)


def test_a_gif_frame_without_pixels_draws_nothing(tmp_path):
    sequence = [
        Frame(pixels=np.full((10, 14), 1, np.uint8)),
        Frame(pixels=np.zeros((0, 0), np.uint8)),
    ]
    for order in (sequence, sequence[::-1]):
        frames = read_data(tmp_path / f"{order[0].pixels.size}.gif", gif(SIZE, COLORS, order))
        require_shown(frames, gif_expected(SIZE, order))


def test_a_gif_without_its_end_is_whole(tmp_path):
    sequence = [Frame(pixels=np.full((10, 14), number, np.uint8)) for number in range(3)]
    frames = read_data(tmp_path / "a.gif", gif(SIZE, COLORS, sequence, end=b""))
    require_shown(frames, gif_expected(SIZE, sequence))


KINDS = {
    "gray": (8, 0, 1),
    "gray, one transparent": (8, 0, 1),
    "gray of 16 bits, one transparent": (16, 0, 1),
    "colors": (8, 2, 3),
    "colors, one transparent": (8, 2, 3),
    "colors of 16 bits, one transparent": (16, 2, 3),
    "palette": (8, 3, 1),
    "palette, some transparent": (8, 3, 1),
    "gray and alpha": (8, 4, 2),
    "colors and alpha": (8, 6, 4),
}


def png_pixels(kind, samples):
    """Samples [H, W, C] of one of KINDS as uint8 [H, W, 4], and the chunks that say so."""
    bits, color, _ = KINDS[kind]
    alpha = np.full(samples.shape[:2], 255)
    front = b""
    if "one transparent" in kind:
        key = samples.reshape(-1, samples.shape[2])[0] * 0 + (2 if bits == 8 else 514)
        front = chunk(b"tRNS", key.astype(">u2").tobytes())
        alpha = np.where((samples == key).all(-1), 0, 255)
    # Pillow keeps the high byte of colors; gray is rounded.
    shown = samples if bits == 8 else samples >> 8 if color == 2 else (samples + 128) // 257
    if color == 3:
        front = chunk(b"PLTE", COLORS.tobytes())
        shown = COLORS[samples[..., 0]]
        if "transparent" in kind:
            entries = np.array([255, 0, 128, 30], np.uint8)
            front += chunk(b"tRNS", entries.tobytes())
            alpha = np.append(entries, np.full(252, 255))[samples[..., 0]]
    if color in (4, 6):
        shown, alpha = samples[..., :-1], samples[..., -1]
    shown = np.broadcast_to(shown, (*shown.shape[:2], 3)) if shown.shape[2] == 1 else shown
    return np.concatenate([shown, alpha[..., None]], -1), front


@pytest.mark.parametrize("has_default", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_png_frames_replace_and_blend(tmp_path, kind, has_default):
    bits, color, channels = KINDS[kind]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        sequence, drawn = [], []
        for number in range(7):
            whole = number == 0 and not has_default
            left, top, width, height = (0, 0, *SIZE) if whole else rectangle(rng)
            samples = rng.integers(0, 4, (height, width, channels)) * (1 if bits == 8 else 257)
            if color in (4, 6):
                samples = rng.choice([0, 60, 130, 255], (height, width, channels))
            frame = Frame(
                pixels=samples,
                left=left,
                top=top,
                disposal=int(rng.integers(0, 3)),
                blending=int(rng.integers(0, 2)),
            )
            sequence.append(frame)
            pixels, front = png_pixels(kind, samples)
            drawn.append((frame, pixels))
        hidden = np.ones((SIZE[1], SIZE[0], channels), np.int64) if has_default else None
        data = png(SIZE, bits, color, sequence, default=hidden, front=front)
        frames = read_data(tmp_path / f"{seed}.png", data)
        # Half transparent pixels are rounded to 8 bits in every frame that is laid over.
        soft = kind in ("palette, some transparent", "gray and alpha", "colors and alpha")
        # What there is before the first frame is clear, so restoring it is clearing.
        require_shown(frames, composed(SIZE, drawn, clear=1, restore=2), 3 if soft else 0)


@pytest.mark.parametrize("has_alpha", [False, True])
def test_webp_frames_replace_and_blend(tmp_path, has_alpha):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        sequence = []
        for number in range(6):
            left, top, width, height = rectangle(rng)
            pixels = rng.choice([0, 90, 255], (height, width, 4)).astype(np.uint8)
            if seed % 2:
                pixels[..., 3] = rng.choice([0, 255], (height, width))
            frame = Frame(
                pixels=pixels,
                left=left // 2 * 2,
                top=top // 2 * 2,
                disposal=int(rng.integers(0, 2)),
                blending=int(number % 2),
            )
            sequence.append(frame)
        frames = read_data(tmp_path / f"{seed}.webp", webp(SIZE, sequence, has_alpha=has_alpha))
        # WebP counts the other way: 1 replaces.
        drawn = [(dataclasses.replace(f, blending=1 - f.blending), f.pixels) for f in sequence]
        require_shown(frames, composed(SIZE, drawn, clear=1, restore=-1), 3)


def three_colors(path):
    """Three whole frames in the format of a file's extension."""
    pictures = [PIL.Image.new("RGB", SIZE, (100 * number, 0, 0)) for number in range(3)]
    options = {"lossless": True} if path.suffix == ".webp" else {}
    buffer = io.BytesIO()
    kind = PIL.Image.registered_extensions()[path.suffix]
    pictures[0].save(buffer, kind, save_all=True, append_images=pictures[1:], **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("extension", [".gif", ".webp", ".png"])
def test_what_pillow_writes_is_read_as_it_reads_it(tmp_path, extension, mode):
    """Palettes of a frame's own, interlacing, frames that are cut to what changes."""
    rng = np.random.default_rng(0)
    pictures = []
    for number in range(6):
        pixels = np.full((24, 32, 4), 255, np.uint8)
        pixels[..., :3] = rng.integers(0, 256, 3)
        pixels[4:12, 3 * number : 3 * number + 8, :3] = rng.integers(0, 256, (8, 8, 3))
        pixels[:, 5 * number :, 3] = 0
        pictures.append(PIL.Image.fromarray(pixels).convert(mode))
    path = tmp_path / f"a{extension}"
    options = {"lossless": True} if extension == ".webp" else {}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40, **options)
    with PIL.Image.open(path) as image:
        for number, shown in enumerate(read_all(path)):
            image.seek(number)
            below = PIL.Image.new("RGBA", image.size, (*BACKGROUND, 255))
            expected = PIL.Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")
            np.testing.assert_array_equal(shown, expected)
        assert image.n_frames == number + 1 > 1


@pytest.mark.parametrize("extension", [".gif", ".webp", ".png", ".apng", ".avif"])
def test_what_moves_is_told_by_content(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    data = three_colors(path)
    frames = read_data(path, data)
    assert [round(float(picture[..., 0].mean()), -1) for picture in frames] == [0, 100, 200]
    assert frame_readers.holds_frames(path)
    (tmp_path / "unnamed").write_bytes(data)
    assert frame_readers.holds_frames(tmp_path / "unnamed")
    still = tmp_path / f"still{extension}"
    PIL.Image.new("RGB", SIZE).save(still, PIL.Image.registered_extensions()[extension])
    assert not frame_readers.holds_frames(still) and frame_readers.count_frames(still) == 1
    still.rename(tmp_path / "unnamed")
    assert not frame_readers.holds_frames(tmp_path / "unnamed")


@pytest.mark.parametrize("extension", [".gif", ".webp", ".png", ".avif"])
def test_a_cut_animation_holds_the_frames_in_front_of_the_cut(tmp_path, extension, caplog):
    whole_path = tmp_path / f"whole{extension}"
    data = three_colors(whole_path)
    whole = read_data(whole_path, data)
    counts = []
    for length in range(8, len(data), 5):
        path = tmp_path / f"{length}{extension}"
        caplog.clear()
        try:
            frames = read_data(path, data[:length])
        except images.ImageError as error:
            assert str(path) in str(error)
            counts.append(0)
            continue
        for picture, expected in zip(frames, whole):
            np.testing.assert_array_equal(picture, expected)
        counts.append(len(frames))
        if len(frames) < 3 and extension in (".png", ".avif"):  # which say how many there are
            assert f"{path} ends after {len(frames)} frames" in caplog.text
    assert counts[0] == 0
    if extension in (".gif", ".png"):
        assert counts == sorted(counts) and set(counts) >= {0, 1, 2}


def test_a_png_frame_with_a_flipped_bit_is_not_shown(tmp_path, caplog):
    data = bytearray(three_colors(tmp_path / "a.png"))
    data[data.rindex(b"fdAT") + 12] ^= 4
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert len(read_data(tmp_path / "a.png", bytes(data))) == 2
    assert "a.png ends after 2 frames: its fdAT chunk is damaged" in caplog.text


def test_orientation_turns_every_frame(tmp_path):
    rng = np.random.default_rng(0)
    sequence = [Frame(pixels=rng.integers(0, 256, (10, 14, 3))) for _ in range(3)]
    exif = b"MM\0*" + struct.pack(">LHHHLHHL", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    data = png(SIZE, 8, 2, sequence, front=chunk(b"eXIf", exif))
    for picture, frame in zip(read_data(tmp_path / "a.png", data), sequence, strict=True):
        np.testing.assert_array_equal(picture, np.rot90(frame.pixels, -1))


def test_a_frame_larger_than_the_limit_is_refused(tmp_path):
    path = tmp_path / "a.gif"
    sequence = [
        Frame(pixels=np.zeros((10, 14), np.uint8)),
        Frame(pixels=np.zeros((20, 14), np.uint8)),
    ]
    path.write_bytes(gif(SIZE, COLORS, sequence))
    assert frame_readers.read_frame(path, 0, max_pixels=140).shape == (10, 14, 3)
    with pytest.raises(images.ImageError, match=r"a\.gif has 14x20 pixels, more than 140"):
        frame_readers.read_frame(path, 1, max_pixels=140)

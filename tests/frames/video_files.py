"""Small videos, and what makes them unusual without encoding them again."""

import pathlib
import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest

FILES = pathlib.Path(__file__).parent / "files"


def pictures(number: int, height: int = 64, width: int = 64) -> list[np.ndarray]:
    """Pictures uint8 [H, W, 3] that differ: gray that grows, and a square that moves."""
    made = []
    for index in range(number):
        picture = np.full((height, width, 3), 4 * index % 256, np.uint8)
        left = index * 5 % (width - 16)
        picture[8:24, left : left + 16] = 255 - 4 * index % 256
        made.append(picture)
    return made


def write_video(
    path: pathlib.Path,
    shown: list[np.ndarray],
    codec: str = "libx264",
    *,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
    prepare: Callable = lambda stream: None,
    times: list[int] | None = None,
) -> None:
    """Encodes pictures uint8 [H, W, 3 or 4].

    Args:
        path: where to.
        shown: the pictures.
        codec, pixels, options: FFmpeg's names.
        muxing: FFmpeg's options of the container.
        prepare: gets the stream before anything is encoded.
        times: when each picture is shown, in milliseconds.
    """
    av = pytest.importorskip("av")
    with av.open(str(path), "w", options=muxing) as output:
        stream = output.add_stream(codec, rate=25 if times is None else 1000, options=options or {})
        height, width, channels = shown[0].shape
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        prepare(stream)
        for number, picture in enumerate(shown):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24" if channels == 3 else "rgba")
            if times is not None:
                frame.pts = times[number]
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def without_packets(path: pathlib.Path, left_out: range) -> pathlib.Path:
    """A copy of a video without these packets, which is called "cut"."""
    av = pytest.importorskip("av")
    copy = path.with_name(f"cut{path.suffix}")
    with av.open(str(path)) as container, av.open(str(copy), "w") as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        packets = (packet for packet in container.demux(video=0) if packet.size)
        for number, packet in enumerate(packets):
            if number not in left_out:
                packet.stream = stream
                output.mux(packet)
    return copy


def with_edits(data: bytes, edits: list[tuple[int, int]]) -> bytes:
    """An MP4 that has its index at its end, with an edit list.

    Args:
        data: the file, which has an edit list.
        edits: milliseconds, and from which time of the stream on; -1 for nothing.
    """
    result = []
    for name, content in _boxes(data):
        if name in (b"moov", b"trak", b"edts"):
            content = with_edits(content, edits)
        elif name == b"elst":
            entries = [struct.pack(">LlHH", *edit, 1, 0) for edit in edits]
            content = struct.pack(">LL", 0, len(edits)) + b"".join(entries)
        result.append(struct.pack(">L", len(content) + 8) + name + content)
    return b"".join(result)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = 0
    while start < len(data):
        (length,) = struct.unpack_from(">L", data, start)
        yield data[start + 4 : start + 8], data[start + 8 : start + length]
        start += length

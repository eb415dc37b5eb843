"""Which files are pictures and which are videos: by extension, or else by what is in them.

A known extension decides, and the file is not opened. One without extension, or with an unknown
one, is what its first bytes say.
"""

import functools
import os
import stat

import PIL.Image
import PIL.ImageFile

from lvm_jax.image_formats import image_files, samples

VIDEO_EXTENSIONS = frozenset(
    [".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".ivf", ".m2ts", ".m2v"]
    + [".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".qt"]
    + [".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m"]
)
# Pillow knows these formats, but has no pixels of them by itself, or wrong ones.
_NO_PICTURES = (*samples.REFUSED_FORMATS, "MPEG")
# Other programs give these to other files too: what is in them must agree.
_SHARED_EXTENSIONS = frozenset(
    [".bw", ".fit", ".fits", ".iim", ".im", ".ras", ".rgb", ".rgba", ".vst"]
)
# There may be one beside every picture or clip, of which they are a text, the sound, a mask, a raw,
# an earlier or a lesser copy, or they are not finished: none is opened to look at.
_OTHER_EXTENSIONS = frozenset(
    [".aae", ".cfg", ".csv", ".db", ".eps", ".flac", ".gz", ".h5", ".hdf", ".hdf5", ".html"]
    + [".ini", ".json", ".jsonl", ".log", ".mat", ".md", ".md5", ".mp3", ".npy", ".npz", ".pdf"]
    + [".pickle", ".pkl", ".ps", ".pt", ".pth", ".py", ".safetensors", ".sha256", ".srt", ".svg"]
    + [".tar", ".toml", ".tsv", ".txt", ".vtt", ".wav", ".wmf", ".xml", ".xmp", ".yaml", ".yml"]
    + [".zip", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2"]
    + [".srw", ".3fr", ".dcr", ".erf", ".fff", ".gpr", ".iiq", ".kdc", ".mef", ".mos", ".rwl"]
    + [".sr2", ".srf", ".bak", ".crdownload", ".lrv", ".orig", ".part", ".partial", ".thm", ".tmp"]
    + [".msk", ".ovr", ".m4a", ".m4b", ".mka", ".weba", ".wma"]
)
# What editors add to the extension of the copy that they keep of what a file was before.
_BEFORE = ("~", "_original")
_LOOK_BYTES = 512
_MOST_LOOKS = 2**18


def extension(path: str | os.PathLike) -> str:
    """In small letters and with its dot; "" if there is none."""
    return os.path.splitext(os.fspath(path))[1].lower()


def without_extension(name: str) -> str:
    """A relative name without an extension of pictures or videos; others belong to the name."""
    known = extension(name)
    is_known = known in image_extensions() or known in VIDEO_EXTENSIONS
    return name[: -len(known)] if is_known else name


@functools.cache
def image_extensions() -> frozenset[str]:
    """Extensions of the formats that this Pillow reads, with the plugins that are loaded."""
    formats = _image_formats()
    known = PIL.Image.registered_extensions().items()
    return frozenset(name for name, image_format in known if image_format in formats)


@functools.cache
def _image_formats() -> frozenset[str]:
    PIL.Image.init()
    stubs = {
        name
        for name, (opener, _) in PIL.Image.OPEN.items()
        if isinstance(opener, type) and issubclass(opener, PIL.ImageFile.StubImageFile)
    }
    # What opens JPEG opens MPO, several of them in one file.
    return frozenset((PIL.Image.OPEN.keys() | {"MPO"}) - stubs - set(_NO_PICTURES))


@functools.cache
def _unmarked_formats() -> frozenset[str]:
    """Those that no first bytes mark, so that other files may look as if they were of them."""
    return frozenset(name for name, (_, marks) in PIL.Image.OPEN.items() if marks is None)


def is_image(path: str | os.PathLike) -> bool:
    """Whether Pillow is to read the file."""
    known = extension(path)
    if known in image_extensions() and known not in _SHARED_EXTENSIONS:
        return True
    return _is_unknown(known) and _looks_like(path) == "image"


def is_video(path: str | os.PathLike) -> bool:
    """Whether PyAV is to read the file."""
    known = extension(path)
    if known in VIDEO_EXTENSIONS:
        return True
    return _is_unknown(known) and _looks_like(path) == "video"


def _is_unknown(known: str) -> bool:
    if known in _SHARED_EXTENSIONS:
        return True
    return known not in _known_extensions() and not known.endswith(_BEFORE)


@functools.cache
def _known_extensions() -> frozenset[str]:
    return image_extensions() | VIDEO_EXTENSIONS | _OTHER_EXTENSIONS


def _looks_like(path: str | os.PathLike) -> str:
    """ "image", "video" or "", by what is in a file."""
    try:
        state = os.stat(path)
    except OSError:
        return ""  # a link that leads nowhere
    if not stat.S_ISREG(state.st_mode):
        return ""  # whoever opens a pipe waits for ever
    return _look(os.fspath(path), state.st_size, state.st_mtime_ns)


@functools.lru_cache(_MOST_LOOKS)
def _look(path: str, size: int, changed: int) -> str:
    del size, changed
    try:
        with open(path, "rb") as file:
            head = file.read(_LOOK_BYTES)
    except OSError:
        return ""
    if _begins_video(head):
        return "video"
    try:
        with image_files.opened(path) as picture:
            image_format = picture.image.format
            if image_format not in _image_formats():
                return ""
            if image_format in _unmarked_formats():
                picture.image.load()
            return "image"
    except image_files.ImageError as error:
        # Whoever reads one that is too large says so.
        is_large = isinstance(error.__cause__, PIL.Image.DecompressionBombError)
        return "image" if is_large else ""


def _begins_video(head: bytes) -> bool:
    """Whether these are the first bytes of a container or stream of video."""
    box, brand = head[4:8], head[8:12]
    if box == b"ftyp":
        return brand[:3] not in (b"avi", b"hei", b"hev", b"mif", b"msf", b"M4A", b"M4B")
    if head[:1] == b"\0" and box in (b"moov", b"mdat", b"wide"):
        return True
    if head[:4] == b"RIFF":
        return brand == b"AVI "
    if head[:4] == b"OggS":
        return b"\x80theora" in head
    packets = [head[start::step] for start, step in ((0, 188), (4, 192))]
    if any(packet[:2] == b"GG" for packet in packets) and b"\0" in head:
        return True
    return head.startswith(_VIDEO_BEGINNINGS)


_VIDEO_BEGINNINGS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
    b"\0\0\x01\xba",  # MPEG programs and video
    b"\0\0\x01\xb3",
    b"YUV4MPEG2 ",
    b"DKIF\0\0",
    b"nut/multimedia container\0",
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01",  # MXF
    b".RMF\0\0",
)

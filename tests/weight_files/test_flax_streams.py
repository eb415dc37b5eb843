"""Streams of EasyLM: flax and msgpack on the other side, and files that are damaged."""

import flax.serialization
import ml_dtypes
import msgpack
import numpy as np
import pytest

from lvm_jax.weight_files import flax_stream_writer, flax_streams, reader, stretches

LEAVES = {
    ("params", "a"): np.arange(60, dtype=np.float32).reshape(3, 4, 5),
    ("params", "b", "kernel"): np.linspace(-1, 1, 700).astype(ml_dtypes.bfloat16).reshape(7, 100),
    ("params", "c"): np.arange(40000, dtype=np.float16).reshape(400, 100),
    ("params", "empty"): np.zeros((0, 3), np.float32),
    ("params", "four"): np.float16([1.5]),
    ("step",): np.array(7, np.int32),
}


def write(path, leaves):
    """As EasyLM does: flax's own bytes, msgpack's own packer."""
    with path.open("wb") as file:
        for way, leaf in leaves.items():
            file.write(msgpack.Packer().pack((way, flax.serialization.to_bytes(leaf))))
    return path


@pytest.fixture
def chunks(monkeypatch):
    """Arrays beyond 300 bytes are kept in pieces, by flax too."""
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 300)
    return 300


def test_what_flax_wrote_is_read_whole_and_by_rows(tmp_path, chunks, monkeypatch):
    monkeypatch.setattr(stretches, "PART_BYTES", 100)
    others = {("opt_state", "count"): np.float32(3), ("name",): "text", ("none",): None}
    path = write(tmp_path / "streaming_params", LEAVES | others)
    stored, config = reader.read(path)
    assert config is None
    assert stored.keys() == {"/".join(way) for way in LEAVES} | {"opt_state/count"}
    for way, leaf in LEAVES.items():
        given = stored["/".join(way)]
        assert (given.shape, given.dtype) == (leaf.shape, leaf.dtype.name)
        rows = list(given.rows())
        joined = np.concatenate(rows) if leaf.ndim and rows else np.array(rows).reshape(leaf.shape)
        for array in (given.load(), joined.astype(leaf.dtype)):
            assert array.tobytes() == leaf.tobytes(), way
    assert stored["opt_state/count"].load() == 3


@pytest.mark.parametrize("chunk_bytes", [300, 2**30])
def test_what_is_written_is_flaxs_byte_by_byte(tmp_path, monkeypatch, chunk_bytes):
    """Arrays come in any order, a few rows at a time."""
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", chunk_bytes)
    about = {way: (leaf.shape, leaf.dtype) for way, leaf in LEAVES.items()}
    path = tmp_path / "ours"
    with flax_stream_writer.plan(path, about, chunk_bytes) as file:
        for way, leaf in reversed(LEAVES.items()):
            file.write("/".join(way), [leaf[:2], leaf[2:]] if leaf.ndim else [leaf])
    assert path.read_bytes() == write(tmp_path / "theirs", LEAVES).read_bytes()


def test_an_array_that_the_format_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a/b .* takes .* bytes, .* at most 4294967295"):
        huge = ((2**16, 2**15), np.dtype(np.float32))
        flax_stream_writer.plan(tmp_path / "huge", {("a", "b"): huge})


def test_every_cut_is_damage_or_less(tmp_path, chunks):
    """A file that ends early never gives an array that is not whole."""
    some = {way: leaf for way, leaf in LEAVES.items() if leaf.size < 1000}
    content = write(tmp_path / "whole", some).read_bytes()
    path = tmp_path / "cut"
    for length in range(1, len(content), 7):
        path.write_bytes(content[:length])
        try:
            stored, _ = reader.read(path)
        except ValueError as error:
            assert "cut" in str(error)  # the file's name
            continue
        for name, array in stored.items():
            assert array.load().tobytes() == some[tuple(name.split("/"))].tobytes()


def test_every_flipped_byte_is_said_or_changes_numbers_alone(tmp_path, chunks):
    """Whatever the headers say then, nothing but ValueError comes of it."""
    some = {way: leaf for way, leaf in LEAVES.items() if leaf.size < 100}
    content = write(tmp_path / "whole", some).read_bytes()
    path = tmp_path / "flipped"
    for place in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        try:
            for array in reader.read(path)[0].values():
                assert array.load().nbytes < 2 * len(content)
        except ValueError:
            pass


@pytest.mark.parametrize(
    "head", [b"\x92\x91\xa1a", b"\x92\x92\xa6params", b"\x92\x91\xd9\x20transformer"]
)
def test_a_stream_is_told_by_its_first_bytes(head):
    assert flax_streams.begins_stream(head)
    assert not flax_streams.begins_stream(b"\x82\xa1a")

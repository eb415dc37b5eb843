"""One record, one file of records."""

import threading

import numpy as np
import pytest

from lvm_jax.data.shards import records
from tests.data.data_sets import TOKENS, make_records


def test_round_trip():
    for record in make_records([1, 2, 16]):
        data = records.encode(record)
        back = records.decode(data, TOKENS)
        assert (back.kind, back.source, back.key) == (record.kind, record.source, record.key)
        np.testing.assert_array_equal(back.ids, record.ids)
        # The loader takes the last bytes without looking at the header.
        tail = np.frombuffer(data[-record.ids.nbytes :], "<u2")
        np.testing.assert_array_equal(tail, record.ids.ravel())


def test_bytes_of_another_form_are_refused():
    data = records.encode(make_records([2])[0])
    for bad in (data[:5], data[:-2], data + b"12"):
        with pytest.raises(ValueError, match=r"record of \d+ bytes"):
            records.decode(bad, TOKENS)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.array_record"
    writer = records.RecordFileWriter(path)
    for i in range(300):
        writer.write(bytes([i % 256]) * 100)
    assert not path.exists(), "a file has its name only when it is whole"
    writer.close()
    return path


def test_reads_in_any_order_from_many_threads(file):
    reader = records.RecordFile(file, 300)
    wrong = []

    def read(seed):
        for _ in range(50):
            positions = np.random.default_rng(seed).integers(0, 300, 20).tolist()
            datas = reader.read(positions)
            wrong.extend(p for p, d in zip(positions, datas) if d != bytes([p % 256]) * 100)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_damage_names_file_and_record(file):
    data = bytearray(file.read_bytes())
    data[data.index(bytes([40]) * 100) + 50] ^= 1
    file.write_bytes(data)
    reader = records.RecordFile(file, 300)
    assert reader.read([39, 41])
    with pytest.raises(ValueError, match=r"x\.array_record, record 40: .*hash mismatch.*again"):
        reader.read([39, 40])
    file.write_bytes(data[:-100])
    with pytest.raises(ValueError, match=r"x\.array_record holds 0 readable records, not 300"):
        records.RecordFile(file, 300)


@pytest.mark.parametrize("record_bytes", [10, 100_000])
def test_a_full_disk_is_named(tmp_path, record_bytes):
    path = tmp_path / "x.array_record"
    (tmp_path / "x.array_record.partial").symlink_to("/dev/full")
    writer = records.RecordFileWriter(path)
    with pytest.raises(
        RuntimeError, match=r"cannot write .*x\.array_record: .*; free space"
    ) as caught:
        for _ in range(100):
            writer.write(b"x" * record_bytes)
        writer.close()
    assert "\n" not in str(caught.value) and "No space left" in str(caught.value)
    writer.abandon()
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RuntimeError, match=r"cannot write .*gone/x: No such file"):
        records.RecordFileWriter(tmp_path / "gone" / "x")


def test_files_are_byte_identical(tmp_path):
    for name in "ab":
        writer = records.RecordFileWriter(tmp_path / name)
        for record in make_records([1, 5] * 50):
            writer.write(records.encode(record))
        writer.close()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

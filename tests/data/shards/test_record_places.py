"""Where records lie in a file is found without ArrayRecord's reader, and they are what it reads."""

import numpy as np
import pytest

from lvm_jax.data.shards import record_places, records
from lvm_jax.data.shards.records import Record


def write(path, num_records, most_images, key_length=0):
    rng = np.random.default_rng(num_records)
    writer, datas = records.RecordFileWriter(path), []
    for number in range(num_records):
        ids = rng.integers(0, 8192, (1 + number % most_images, 64), dtype=np.uint16)
        key = f"{number}-{'k' * (key_length and number % key_length)}"
        datas.append(records.encode(Record(kind="kind", source="source", key=key, ids=ids)))
        writer.write(datas[-1])
    writer.close()
    return datas


def parse(content, num_records):
    start = record_places.footer_start(content[-record_places.BLOCK_BYTES :])
    return record_places.read_footer(content[start:], start, num_records)


@pytest.mark.parametrize(
    ("num_records", "most_images", "key_length"),
    [(1, 1, 0), (700, 16, 0), (90, 40, 9), (40, 1, 60000 // 40), (9000, 1, 0)],
    ids=["one", "many blocks", "long records", "long keys", "a footer of several blocks"],
)
def test_records_are_where_the_footer_says(tmp_path, num_records, most_images, key_length):
    datas = write(tmp_path / "x", num_records, most_images, key_length)
    content = (tmp_path / "x").read_bytes()
    places = parse(content, num_records)
    assert len(places.starts) == num_records + 1
    read = [
        record_places.record(content[start:stop], start, size)
        for start, stop, size in zip(
            places.starts[:-1].tolist(), places.starts[1:].tolist(), places.sizes.tolist()
        )
    ]
    assert read == datas


def test_damage_is_noticed(tmp_path):
    write(tmp_path / "x", 50, 4)
    content = (tmp_path / "x").read_bytes()
    places = parse(content, 50)
    with pytest.raises(ValueError, match="footer is damaged"):
        parse(content, 51)
    for damaged in (content[:-1], content[:1000], b"", bytes(len(content))):
        with pytest.raises(ValueError, match=r"cut short|damaged"):
            parse(damaged, 50)
    start, stop = places.starts[3:5].tolist()
    chunk, size = content[start:stop], int(places.sizes[3])
    for damaged in (chunk[:-1], chunk[:30], chunk[1:], bytes(len(chunk)), b""):
        with pytest.raises(ValueError, match=r"damaged|bytes instead of"):
            record_places.record(damaged, start, size)

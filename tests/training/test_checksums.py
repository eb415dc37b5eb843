import json

import numpy as np
import pytest

from lvm_jax.training import checksums

NAMES = ["state/d/large", "state/small", "late"]


@pytest.fixture
def folder(tmp_path):
    """Four files, one of them empty, one of several pieces and one noted late."""
    rng = np.random.default_rng(0)
    (tmp_path / "state" / "d").mkdir(parents=True)
    for name, size in {"state/d/large": 1000, "state/small": 3, "empty": 0, "late": 10}.items():
        (tmp_path / name).write_bytes(rng.bytes(size))
    checksums.note(tmp_path, leave_out=["late"])
    assert "late" not in json.loads((tmp_path / checksums.FILE).read_text())["files"]
    checksums.note_rest(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(checksums, "_PIECE_BYTES", 300)
    monkeypatch.setattr(checksums, "_BUFFER_BYTES", 128)
    monkeypatch.setattr(checksums, "_BLOCK_WORDS", 4)


def test_nothing_is_wrong_with_what_was_written(folder):
    assert checksums.find_damage(folder) is None
    (folder / "another").write_text("not noted")
    assert checksums.find_damage(folder) is None


@pytest.mark.parametrize("name", [*NAMES, checksums.FILE, "checksums_rest.json"])
def test_every_flipped_bit_is_found(folder, name):
    path = folder / name
    good = path.read_bytes()
    for bit in range(0, 8 * len(good), 1 if len(good) < 400 else 13):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        assert name in checksums.find_damage(folder), bit
    path.write_bytes(good)
    assert checksums.find_damage(folder) is None


@pytest.mark.parametrize("sizes_only", [False, True])
def test_missing_and_cut_files_are_named(folder, sizes_only):
    large = folder / "state" / "d" / "large"
    large.write_bytes(large.read_bytes()[:-1])
    damage = checksums.find_damage(folder, sizes_only=sizes_only)
    assert damage == "state/d/large has 999 bytes instead of 1000"
    large.unlink()
    damage = checksums.find_damage(folder, sizes_only=sizes_only)
    assert damage == "state/d/large is missing"


def test_shares_find_together_what_one_finds(folder):
    (folder / "state" / "small").write_bytes(b"abc")
    damages = [checksums.find_damage(folder, share=(i, 3)) for i in range(3)]
    assert damages.count(None) == 2 and checksums.find_damage(folder) in damages


@pytest.mark.parametrize("swap", [32, 64, 300, 600])  # a block, two, a piece, two
def test_what_comes_in_another_order_is_found(folder, swap):
    path = folder / "state" / "d" / "large"
    data = path.read_bytes()
    path.write_bytes(data[swap : 2 * swap] + data[:swap] + data[2 * swap :])
    assert checksums.find_damage(folder) == "state/d/large is not what was written (checksum)"


def test_digests_stay_what_they_are(tmp_path, monkeypatch):
    """Checkpoints of earlier versions are compared with them."""
    monkeypatch.undo()
    (tmp_path / "file").write_bytes(np.arange(200_001, dtype="<u4").tobytes()[:-1])
    checksums.note(tmp_path)
    noted = json.loads((tmp_path / checksums.FILE).read_text())
    assert noted["files"] == {"file": [800_003, "ee333dca0af538b9"]}

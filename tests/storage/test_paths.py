"""Paths of stores do what paths of disks do."""

import pathlib
import pickle

import pytest

from lvm_jax import atomic
from lvm_jax.storage import paths


@pytest.mark.parametrize("text", ["/a/b", "a/b", ".", "runs/gs:/x", "~/x"])
def test_paths_of_disks_stay_what_they_were(text):
    assert paths.path(text) == pathlib.Path(text)
    assert paths.store_path(text) is None


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("gs://bucket/a/b", "gs://bucket/a/b"),
        ("s3://bucket//a/b/", "s3://bucket/a/b"),
        ("gs:/bucket/a", "gs://bucket/a"),  # what a library made of one
        ("s3://bucket", "s3://bucket"),
    ],
)
def test_urls_become_paths_of_stores(text, url):
    path = paths.path(text)
    assert str(path) == url
    assert paths.path(path) is path
    assert pickle.loads(pickle.dumps(path)) == path
    assert str(path / "c" / "d.json") == f"{url}/c/d.json"
    assert (path / "c" / "d").parent.parent == path
    assert (path / "c").name == "c"


def names(found):
    return sorted(path.name for path in found)


def test_files_and_directories_of_a_disk(tmp_path):
    use_files_and_directories(tmp_path)


def test_files_and_directories_of_a_store(store):
    use_files_and_directories(store.root)


def use_files_and_directories(place):
    assert not (place / "a.json").exists()
    atomic.write_json(place / "a.json", {"x": 1}, indent=None)
    atomic.write_text(place / "inner" / "b.txt", "é\n", parents=True)
    assert (place / "a.json").read_text() == '{"x": 1}\n'
    assert (place / "inner" / "b.txt").read_bytes() == "é\n".encode()
    assert (place / "a.json").stat().st_size == 9
    assert place.is_dir() and not place.is_file()
    assert (place / "a.json").is_file() and not (place / "a.json").is_dir()
    assert names(place.iterdir()) == ["a.json", "inner"]
    assert names(place.glob("*.json")) == ["a.json"]
    assert names((place / "nowhere").glob("*")) == []
    atomic.write_text(place / "a.json", "new")
    assert (place / "a.json").read_text() == "new"
    (place / "inner").rename(place / "moved")
    assert names(place.iterdir()) == ["a.json", "moved"]
    assert (place / "moved" / "b.txt").read_text(encoding="utf-8") == "é\n"
    (place / "a.json").unlink()
    (place / "a.json").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        (place / "a.json").read_text()


def test_an_object_is_made_once(store):
    (store.root / "mark").write_bytes(b"first", create=True)
    with pytest.raises(FileExistsError):
        (store.root / "mark").write_bytes(b"second", create=True)
    assert (store.root / "mark").read_bytes() == b"first"


def test_what_others_write_is_seen_at_once(store):
    assert not store.root.exists()
    (store.root / "a").write_bytes(b"1")
    assert names(store.root.iterdir()) == ["a"]
    paths.StorePath(store.scheme, f"{store.root.key}/b").write_bytes(b"2")
    assert names(store.root.iterdir()) == ["a", "b"]
    assert store.root.listing()["b"].size == 1
    store.root.rmtree()
    assert not store.root.exists()

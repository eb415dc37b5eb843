"""What a page stands on: sessions whose files go with them, addresses, ready prompts."""

import os
import socket
import sys

import numpy as np
import pytest

from lvm_jax.configs import ConfigError
from lvm_jax.data.shards.records import Record
from lvm_jax.data.shards.writer import ShardsWriter
from lvm_jax.demo import addresses, clips, examples, sessions
from lvm_jax.demo.addresses import Address

SQUARE = np.zeros((16, 16, 3), np.uint8)


class TestSessions:
    def test_files_go_with_their_session(self, tmp_path):
        kept = sessions.Sessions(tmp_path)
        upload = tmp_path / "hash" / "cat.png"
        upload.parent.mkdir()
        upload.write_bytes(b"cat")
        for name in ("one", "other"):
            kept.begin(name)
            kept.uses(name, str(upload))
        path = kept.keep("one", SQUARE)
        unused = tmp_path / "unused.png"
        unused.write_bytes(b"dog")
        kept.end("one")
        assert not os.path.exists(path)
        assert upload.exists() and unused.exists()  # somebody is there who may mean it
        kept.end("other")
        assert list(tmp_path.iterdir()) == []

    def test_a_session_that_is_over_gets_no_files(self, tmp_path):
        kept = sessions.Sessions(tmp_path)
        kept.begin("one")
        kept.end("one")
        with pytest.raises(RuntimeError, match="load it again"):
            kept.keep("one", SQUARE)
        assert kept.is_stopped("one") and not list(tmp_path.iterdir())

    def test_files_of_others_are_never_touched(self, tmp_path):
        root, mine = tmp_path / "root", tmp_path / "mine.png"
        root.mkdir()
        mine.write_bytes(b"mine")
        kept = sessions.Sessions(root)
        kept.begin("../../mine.png")
        kept.uses("../../mine.png", str(mine))
        kept.keep("../../mine.png", SQUARE)
        kept.end("../../mine.png")
        assert mine.exists()

    def test_stopping_and_beginning(self, tmp_path):
        kept = sessions.Sessions(tmp_path)
        kept.stop("one")
        assert kept.is_stopped("one") and not kept.is_stopped("other")
        kept.begin_answer("one")
        assert not kept.is_stopped("one")


class TestAddress:
    def test_others_need_a_password(self):
        assert Address().host == "127.0.0.1"
        with pytest.raises(ConfigError, match=r"host=0\.0\.0\.0 lets others reach the page"):
            Address(host="0.0.0.0")
        assert Address(host="0.0.0.0", users=(("ada", "secret"),)).users
        with pytest.raises(ConfigError, match="port=70000"):
            Address(port=70000)

    def test_a_place_that_is_taken_or_none(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(ConfigError, match=rf"port={port} is taken: give another one"):
                Address(port=port).require_free()
        Address(port=port).require_free()
        users = (("ada", "secret"),)
        with pytest.raises(ConfigError, match=r"host=192\.0\.2\.1, port="):  # of documentation
            Address(host="192.0.2.1", users=users).require_free()

    def test_users_of_a_file(self, tmp_path):
        file = tmp_path / "users"
        file.write_text("ada:one:two\n\nbob:three\n")
        assert addresses.users_of(str(file)) == (("ada", "one:two"), ("bob", "three"))
        assert addresses.users_of("ada:secret") == (("ada", "secret"),)
        assert addresses.users_of(None) == ()
        file.write_text("ada\n")
        for auth in (str(file), "nobody", "ada:"):
            with pytest.raises(ConfigError, match="auth") as caught:
                addresses.users_of(auth)
            assert "secret" not in str(caught.value)


def test_without_gradio_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(RuntimeError, match=r"pip install 'lvm_jax\[demo\]'"):
        addresses.require_gradio()


@pytest.fixture
def shards(tokenizer, model, tmp_path):
    """Sentences of two kinds, of 6 and 3 images."""
    writer = ShardsWriter(
        tmp_path / "shards",
        build_key="toy",
        vocabulary=model.vocabulary,
        tokens_per_image=tokenizer.tokens_per_image,
        tokenizer_fingerprint=tokenizer.fingerprint,
    )
    rng = np.random.default_rng(0)
    records = []
    for kind, length in (("edges", 6), ("video", 3), ("single", 1)):
        ids = rng.integers(0, 32, (length, tokenizer.tokens_per_image), dtype=np.uint16)
        records.append(Record(kind=kind, source="photos", key="cat", ids=ids))
    writer.write_shard(0, records)
    writer.finish(1)
    return tmp_path / "shards"


def test_a_gallery_of_held_out_shards(shards, tokenizer, answerer, reader, tmp_path):
    found = examples.find(str(shards), "", tokenizer, answerer.limits)
    edges, video = sorted(found, key=lambda prompt: prompt.layout)
    # As many as the model has room for: one pair, a query and the truth.
    assert (edges.layout, len(edges.images), len(edges.targets)) == ("analogy", 3, 1)
    assert (video.layout, len(video.images)) == ("sequence", 2)
    assert edges.title == "edges 1" and edges.attribution == "photos: cat"
    assert len(reader.file(edges).images) == 3
    # The same from files.
    folder = tmp_path / "gallery"
    folder.mkdir()
    (folder / "edges.json").write_text(edges.text())
    assert examples.find(str(folder), "", tokenizer, answerer.limits) == [edges]
    # By name, but for those that a file of names puts first.
    (folder / "video.json").write_text(video.text())
    assert examples.find(str(folder), "", tokenizer, answerer.limits) == [edges, video]
    (folder / examples.ORDER).write_text("video\nnone\n")
    assert examples.find(str(folder), "", tokenizer, answerer.limits) == [video, edges]
    assert examples.find(None, str(tmp_path), tokenizer, answerer.limits) == []
    with pytest.raises(ValueError, match="neither prompt files"):
        examples.find(str(tmp_path), "", tokenizer, answerer.limits)


def test_clips_of_frames():
    written = clips.write([SQUARE, SQUARE + 255], 8)
    assert written[".gif"].startswith(b"GIF8")
    assert ".mp4" not in written or b"ftyp" in written[".mp4"][:16]

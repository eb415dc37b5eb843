"""build_shards.py and inspect_shards.py as a user runs them."""

import base64
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
from concurrent import futures

import jax
import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.data.building import jsonl
from lvm_jax.data.building.from_sentences import BuildConfig, build_shards
from lvm_jax.data.shards.reader import Shards
from lvm_jax.mesh import MeshConfig, make_mesh
from lvm_jax.sentences import corpora
from lvm_jax.tokenizer import codec, vqgan, vqgan_config

ROOT = pathlib.Path(__file__).resolve().parents[2]

EXPERIMENT = """
def get_config(arg=""):
    single = {{"kind": "single", "folder": {folder!r}}}
    pairs = {{**single, "kind": "colorization", "crop": (0.5, 1.0), "pairs_per_sentence": 2}}
    return {{"corpus": {{"sources": {{"one": single, "colors": pairs}}, "seed": 1}}}}
"""


def run(tool, *arguments):
    command = [sys.executable, f"tools/{tool}.py", *map(str, arguments)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("tools")
    rng = np.random.default_rng(0)
    for name in "abcd":
        picture = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        images.write_image(root / "pictures" / f"{name}.png", picture)
    (root / "experiment.py").write_text(EXPERIMENT.format(folder=str(root / "pictures")))
    geometry = vqgan_config.PRESETS["debug"]
    for seed, name in enumerate(("tokenizer", "another")):
        codec.save_tokenizer(root / name, geometry, vqgan.init_params(geometry, seed))
    return root


def build(root, *more, out="shards"):
    common = (f"--config={root / 'experiment.py'}", f"--tokenizer={root / 'tokenizer'}")
    return run("build_shards", *common, f"--out={root / out}", *more)


@pytest.fixture(scope="module")
def built(made):
    result = build(made)
    assert result.returncode == 0, result.stderr
    assert "6 sentences, 12 images" in result.stderr and "shards: 100%" in result.stderr
    return made


def require_refused(result, *parts):
    """Exit code 2 and one line, the last one, that says everything."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    for part in parts:
        assert part in last, last


def test_a_second_build_has_nothing_to_do(built):
    before = (built / "shards" / "manifest.json").stat().st_mtime_ns
    result = build(built)
    assert result.returncode == 0 and "nothing to do" in result.stderr
    assert (built / "shards" / "manifest.json").stat().st_mtime_ns == before


def test_ids_are_those_of_the_tokenizer(built):
    tokenizer = codec.load_tokenizer(built / "tokenizer")
    shards = Shards(built / "shards")
    shards.require_tokenizer(tokenizer.fingerprint)
    (number,) = np.flatnonzero(np.array(shards.sources) == "one")
    for record in shards.read_records(np.flatnonzero(shards.source_ids == number)):
        picture = images.read_image(built / "pictures" / f"{record.key}.png")
        pixels = images.resize_crop(picture, tokenizer.image_size)[None]
        np.testing.assert_array_equal(record.ids, tokenizer.encode(pixels))


def test_inspect_shows_and_draws(built):
    picture = built / "sentences.png"
    decode = (f"--tokenizer={built / 'tokenizer'}", "--decode=2", f"--out={picture}")
    result = run("inspect_shards", built / "shards", "--verify", *decode)
    assert result.returncode == 0, result.stderr
    for part in (
        "pictures    resize=crop, background=(255, 255, 255)",
        "colorization",
        "perplexity",
        "images per sentence",
        "checksums of 1 shards",
    ):
        assert part in result.stdout
    # Two sources with two sentences each; the longest has four images of 16 pixels.
    drawn = images.read_image(picture)
    assert len(drawn) == 4 * (18 + 2 + 14) and drawn.shape[1] > 4 * 18 + 2
    captions = drawn.reshape(4, 34, -1, 3)[:, 20:]
    names = [line.strip() for line in result.stdout.partition("to bottom:\n")[2].splitlines()]
    for shown, name in zip(captions, names, strict=True):
        columns = np.flatnonzero(shown.min((0, 2)) < 128)
        assert columns[0] < 8 and columns[-1] > 4 * len(name), "all of it is written"


def test_a_damaged_shard_is_mended_as_messages_say(built):
    copy = shutil.copytree(built / "shards", built / "copy")
    shard, manifest = copy / "shard-00000.array_record", (copy / "manifest.json").read_bytes()
    before = shard.read_bytes()
    shard.write_bytes(before[:-10])
    result = build(built, out="copy")
    assert result.returncode == 0, result.stderr
    assert "1 of its shards are missing or have another size" in result.stderr
    assert "6 sentences, 12 images" in result.stderr and shard.read_bytes() == before
    shard.write_bytes(before[:5000] + bytes([before[5000] ^ 1]) + before[5001:])
    require_refused(run("inspect_shards", copy, "--verify"), "shard-00000.array_record")
    assert "when its file is removed" in build(built, out="copy").stderr
    shard.unlink()
    assert build(built, out="copy").returncode == 0 and shard.read_bytes() == before
    assert (copy / "manifest.json").read_bytes() == manifest


def test_export_and_import_are_inverse(built):
    lines, again = built / "lines.jsonl", built / "again.jsonl"
    result = run("inspect_shards", built / "shards", f"--export_jsonl={lines}")
    assert result.returncode == 0 and "lines.jsonl: 6 lines" in result.stdout, result.stderr
    nowhere = f"--export_jsonl={built / 'nowhere' / 'lines.jsonl'}"
    result = run("inspect_shards", built / "shards", nowhere)
    last = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1 and "nowhere/lines.jsonl: No such file or directory; " in last
    shards, tokenizer = Shards(built / "shards"), f"--tokenizer={built / 'tokenizer'}"
    imported = built / "from_lines"
    result = run("build_shards", f"--import_jsonl={lines}", f"--out={imported}", tokenizer)
    assert result.returncode == 0, result.stderr
    for one, other in zip(shards.read(range(6)), Shards(imported).read(range(6)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert Shards(imported).tokenizer_fingerprint == shards.tokenizer_fingerprint
    jsonl.export_jsonl(Shards(imported), again)
    assert again.read_bytes() == lines.read_bytes()


def test_processes_of_a_run_write_what_one_process_with_many_devices_writes(made):
    """Two real processes, a slice and a device each; against one with eight devices."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    small = "--config.shards.sentences_per_shard=2"
    together = ("--config.distributed.mode=explicit", "--config.distributed.num_processes=2")
    together += (f"--config.distributed.coordinator_address={address}", small)
    with futures.ThreadPoolExecutor(2) as pool:
        ids = [f"--config.distributed.process_id={i}" for i in range(2)]
        results = list(pool.map(lambda i: build(made, *together, i, out="together"), ids))
    assert [result.returncode for result in results] == [0, 0], results
    devices = make_mesh(MeshConfig(), jax.local_devices())
    tokenizer = codec.load_tokenizer(made / "tokenizer", mesh=devices)
    assert tokenizer.mesh.size == 8
    single = {"kind": "single", "folder": str(made / "pictures"), "name": "one"}
    pairs = {**single, "kind": "colorization", "crop": (0.5, 1.0), "pairs_per_sentence": 2}
    corpus = corpora.build_corpus({"sources": [single, {**pairs, "name": "colors"}], "seed": 1})
    build_shards(corpus, tokenizer, made / "alone", BuildConfig(sentences_per_shard=2))
    alone, both = (
        {p.name: p.read_bytes() for p in (made / n).iterdir()} for n in ("alone", "together")
    )
    assert alone == both and len([name for name in alone if name.startswith("shard-")]) == 3


def test_unreadable_pictures_within_the_limit(made, tmp_path):
    shutil.copytree(made / "pictures", tmp_path / "pictures")
    (tmp_path / "pictures" / "e.png").write_text("no picture")
    one = f"--config.corpus.sources.one.folder={tmp_path / 'pictures'}"
    result = build(made, one, "--config.shards.max_rejects=1", out="rejects")
    assert result.returncode == 0, result.stderr
    assert "1 files cannot be read, so 1 sentences are left out" in result.stderr
    (line,) = map(json.loads, (made / "rejects" / "rejects.jsonl").read_text().splitlines())
    assert line["path"].endswith("e.png") and line["sentences"][0]["key"] == "e"


def test_a_dry_run_counts_and_draws(made, tmp_path):
    config, sheet = f"--config={made / 'experiment.py'}", f"--sheet={tmp_path / 'sheet.png'}"
    result = run("build_shards", config, "--dry_run", "--tokens_per_image=16", sheet)
    assert result.returncode == 0, result.stderr
    (total,) = [line.split() for line in result.stdout.splitlines() if line.startswith("all")]
    assert total[-3:] == ["6", "12", "192"], "what test_a_second_build_has_nothing_to_do builds"
    assert images.read_image(tmp_path / "sheet.png").shape[1] > 4 * 64
    *_, kinds, single, colors = [line.split() for line in result.stdout.splitlines()[:-1]]
    assert kinds[:2] == ["kind", "sources"]
    assert single == ["single", "1", "4", "4", "64", "33.3%"]
    assert colors == ["colorization", "1", "2", "8", "128", "66.7%"]
    squashed = (sheet.replace("sheet.png", "squashed.png"), "--config.shards.images.resize=squash")
    assert run("build_shards", config, "--dry_run", *squashed).returncode == 0
    cells = [
        images.read_image(tmp_path / f"{name}.png")[2:66, 152:216] for name in ("sheet", "squashed")
    ]
    assert not np.array_equal(*cells), "the pictures are no squares"
    require_refused(
        run("build_shards", config, "--dry_run", "--config.shards.imagse=1"), "shards.images?"
    )


def test_a_dry_run_reads_everything_when_asked_to(tmp_path):
    """Names are any bytes; the files that building rejects are listed as it lists them."""
    folder = tmp_path / os.fsdecode(b"pictures \xe9")
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for name in ("a", "b\nb", os.fsdecode(b"caf\xe9")):
        images.write_image(folder / f"{name}.jpg", noise)
    config = tmp_path / "experiment.py"
    config.write_text(EXPERIMENT.format(folder=str(folder)))
    bad = folder / os.fsdecode(b"caf\xe9.jpg")
    bad.write_bytes(bad.read_bytes()[:-40])
    dry_run = (f"--config={config}", "--dry_run")
    assert run("build_shards", *dry_run).returncode == 0  # names only
    result = run("build_shards", *dry_run, "--read_all")
    require_refused(
        result, "caf\\udce9.jpg: image file is truncated", "raise --config.shards.max_rejects=0"
    )
    assert "reading: 100%" in result.stderr
    (line,) = [json.loads(each) for each in result.stdout.splitlines() if each.startswith("{")]
    assert line["path"] == str(bad) and len(line["sentences"]) == 2
    assert "       1  cannot read image FILE: image file is truncated (N bytes" in result.stdout
    assert "       1 files cannot be read; 2 sentences need them" in result.stdout
    allowed = run("build_shards", *dry_run, "--read_all", "--config.shards.max_rejects=1")
    assert allowed.returncode == 0, allowed.stderr
    assert [json.loads(x) for x in allowed.stdout.splitlines() if x.startswith("{")] == [line]
    require_refused(run("build_shards", dry_run[0], "--read_all"), "does not read --read_all")


def test_any_name_goes_through_the_tools(made, tmp_path):
    names = ["a", "b\nb", "-c", os.fsdecode(b"caf\xe9"), "d" * 251]
    for number, name in enumerate(names):
        images.write_image(
            tmp_path / "pictures" / f"{name}.png", np.full((9, 9, 3), 40 * number, np.uint8)
        )
    (tmp_path / "experiment.py").write_text(EXPERIMENT.format(folder=str(tmp_path / "pictures")))
    shutil.copytree(made / "tokenizer", tmp_path / "tokenizer")
    out = os.fsdecode(b"shards \xe9")
    result = build(tmp_path, out=out)
    assert result.returncode == 0, result.stderr
    keys = [record.key for record in Shards(tmp_path / out).read_records(range(len(names)))]
    assert sorted(keys) == sorted(names)
    decode = (f"--tokenizer={tmp_path / 'tokenizer'}", "--decode=9", f"--out={tmp_path / 'x.png'}")
    result = run("inspect_shards", tmp_path / out, "--verify", *decode)
    assert result.returncode == 0, result.stderr
    shown = result.stdout.splitlines()
    for name in ("a", "b\\nb", "-c", "caf\\udce9", "d" * 251):
        assert f"  one: single, {name}" in shown


def test_lvms_lines_become_shards(made):
    ids = np.arange(2 * 16, dtype="<i4").reshape(2, 16) % 32
    lines = [{"tokens": base64.b64encode(row.tobytes()).decode()} for row in (ids, ids[:1])]
    for name, line in zip(("a.jsonl", "b.jsonl"), lines):
        (made / name).write_text(json.dumps(line) + "\n")
    files = ("--import_jsonl", made / "a.jsonl", made / "b.jsonl", f"--out={made / 'imported'}")
    result = run("build_shards", *files, f"--tokenizer={made / 'tokenizer'}")
    assert result.returncode == 0, result.stderr
    assert "2 sentences, 3 images, 48 tokens" in result.stderr
    shards = Shards(made / "imported")
    shards.require_tokenizer(codec.load_tokenizer(made / "tokenizer").fingerprint)
    np.testing.assert_array_equal(shards.read([0, 1])[0], ids)
    sliced = (*files[:-1], f"--out={made / 'sliced'}", f"--tokenizer={made / 'tokenizer'}")
    result = run("build_shards", *sliced, "--slice=1/2")
    assert result.returncode == 0 and "1 of 2 shards are still missing" in result.stderr
    assert run("build_shards", *sliced, "--slice=0/2", "--num_workers=2").returncode == 0
    one, two = (
        {p.name: p.read_bytes() for p in (made / n).iterdir()} for n in ("imported", "sliced")
    )
    assert one == two
    require_refused(run("build_shards", *sliced, "--slice=2"), "--slice=2 must be I/N")
    other = (*files[:-1], f"--out={made / 'sliced'}")
    require_refused(
        run("build_shards", *other), f"--out={made / 'sliced'} holds shards made from another"
    )
    require_refused(run("build_shards", "--import_jsonl=none.jsonl", "--out=x"), "none.jsonl")


def test_bad_input_to_build(built):
    require_refused(run("build_shards", "--tokenizer=x", "--out=y"), "--config is required")
    require_refused(build(built, "--slice=2/2"), "--slice=2/2 must be I/N")
    fine = {"sources": {"one": {"kind": "single", "folder": str(built)}}}
    for key, sections in {
        "corpus": {"corpus": 5},
        "corpus.sources": {"corpus": {"sources": 5}},
        "shards": {"corpus": fine, "shards": 5},
    }.items():
        (built / "bad.py").write_text(f"def get_config():\n    return {sections}\n")
        dry_run = (f"--config={built / 'bad.py'}", "--dry_run")
        require_refused(run("build_shards", *dry_run), f"config.{key}=5 must be a")
    require_refused(
        build(built, "--config.corpus.sources.one.kind=singel"), "kind='singel'", "'single'"
    )
    require_refused(build(built, "--config.corpus.seed=2"), "made from another config", "--out")
    bad = built / "bad"
    bad.mkdir(exist_ok=True)
    (bad / "x.png").write_bytes((built / "pictures" / "a.png").read_bytes()[:100])
    override = f"--config.corpus.sources.one.folder={bad}"
    require_refused(build(built, override, out="other"), "bad/x.png", "remove or replace")


def test_bad_input_to_inspect(built, tmp_path):
    require_refused(
        run("inspect_shards", built / "shards", "--decode=1"), "--decode needs --tokenizer"
    )
    decode = (f"--tokenizer={built / 'another'}", "--decode=1", f"--out={tmp_path / 'x.png'}")
    refused = run("inspect_shards", built / "shards", *decode)
    require_refused(refused, "was made by tokenizer", "not by")
    assert refused.stdout == "", "before anything is counted"
    copy = shutil.copytree(built / "shards", tmp_path / "copy")
    shard = copy / "shard-00000.array_record"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    require_refused(run("inspect_shards", copy, "--verify"), "shard-00000.array_record")

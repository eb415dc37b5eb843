"""The input side of tokenizing: pictures per second from files, sentences per second from ids."""

import functools
import pathlib
import tempfile
from concurrent import futures
from typing import Any

import numpy as np
import PIL.Image

from benchmark_suites import timing
from lvm_jax import images
from lvm_jax.data.building import token_cache
from lvm_jax.data.building.rejects import Rejects
from lvm_jax.data.building.tokenizing import Tokenize
from lvm_jax.data.shards.writer import ShardsWriter
from lvm_jax.pictures.loader import SquareLoader
from lvm_jax.sentences import corpora
from lvm_jax.vocabulary import Vocabulary

SIDE = 512
TOKENS_PER_IMAGE = 256


def run(
    *,
    num_files: int = 32,
    num_sentences: int = 1000,
    num_threads: int = 2,
    warmup: int = 1,
    repeats: int = 5,
) -> list[dict[str, Any]]:
    """Measures on pictures made for it, in a temporary directory.

    Args:
        num_files: JPEG files of 512 x 512 pixels, about 125 kB each.
        num_sentences: of 8 pairs, whose ids exist already.
        num_threads: that read pictures.
        warmup: runs of each case before it counts.
        repeats: measured runs; the median counts.

    Returns:
        A row for each case: name, images_per_second or sentences_per_second (median), the slowest
        and the fastest run in the same unit, and per_cpu_second (median): what a processor does in
        a second of its own, whoever else uses it.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="lvm_jax_images_") as root:
        folder = pathlib.Path(root, "pictures")
        paths = _write(folder, num_files)
        with futures.ThreadPoolExecutor(num_threads) as pool:
            cases = {
                f"JPEG {SIDE} to {size}" + ", reduced" * reduced: functools.partial(
                    _read_all, pool, paths, size, images.ImageConfig(reduced_jpeg=reduced)
                )
                for size in (256, 128, 64)
                for reduced in (False, True)
            }
            times = timing.interleave(cases, warmup=warmup, repeats=repeats)
        rows += [_row(name, "images", num_files, times[name]) for name in cases]
        with _Sentences(pathlib.Path(root, "shards"), folder, num_sentences, num_threads) as build:
            build()
            times = timing.interleave({"build": build}, warmup=warmup, repeats=repeats)
        rows.append(_row("shards from ids that exist", "sentences", num_sentences, times["build"]))
    return rows


def _row(name: str, unit: str, count: int, times: timing.Times) -> dict[str, Any]:
    return {
        "name": name,
        f"{unit}_per_second": count / times.median,
        "slowest": count / max(times.wall),
        "fastest": count / min(times.wall),
        "per_cpu_second": count / times.cpu_median,
    }


def _read_all(
    pool: futures.Executor, paths: list[pathlib.Path], size: int, config: images.ImageConfig
) -> None:
    list(pool.map(SquareLoader(config, size).load_file, paths))


def _write(folder: pathlib.Path, num_files: int) -> list[pathlib.Path]:
    """Pictures with the spectrum of photographs: most in the large, a little in the small."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    paths = [folder / f"{number:04}.jpg" for number in range(num_files)]
    for path in paths:
        noise = rng.standard_normal((SIDE, SIDE, 3)).astype(np.float32)
        waves = np.fft.rfft2(noise, axes=(0, 1)) / (frequency[..., None] + 1 / SIDE) ** 1.3
        values = np.fft.irfft2(waves, s=(SIDE, SIDE), axes=(0, 1))
        picture = images.to_uint8(0.5 + 0.2 * values / values.std())
        PIL.Image.fromarray(picture).save(path, quality=90)
    return paths


class _Quick:
    """Stands for a tokenizer where only what surrounds it is measured."""

    fingerprint = "none"
    image_size = 8
    tokens_per_image = TOKENS_PER_IMAGE
    num_codes = 8192
    images_per_call = 1

    def encode(self, images: Any) -> np.ndarray:
        sums = images.reshape(len(images), -1).sum(1, dtype=np.int64)[:, None]
        return ((sums + np.arange(TOKENS_PER_IMAGE)) % self.num_codes).astype(np.int32)


class _Sentences:
    """Writes a shard of sentences; from the second call on, of ids that exist."""

    def __init__(self, out: pathlib.Path, folder: pathlib.Path, count: int, num_threads: int):
        source = {"kind": "colorization", "folder": str(folder), "crop": (0.3, 1.0), "flip": True}
        self._corpus = corpora.build_corpus({"sources": [{**source, "sentences_per_epoch": count}]})
        self._part = range(count)
        tokenizer = _Quick()
        self._writer = ShardsWriter(
            out,
            build_key="",
            vocabulary=Vocabulary(),
            tokens_per_image=TOKENS_PER_IMAGE,
            tokenizer_fingerprint=tokenizer.fingerprint,
        )
        self._cache = token_cache.TokenCache(out / "tokens.partial", TOKENS_PER_IMAGE)
        self._tokenize = Tokenize(
            tokenizer,
            self._cache,
            Rejects(out, 0),
            images.ImageConfig(),
            batch_size=256,
            num_threads=num_threads,
        )

    def __enter__(self) -> "_Sentences":
        return self

    def __exit__(self, *error: object) -> None:
        self._tokenize.__exit__(*error)
        self._cache.close()

    def __call__(self) -> None:
        sentences = corpora.sentences(self._corpus)
        records = self._tokenize.records(sentences, self._part, set(), lambda num_sentences: None)
        self._writer.write_shard(0, records)

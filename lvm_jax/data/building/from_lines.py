"""LVM's own format -> shards and back: lines {"tokens": base64 of little-endian int32 ids}.

A file is cut into stretches of equal bytes, each of which makes one shard; files are not joined, so
that many small ones make as many small shards. What is in a shard so depends on the file alone: it
is the same for any number of processes, and an interrupted import goes on after the shards that are
finished, if their lines are the same as then: their hash counts where the times of the file do not.
Ids are taken as they are; no tokenizer is needed. Blank lines at the end of a file are no lines.

Legend: N images of a line, T ids per image.
"""

import base64
import binascii
import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from lvm_jax import atomic, worker_processes
from lvm_jax.data.building import line_files, originals
from lvm_jax.data.building.line_files import Stretch
from lvm_jax.data.shards.reader import MANIFEST, Shards
from lvm_jax.data.shards.records import Record
from lvm_jax.data.shards.writer import ShardsWriter, shard_name
from lvm_jax.vocabulary import Vocabulary

VERSION = 1
KIND = "jsonl"
REJECTS = "rejects.jsonl"
# An id takes 4 bytes as int32 and 16/3 in base64, but 2 in a shard.
_TEXT_BYTES_PER_SHARD_BYTE = 8 / 3
# A process says how far it is after so many bytes, and is asked for it so often.
_BYTES_PER_REPORT = 2**20
_SECONDS_PER_REPORT = 0.5
_EXPORTED_TOGETHER = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """How lines become sentences; `num_workers` alone does not change what is made.

    Attributes:
        tokens_per_image: T; lines must hold a multiple of it.
        num_codes: size of the codebook that the ids are from.
        num_special: special ids of the vocabulary.
        tokenizer_fingerprint: of the tokenizer that made the ids; "" when it is not known.
        max_bad_lines: bad lines to leave out and list before the import is refused.
        shard_megabytes: about how large a shard becomes, if its file is large enough.
        num_workers: processes.
    """

    tokens_per_image: int = 256
    num_codes: int = 8192
    num_special: int = 100
    tokenizer_fingerprint: str = ""
    max_bad_lines: int = 0
    shard_megabytes: float = 256
    num_workers: int = 1

    def __post_init__(self):
        for name in ("tokens_per_image", "num_workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}={getattr(self, name)} must be at least 1")
        if self.max_bad_lines < 0 or self.shard_megabytes <= 0:
            raise ValueError(
                f"--max_bad_lines={self.max_bad_lines} must not be negative and "
                f"shard_megabytes={self.shard_megabytes} must be positive"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Result:
    stretch: Stretch
    rejects: list[dict[str, Any]]
    refused: bool
    sha256: str = ""  # of its lines


def import_jsonl(
    paths: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    config: ImportConfig | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Shards:
    """Makes shards of LVM's JSON lines, or goes on where an earlier run stopped.

    In a finished directory it makes shards again that are missing or have another size, to the
    byte.

    Args:
        paths: the files; their lines become sentences in this order. Where two have one name, these
            are called by their paths as given.
        out: the directory.
        config: how.
        progress: called with (bytes done, bytes in all).

    Returns:
        The finished shards. OUT/rejects.jsonl lists the bad lines, where there are any.

    Raises:
        ValueError: a missing file, one that is given twice or changed since shards were made of
            it, more bad lines than allowed, or no good one; named.
        RuntimeError: the disk became full or a process died; a new run goes on.
    """
    config = config or ImportConfig()
    paths = [pathlib.Path(path) for path in paths]
    num_bytes = int(config.shard_megabytes * 2**20 * _TEXT_BYTES_PER_SHARD_BYTE)
    stretches = line_files.stretches(paths, max(1, num_bytes))
    arguments = (os.fspath(out), _build_key(paths, config), config)
    writer = _open_writer(*arguments)
    waiting = [stretch for stretch in stretches if not writer.finished(stretch.number)]
    if writer.complete:
        _require_unchanged(writer, paths, stretches)
        _make_again(writer, waiting, arguments, progress)
        return Shards(out)
    if len(waiting) < len(stretches):
        done = len(stretches) - len(waiting)
        logging.info("%s: %d of %d shards are there already", out, done, len(stretches))
    total = _num_bytes(stretches)
    moved = _counting(progress, total - _num_bytes(waiting), total)
    finished = set(range(len(stretches))) - {stretch.number for stretch in waiting}
    about = {n: writer.read_notes(n)["about"] for n in finished}
    rejects = {n: about[n]["rejects"] for n in finished}
    hashes = {n: _hash_of_finished(stretches[n], about[n], out) for n in sorted(finished)}
    for result in _run(waiting, arguments, moved):
        rejects[result.stretch.number] = result.rejects
        hashes[result.stretch.number] = result.sha256
        if result.refused or sum(map(len, rejects.values())) > config.max_bad_lines:
            _refuse(writer, config, stretches, rejects)
    _refuse_empty(writer, stretches)
    lines = _write_rejects(writer, stretches, rejects)
    writer.finish(
        len(stretches),
        {
            "jsonl": [
                {
                    **{"file": name, "bytes": path.stat().st_size},
                    "sha256": _hash_of_file(path, stretches, hashes),
                }
                for path, name in zip(paths, line_files.names(paths))
            ],
            "lines": lines,
            "bad_lines": sum(map(len, rejects.values())),
        },
    )
    return Shards(out)


def parse_line(line: bytes, tokens_per_image: int, num_codes: int) -> np.ndarray:
    """The ids of a line: uint16 [N, T].

    Raises:
        ValueError: says what is wrong with it.
    """
    try:
        text = json.loads(line)["tokens"]
        data = base64.b64decode(text, validate=True)
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
        reasons = {KeyError: "no key 'tokens'", RecursionError: "nested too deeply"}
        reason = reasons.get(type(error), error)
        raise ValueError(f'not of the form {{"tokens": base64}}: {reason}') from error
    if len(data) % 4:
        raise ValueError(f"{len(data)} bytes are not whole int32 ids")
    ids = np.frombuffer(data, "<i4")
    if not len(ids) or len(ids) % tokens_per_image:
        raise ValueError(f"{len(ids)} ids are not a multiple of {tokens_per_image} per image")
    if ids.min() < 0 or ids.max() >= num_codes:
        raise ValueError(f"ids {ids.min()}..{ids.max()} are not codes 0..{num_codes - 1}")
    if len(ids) // tokens_per_image > 0xFFFF:
        raise ValueError(f"{len(ids)} ids are more than {0xFFFF} images")
    return ids.astype("<u2").reshape(-1, tokens_per_image)


def export_jsonl(
    shards: Shards,
    path: str | os.PathLike,
    progress: Callable[[int], None] = lambda sentences: None,
) -> None:
    """Writes shards as LVM's JSON lines; the inverse of `import_jsonl`, to the byte.

    Args:
        shards: the sentences.
        path: the file, which appears only when whole.
        progress: called with the number of sentences that were written.

    Raises:
        RuntimeError: the file cannot be written.
    """
    with atomic.writing(path) as partial, open(partial, "wb") as file:
        for start in range(0, len(shards), _EXPORTED_TOGETHER):
            part = np.arange(start, min(start + _EXPORTED_TOGETHER, len(shards)))
            file.write(b"".join(_line(ids) for ids in shards.read(part)))
            progress(len(part))


def _line(ids: np.ndarray) -> bytes:
    return b'{"tokens": "%s"}\n' % base64.b64encode(ids.astype("<i4").tobytes())


def _build_key(paths: Sequence[pathlib.Path], config: ImportConfig) -> str:
    """Changes with what the shards depend on, but for changes that leave a file its size."""
    about = dataclasses.asdict(config)
    del about["num_workers"], about["max_bad_lines"]
    files = [(name, path.stat().st_size) for path, name in zip(paths, line_files.names(paths))]
    text = json.dumps([VERSION, KIND, files, about], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _hash_of_finished(stretch: Stretch, about: dict[str, Any], out: str | os.PathLike) -> str:
    """The hash of the lines of a finished shard, if the file has them still."""
    # Imports that an older version began have no hash.
    if "sha256" in about and about["stamp"] == originals.stamp_of(stretch.path):
        return about["sha256"]
    found = line_files.hash_of_lines(stretch)
    if about.get("sha256", found) != found:
        raise ValueError(
            f"{stretch.path} has changed since shards in {os.fspath(out)} were made of it, though "
            f"its size is the same; put the old file back, or remove --out={os.fspath(out)}"
        )
    return found


def _make_again(
    writer: ShardsWriter,
    waiting: Sequence[Stretch],
    arguments: tuple,
    progress: Callable[[int, int], None],
) -> None:
    """Makes the shards that a finished directory lacks."""
    if not waiting:
        logging.info(
            "%s: everything is there already, nothing to do (a damaged shard is made again when "
            "its file is removed)",
            writer.directory,
        )
        return
    logging.warning(
        "%s was finished, but %d of its shards are missing or have another size (%s first); "
        "making them again",
        *(writer.directory, len(waiting), shard_name(waiting[0].number)),
    )
    moved = _counting(progress, 0, _num_bytes(waiting))
    for result in _run(waiting, arguments, moved):
        if result.refused:
            raise ValueError(
                f"{result.stretch.path} has more bad lines than --max_bad_lines="
                f"{arguments[2].max_bad_lines}; give the number that the shards were made with"
            )


def _num_bytes(stretches: Sequence[Stretch]) -> int:
    return sum(stretch.stop - stretch.start for stretch in stretches)


def _counting(progress: Callable[[int, int], None], done: int, total: int) -> Callable[[int], None]:
    """What `_run` calls with the bytes since the last call, so that `progress` gets all of them."""

    def moved(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        progress(done, total)

    return moved


def _require_unchanged(
    writer: ShardsWriter, paths: Sequence[pathlib.Path], stretches: Sequence[Stretch]
) -> None:
    """Refuses files that have changed since all of their shards were finished."""
    finished = (writer.directory / MANIFEST).stat().st_mtime_ns
    for path, about in zip(paths, writer.manifest["about"]["jsonl"], strict=True):
        status = path.stat()
        if "sha256" not in about or max(status.st_mtime_ns, status.st_ctime_ns) < finished:
            continue
        hashes = {s.number: line_files.hash_of_lines(s) for s in stretches if s.path == str(path)}
        if _hash_of_file(path, stretches, hashes) != about["sha256"]:
            raise ValueError(
                f"{path} has changed since {writer.directory} was made of it, though its size is "
                "the same; give another --out or remove it"
            )


def _hash_of_file(
    path: pathlib.Path, stretches: Sequence[Stretch], hashes: Mapping[int, str]
) -> str:
    parts = "".join(hashes[s.number] for s in stretches if s.path == str(path))
    return hashlib.sha256(parts.encode()).hexdigest()


def _open_writer(out: str, build_key: str, config: ImportConfig) -> ShardsWriter:
    return ShardsWriter(
        out,
        build_key=build_key,
        vocabulary=Vocabulary(num_codes=config.num_codes, num_special=config.num_special),
        tokens_per_image=config.tokens_per_image,
        tokenizer_fingerprint=config.tokenizer_fingerprint,
    )


def _run(
    stretches: Sequence[Stretch], arguments: tuple, moved: Callable[[int], None]
) -> Iterator[_Result]:
    """The results of stretches, in their order.

    Args:
        stretches: what is to be imported.
        arguments: for `_start_worker`.
        moved: called with the bytes that were done since the last call.
    """
    config = arguments[2]
    if config.num_workers == 1 or len(stretches) < 2:
        _start_worker(*arguments, moved)
        yield from map(_import_stretch, stretches)
        return
    context = multiprocessing.get_context("spawn")
    counter, reported = context.Value("q", 0), 0
    pool = concurrent.futures.ProcessPoolExecutor(
        min(config.num_workers, len(stretches)),
        mp_context=context,
        initializer=_start_worker,
        initargs=(*arguments, functools.partial(_add, counter)),
    )
    try:
        for future in [pool.submit(_import_stretch, stretch) for stretch in stretches]:
            waiting = True
            while waiting:
                waiting = concurrent.futures.wait([future], _SECONDS_PER_REPORT).not_done
                if (num_bytes := counter.value) > reported:
                    moved(num_bytes - reported)
                    reported = num_bytes
            yield future.result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise RuntimeError(
            "a process of the import died, perhaps for want of memory; the same command goes on, "
            "with fewer --num_workers if need be"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_worker: dict[str, Any] = {}  # what this process imports with


def _start_worker(
    out: str, build_key: str, config: ImportConfig, moved: Callable[[int], None]
) -> None:
    worker_processes.end_with_parent()
    _worker.update(writer=_open_writer(out, build_key, config), config=config, moved=moved)


def _add(counter: Any, number: int) -> None:
    with counter.get_lock():
        counter.value += number


class _TooManyBadLinesError(Exception):
    """Ends a stretch whose shard would be thrown away."""


def _import_stretch(stretch: Stretch) -> _Result:
    config, rejects, num_lines, moved = _worker["config"], [], 0, stretch.start
    # Taken before the lines: a change while they are read is noticed by the next run.
    stamp, digest = originals.stamp_of(stretch.path), hashlib.sha256()
    name = stretch.name

    def move_to(offset: int) -> None:
        nonlocal moved
        _worker["moved"](offset - moved)
        moved = offset

    def sentences() -> Iterator[Record]:
        nonlocal num_lines
        for offset, line in line_files.lines(stretch, digest):
            if offset - moved >= _BYTES_PER_REPORT:
                move_to(offset)
            try:
                if line is None:
                    raise ValueError(f"a line longer than {line_files.LONGEST_LINE} bytes")
                ids = parse_line(line, config.tokens_per_image, config.num_codes)
            except ValueError as error:
                rejects.append({"line": num_lines, "offset": offset, "reason": str(error)})
                if len(rejects) > config.max_bad_lines:
                    raise _TooManyBadLinesError from error
            else:
                source = name.removesuffix(".jsonl")
                yield Record(kind=KIND, source=source, key=f"{name}@{offset}", ids=ids)
            num_lines += 1

    def about() -> dict[str, Any]:
        sha256 = digest.hexdigest()
        return {"lines": num_lines, "rejects": rejects, "stamp": stamp, "sha256": sha256}

    try:
        _worker["writer"].write_shard(stretch.number, sentences(), about)
    except _TooManyBadLinesError:
        return _Result(stretch=stretch, rejects=rejects, refused=True)
    move_to(stretch.stop)
    sha256 = digest.hexdigest()
    return _Result(stretch=stretch, rejects=rejects, refused=False, sha256=sha256)


def _refuse(writer, config, stretches, rejects) -> None:
    _write_rejects(writer, stretches, rejects)
    number = min(number for number, found in rejects.items() if found)
    first, path = rejects[number][0], stretches[number].path
    raise ValueError(
        f"{path}, byte {first['offset']}: {first['reason']}; more than --max_bad_lines="
        f"{config.max_bad_lines} lines are bad, the first of them in {writer.directory / REJECTS}; "
        "mend the file or raise --max_bad_lines"
    )


def _refuse_empty(writer: ShardsWriter, stretches: Sequence[Stretch]) -> None:
    for stretch in stretches:
        if writer.read_notes(stretch.number)["names"]:
            return
    raise ValueError(f"{stretches[0].path} holds no good line; see {writer.directory / REJECTS}")


def _write_rejects(writer: ShardsWriter, stretches: Sequence[Stretch], rejects) -> int:
    """Lists the bad lines, numbered from 1 as far as all before them were counted.

    Returns:
        How many lines the files hold.
    """
    found, before, total, path = [], 0, 0, ""
    for stretch in stretches:
        if stretch.path != path:
            path, before = stretch.path, 0
        for reject in rejects.get(stretch.number, ()):
            line = None if before is None else before + reject["line"] + 1
            about = {"file": stretch.name, "line": line, "offset": reject["offset"]}
            found.append({**about, "reason": reject["reason"]})
        if before is None or not writer.finished(stretch.number):
            before = None
            continue
        lines = writer.read_notes(stretch.number)["about"]["lines"]
        before, total = before + lines, total + lines
    target = writer.directory / REJECTS
    if not found:
        target.unlink(missing_ok=True)
        return total
    atomic.write_text(target, "".join(json.dumps(reject) + "\n" for reject in found))
    return total

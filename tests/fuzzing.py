"""Altered files, as many as one likes: what the programs that fuzz pictures and clips share."""

import argparse
import contextlib
import faulthandler
import pathlib
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

Outcome = Callable[[pathlib.Path], str]
"""Reads a file in every way: "read" or "refused"; raises for anything else."""
Alter = Callable[[bytes, random.Random], bytes]

_MOST_SECONDS = 60
_MOST_BYTES = 8 << 30


def fuzz(
    kind: str,
    whole: Sequence[bytes],
    outcome: Outcome,
    alter: Alter,
    *,
    rounds: int,
    seed: int,
    folder: pathlib.Path,
) -> None:
    """Reads altered files of a format and prints what became of them.

    Args:
        kind: the format, which is the extension too.
        whole: files that can be read.
        outcome, alter: read and alter a file.
        rounds: altered files.
        seed: of what is altered.
        folder: for the files; one that ends otherwise stays there.

    Raises:
        AssertionError: one of `whole` cannot be read.
        BaseException: whatever `outcome` raises.
    """
    random_ = random.Random(f"{seed} {kind}")
    counts, slowest = {"read": 0, "refused": 0}, 0.0

    def path_of(number: int) -> pathlib.Path:
        # Some facts are remembered by name, size and time.
        return folder / f"{number}.{kind.lower()}"

    for number, data in enumerate(whole):
        path_of(-number).write_bytes(data)
        assert outcome(path_of(-number)) == "read", f"{kind} {number} is not whole"
        path_of(-number).unlink()
    for number in range(rounds):
        path = path_of(number)
        path.write_bytes(alter(random_.choice(whole), random_))
        start = time.monotonic()
        try:
            with _watched():
                counts[outcome(path)] += 1
        except BaseException:
            print(f"{kind}: round {number} of seed {seed} ended otherwise; it is kept as {path}")
            raise
        slowest = max(slowest, time.monotonic() - start)
        path.unlink()
    print(
        f"{kind:9} {rounds} altered: {counts['read']} read, {counts['refused']} refused, 0 "
        f"otherwise; slowest {slowest:.2f} s",
        flush=True,
    )


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Ends the process, with what it was doing, when the block takes too long."""
    faulthandler.dump_traceback_later(_MOST_SECONDS, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def main(
    description: str,
    valid_files: Callable[[pathlib.Path], Mapping[str, Sequence[bytes]]],
    outcome: Outcome,
    alter: Alter,
) -> None:
    """The command line of such a program.

    Args:
        description: for --help.
        valid_files: folder to work in -> files of each format that can be read.
        outcome, alter: see `fuzz`.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300, help="altered files of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="*", help="only these")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    faulthandler.enable()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fuzz."))
    for kind, whole in valid_files(folder).items():
        if not options.formats or kind in options.formats:
            how = {"rounds": options.rounds, "seed": options.seed, "folder": folder}
            fuzz(kind, whole, outcome, alter, **how)
    folder.rmdir()

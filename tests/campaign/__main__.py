"""A campaign of faults against training: kills, signals, damaged files, full disks, second starts.

    python -m tests.campaign --rounds=40 --seed=0

Every round trains a toy transformer or tokenizer on one or two processes, with or without loader
processes. It is disturbed a few times at random moments, each time the same command is given again,
and at last it may finish. What is left must be what an undisturbed training left: bitwise the same
metrics and evaluations, each once, and the same parameters; and nothing else: no process, no shared
memory. On the way every process must end with an allowed code, in time, and say why in its last
line. The folder of a round that went wrong stays. --only=kill,signal takes some of the faults.
"""

import argparse
import collections
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from tests.campaign import outcome
from tests.campaign.faults import DAMAGES, FAULTS, FEWEST_STEPS, WEIGHTS
from tests.campaign.toy_training import (
    TOOLS,
    DifferenceError,
    ToyTraining,
    prepare,
    require_codes,
    wait_for_all,
)


def finish(training: ToyTraining) -> outcome.Result:
    """Lets a training run to its end undisturbed.

    Raises:
        DifferenceError: it does not.
    """
    running = training.start()
    wait_for_all(training, running, 300)
    require_codes(training, running, {0})
    return outcome.result(training.workdir)


def run_round(
    root: pathlib.Path,
    name: str,
    draw: random.Random,
    only: Sequence[str],
    references: Callable[[str, int], outcome.Result],
) -> str:
    """One round; returns what was done.

    Raises:
        DifferenceError: what must hold does not.
    """
    kind, processes = draw.choice(list(TOOLS)), draw.choice([1, 2])
    expected = references(kind, processes)
    training = ToyTraining(root, root / name, kind, processes)
    done = [f"{kind}, {processes} process(es)"]
    shared_memory = outcome.shared_memory()
    try:
        for _ in range(draw.randint(1, 4)):
            training.num_workers = draw.choice([0, 0, 1]) if kind == "transformer" else 0
            # There must be files to damage.
            written = training.steps_done() >= FEWEST_STEPS
            usable = [name for name in only if written or name not in DAMAGES]
            if not usable:
                break
            fault = draw.choices(usable, [WEIGHTS.get(name, 1) for name in usable])[0]
            done.append(fault)
            done[-1] += f": {FAULTS[fault](training, draw)}"
            outcome.require_nothing_left(training, shared_memory)
        training.num_workers = 0
        outcome.require_equal(finish(training), expected)
        outcome.require_nothing_left(training, shared_memory)
    except (DifferenceError, OSError, ValueError) as error:
        raise DifferenceError(f"{'; '.join(done)}; then {error} (see {training.folder})") from error
    shutil.rmtree(training.folder)
    return "; ".join(done)


def campaign(
    root: pathlib.Path,
    rounds: int,
    seed: int,
    only: Sequence[str],
    say: Callable[[str], None],
    first: int = 0,
) -> int:
    """Runs the rounds; returns how many went wrong.

    Args:
        root: an empty folder.
        rounds: how many.
        seed: of everything that is drawn.
        only: names in `FAULTS`.
        say: is told about every round.
        first: number of the first round; each depends on the seed and its number alone.
    """
    prepare(root)
    known: dict[tuple[str, int], outcome.Result] = {}

    def references(kind: str, processes: int) -> outcome.Result:
        if (kind, processes) not in known:
            straight = ToyTraining(root, root / f"straight-{kind}-{processes}", kind, processes)
            known[kind, processes] = finish(straight)
        return known[kind, processes]

    wrong, counts = 0, collections.Counter()
    for number in range(first, first + rounds):
        draw, begun = random.Random(f"{seed} {number}"), time.monotonic()
        try:
            text, verdict = run_round(root, f"round{number}", draw, only, references), "same"
        except DifferenceError as error:
            wrong, text, verdict = wrong + 1, str(error), "DIFFERENT"
        counts.update(part.split(":")[0] for part in text.split("; ")[1:])
        say(f"round {number} ({time.monotonic() - begun:.0f} s) {verdict}: {text}")
    faults = ", ".join(f"{counts[fault]} {fault}" for fault in only)
    say(f"seed {seed}: {rounds} rounds, {wrong} different; faults: {faults}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=40, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of every draw; default: %(default)s")
    parser.add_argument("--first", type=int, default=0, help="round to begin with")
    parser.add_argument("--only", default=",".join(FAULTS), help="faults; default: %(default)s")
    parser.add_argument("--folder", help="to work in; default: a temporary one")
    arguments = parser.parse_args()
    only = arguments.only.split(",")
    if unknown := set(only) - FAULTS.keys():
        parser.error(f"--only={','.join(sorted(unknown))}: use some of {', '.join(FAULTS)}")
    folder = pathlib.Path(arguments.folder or tempfile.mkdtemp(prefix="faults-")).absolute()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
    say = lambda text: print(text, flush=True)
    wrong = campaign(folder, arguments.rounds, arguments.seed, only, say, arguments.first)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()

"""One toy training in a folder of its own, started as often as it takes."""

import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence

from tests import quick_compilation, toys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = {"transformer": "train.py", "tokenizer": "train_tokenizer.py"}
MARK = "TOY_TRAINING_FOLDER"
NUM_STEPS = 60
JOIN_SECONDS = 40  # that the processes of a run wait for each other
_LOOP = {
    "num_steps": NUM_STEPS,
    "log_every": 1,
    "checkpoint_every": 5,
    "eval_every": 7,
    "keep_checkpoints": 3,
}
_TRANSFORMER = """
def get_config():
    data = {{"shards": {root!r} + "/shards", "context": 16}}
    return {{
        "batch_size": 8,
        "data": data,
        "eval_data": {{**data, "shards": {root!r} + "/held_out"}},
        "model": {{"preset": "debug"}},
        "optimizer": {{"peak_lr": 1e-2, "warmup_steps": 2}},
        "loop": {loop},
    }}
"""
_TOKENIZER = """
def get_config():
    sources = {{
        "single": {{
            "kind": "single", "folder": {root!r} + "/pictures", "crop": (0.5, 1.0), "flip": True
        }}
    }}
    return {{
        "batch_size": 4,
        "corpus": {{"sources": sources, "epochs": 2}},
        "eval_corpus": {{"sources": sources}},
        "eval_images": 3,
        "tokenizer": {{
            "preset": "debug", "patch_size": 4, "dim_multipliers": (1,), "encoder_blocks": (1,),
            "decoder_blocks": (1,), "num_mid_blocks": 0,
        }},
        "mesh": {{"data": 1, "fsdp": -1, "tensor": 1}},
        "training": {{"codebook": "ema", "restart_after": 4, "generator_weight": 0.0}},
        "optimizer": {{"peak_lr": 1e-3, "warmup_steps": 1}},
        "loop": {loop},
    }}
"""


class DifferenceError(AssertionError):
    """Something that must hold after a fault does not."""


def prepare(root: pathlib.Path) -> None:
    """Writes data and experiments for all rounds."""
    toys.write_shards(root / "shards")
    toys.write_shards(root / "held_out", seed=1, num_sentences=20)
    toys.write_pictures(root / "pictures", 6)
    for name, text in {"transformer": _TRANSFORMER, "tokenizer": _TOKENIZER}.items():
        (root / f"{name}.py").write_text(text.format(root=str(root), loop=_LOOP))


class ToyTraining:
    """A folder and the command that trains there.

    Attributes:
        kind: "transformer" or "tokenizer".
        processes: of the run.
        num_workers: loader processes of each of them.
        folder, workdir: everything, and the run's own.
    """

    def __init__(self, root: pathlib.Path, folder: pathlib.Path, kind: str, processes: int):
        self.kind, self.processes, self.num_workers = kind, processes, 0
        self.folder, self.workdir = folder, folder / "run"
        self._config, self._starts = root / f"{kind}.py", 0
        self._copying: list[threading.Thread] = []
        folder.mkdir(parents=True)

    def twin(self) -> "ToyTraining":
        """Another one on the same workdir."""
        other = ToyTraining(
            *(self._config.parent, self.folder / f"twin{self._starts}", self.kind, self.processes)
        )
        other.workdir = self.workdir
        return other

    def start(self, limit: int | None = None) -> list[subprocess.Popen]:
        """Starts all processes; files of process 0 may grow to `limit` bytes."""
        self._starts += 1
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return [self._start(process, port, limit) for process in range(self.processes)]

    def _start(self, process: int, port: int, limit: int | None) -> subprocess.Popen:
        command = [sys.executable, str(ROOT / "tools" / TOOLS[self.kind])]
        command += [f"--config={self._config}", f"--workdir={self.workdir}"]
        if self.num_workers:
            command.append(f"--config.data.num_workers={self.num_workers}")
        if self.processes > 1:
            section = "--config.distributed"
            command += [f"{section}.mode=explicit", f"{section}.num_processes={self.processes}"]
            command += [f"{section}.coordinator_address=127.0.0.1:{port}"]
            command += [f"{section}.process_id={process}", f"{section}.timeout={JOIN_SECONDS}"]

        # Not into a file: it would count as one that must not grow.
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment(),
        )
        self._keep(started, self.log(process))
        if limit is not None and process == 0:
            resource.prlimit(started.pid, resource.RLIMIT_FSIZE, (limit, limit))
        return started

    def _environment(self) -> dict[str, str]:
        # One device a process, whatever the caller's environment says, and compiled once for all.
        # The mark is inherited, so that whatever the processes leave behind is found by it.
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
        environment["XLA_FLAGS"] = quick_compilation.added_to()
        environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
        return {**environment, MARK: str(self.folder)}

    def _keep(self, started: subprocess.Popen, log: pathlib.Path) -> None:
        """Copies what a process writes, until nobody can write any more."""

        def copy() -> None:
            with started.stdout, log.open("wb") as file:
                while text := started.stdout.read1():
                    file.write(text)
                    file.flush()

        self._copying = [thread for thread in self._copying if thread.is_alive()]
        self._copying.append(threading.Thread(target=copy, daemon=True))
        self._copying[-1].start()

    def children(self, running: Sequence[subprocess.Popen]) -> list[int]:
        """Ids of the processes that the processes of a run have started, in the order of age."""
        started = {process.pid for process in running}
        children: list[int] = []
        for path in sorted(pathlib.Path("/proc").glob("[0-9]*/stat"), key=_process_id):
            try:
                parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue  # ended meanwhile
            if parent in started or parent in children:
                children.append(_process_id(path))
        return children

    def log(self, process: int) -> pathlib.Path:
        """Where a process of the last start writes."""
        return self.folder / f"start{self._starts}-process{process}.log"

    def last_line(self, process: int) -> str:
        """The last line that a process of the last start wrote, which has ended."""
        for thread in self._copying:
            thread.join(5)
        text = self.log(process).read_bytes().decode(errors="replace").replace("\r", "\n")
        return ([""] + [line for line in text.splitlines() if line.strip()])[-1].strip()

    def steps_done(self) -> int:
        """The step of the last whole line of metrics, 0 when there is none."""
        try:
            text = (self.workdir / "metrics.jsonl").read_bytes()
        except OSError:
            return 0
        steps = [0]
        for line in text.splitlines(keepends=True):
            if line.endswith(b"\n"):
                try:
                    steps.append(json.loads(line)["step"])
                except ValueError:
                    continue
        return max(steps)


def _process_id(path: pathlib.Path) -> int:
    return int(path.parent.name)


def wait_for_all(
    training: ToyTraining, running: Sequence[subprocess.Popen], seconds: float
) -> None:
    """Waits until every process has ended.

    Raises:
        DifferenceError: one has not; it is killed.
    """
    deadline = time.monotonic() + seconds
    for number, process in enumerate(running):
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            for other in running:
                other.kill()
                other.wait()
            raise DifferenceError(
                f"process {number} still ran {seconds:.0f} s after the fault; last line: "
                f"{training.last_line(number)}"
            ) from None


def require_codes(
    training: ToyTraining,
    running: Sequence[subprocess.Popen],
    allowed: Collection[int],
    killed: Collection[int] = (),
) -> None:
    """Every process ended with an allowed code, those that failed with a line of the tool's own.

    Raises:
        DifferenceError: one did not; says how, and its last line.
    """
    for number, process in enumerate(running):
        code, line = process.returncode, training.last_line(number)
        if number in killed and code == -signal.SIGKILL:
            continue
        if code not in allowed:
            raise DifferenceError(
                f"process {number} ended with {code}, not {sorted(allowed)}: {line}"
            )
        if code and not line.startswith(f"{TOOLS[training.kind]}: "):
            raise DifferenceError(
                f"process {number} ended with {code}, but its last line is: {line}"
            )

"""Whose a workdir is while a run goes on: the mark workdir/in_use.json.

One run of several processes is one owner. A mark whose owner is gone is taken over: on the same
machine when that process is no more, on another one when it has not shown itself for some minutes.
On a store there are no locks: of several runs that find no mark, one makes it; of several that find
the mark of an owner who is gone, the last wins and `require` stops the others before they save.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import pathlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator

from absl import logging

from lvm_jax import atomic
from lvm_jax.distributed import member
from lvm_jax.storage import paths
from lvm_jax.storage.patience import StoreError
from lvm_jax.training.workdir import cannot_write

FILE = "in_use.json"
STALE_SECONDS = 180.0
"""An owner on another machine that has not touched its mark for so long is gone."""
_TOUCH_EVERY = 20.0
_LOOK_SECONDS = 5.0  # that a network's file system may take to show a new file elsewhere


@dataclasses.dataclass(frozen=True, kw_only=True)
class Owner:
    """A process that has, or had, a workdir: the one that was started.

    Attributes:
        host, pid: which process.
        machine: the boot and the process table that `pid` belongs to; "" where unknown.
        begun: when the process began, in ticks of its machine; "" where unknown.
        since: when it took the workdir.
        token: of this mark alone.
    """

    host: str
    pid: int
    machine: str
    begun: str
    since: str
    token: str

    @classmethod
    def this_process(cls) -> "Owner":
        pid = member.started_pid()
        return cls(
            host=socket.gethostname(),
            pid=pid,
            machine=_machine(),
            begun=_begun(pid) or "",
            since=datetime.datetime.now().astimezone().isoformat(" ", "seconds"),
            token=secrets.token_hex(8),
        )

    def __str__(self):
        return f"process {self.pid} on {self.host} since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether `pid` means the same on this machine."""
        return (self.host, self.machine) == (socket.gethostname(), _machine())

    def is_gone(self, silent_seconds: float) -> bool:
        """Whether nobody works in the workdir any more."""
        if not self.is_here:
            return silent_seconds > STALE_SECONDS
        begun = _begun(self.pid)
        # Another process may have got the same number since.
        return begun is None or begun != self.begun


@contextlib.contextmanager
def claim(workdir: pathlib.Path) -> Iterator[Owner]:
    """Makes a workdir this run's while the block runs; all processes of the run call it.

    Args:
        workdir: made when missing.

    Yields:
        The run's owner of the workdir, for `require`.

    Raises:
        ValueError: another run is using it, it cannot be written, or it is not one directory for
            all processes.
    """
    workdir = paths.path(workdir).absolute()
    with contextlib.ExitStack() as stack:
        mine = None
        if member.index() == 0:
            mine = _take(workdir)
            stack.callback(release, workdir, mine.pid)
            stack.enter_context(_touching(workdir / FILE, mine))
        first = member.share(
            "the workdir", mine and {"owner": dataclasses.asdict(mine), "path": str(workdir)}
        )
        owner = mine or Owner(**first["owner"])
        if not _shows(workdir, owner):
            raise ValueError(
                f"workdir {workdir} of process {member.index()} is not the same directory as "
                f"{first['path']} of process 0; give all processes the same shared one"
            )
        member.share("the same workdir")
        yield owner


def require(workdir: pathlib.Path, owner: Owner) -> None:
    """Makes sure that nobody else has taken the workdir.

    Raises:
        RuntimeError: somebody has, because this run was silent for too long.
    """
    now = read(workdir)
    if now is not None and now.token != owner.token:
        raise RuntimeError(
            f"workdir {workdir} was taken over by {now}, because this run did not show itself "
            f"for {STALE_SECONDS:.0f} s; only one of them can go on"
        )


def release(workdir: pathlib.Path, pid: int) -> None:
    """Removes the mark of a process of this machine, if it is there."""
    with contextlib.suppress(OSError):
        owner = read(workdir)
        if owner is not None and owner.is_here and owner.pid == pid:
            (paths.path(workdir) / FILE).unlink()


def read(workdir: pathlib.Path) -> Owner | None:
    """Whose a workdir is; None when it is nobody's."""
    try:
        return Owner(**json.loads((paths.path(workdir) / FILE).read_text(encoding="utf-8")))
    except StoreError:
        raise  # a store that is asked in vain has said nothing about owners
    except (OSError, ValueError, TypeError):  # TypeError: of another version, or damaged
        return None


def _take(workdir: pathlib.Path) -> Owner:
    mark, mine = workdir / FILE, Owner.this_process()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with _alone(workdir):
            owner = read(workdir)
            if owner is not None:
                silent = time.time() - mark.stat().st_mtime
                if not owner.is_gone(silent):
                    raise ValueError(_refusal(workdir, owner, silent))
                logging.info("%s was in use by %s, which is gone; taken over", workdir, owner)
            _make_mark(workdir, mine, replace=owner is not None)
    except OSError as error:
        raise cannot_write(workdir, error) from error
    return mine


def _make_mark(workdir: pathlib.Path, mine: Owner, *, replace: bool) -> None:
    content = dataclasses.asdict(mine)
    if (stored := paths.store_path(workdir / FILE)) is None:
        atomic.write_json(workdir / FILE, content)
        return
    if replace:
        stored.unlink(missing_ok=True)
    try:
        stored.write_bytes(json.dumps(content).encode(), create=True)
    except FileExistsError as error:
        owner = read(workdir)
        if owner is None:
            raise ValueError(f"{stored} cannot be read; remove it if no run is going on") from error
        # A request that was made again after a torn connection finds what it has written.
        if owner != mine:
            raise ValueError(_refusal(workdir, owner, 0.0)) from error


def _refusal(workdir: pathlib.Path, owner: Owner, silent_seconds: float) -> str:
    remedy = "stop that run, or choose another workdir"
    if not owner.is_here:
        remedy += (
            f"; it showed itself {max(silent_seconds, 0):.0f} s ago, and after "
            f"{STALE_SECONDS:.0f} s of silence the workdir is free"
        )
    return f"workdir {workdir} is in use by {owner}; {remedy}"


@contextlib.contextmanager
def _alone(workdir: pathlib.Path) -> Iterator[None]:
    """Lets one process of a machine in at a time, or of all machines where the disk can do that."""
    if paths.store_path(workdir):
        yield
        return
    folder = os.open(workdir, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextlib.contextmanager
def _touching(mark: pathlib.Path, owner: Owner) -> Iterator[None]:
    """Shows now and then that the owner lives."""
    ended = threading.Event()

    def touch() -> None:
        while not ended.wait(_TOUCH_EVERY):
            with contextlib.suppress(OSError):
                if (stored := paths.store_path(mark)) is None:
                    os.utime(mark)
                elif read(mark.parent) == owner:
                    stored.write_bytes(json.dumps(dataclasses.asdict(owner)).encode())

    thread = threading.Thread(target=touch, name="in use", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _shows(workdir: pathlib.Path, owner: Owner) -> bool:
    """Whether the mark of `owner` is found here, perhaps a little later."""
    deadline = time.monotonic() + _LOOK_SECONDS
    while (mark := read(workdir)) is None or mark.token != owner.token:
        # A folder without any mark may only be late; another owner's mark is another folder's.
        if mark is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _machine() -> str:
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _begun(pid: int) -> str | None:
    """When a process began; None when there is none, or only what is left of a dead one."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None if _machine() or not _exists(pid) else ""
    # After the name in parentheses, which may hold anything: state first, begin twentieth.
    values = text.rpartition(")")[2].split()
    return None if values[0] in "ZX" else values[19]


def _exists(pid: int) -> bool:
    """Without /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True

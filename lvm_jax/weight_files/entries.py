"""Where in a checkpoint a network is.

Trainers put a network's weights under entries ("state_dict", "model", "ema") and prefixes
("module.", "_orig_mod.", "first_stage_model."), beside optimizers, losses and other networks. None
of these names has to be known: a place is wherever the network's own names are found.
"""

import collections
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Mapping

from lvm_jax.weight_files.stored_arrays import SEPARATOR

# Wrappers of torch that put themselves between a module and its parts.
_WRAPPER = re.compile(
    r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
# Entries that hold running averages of the weights.
_AVERAGE = re.compile(r"(?:^|[^a-z])(?:ema|swa|avg|averaged?|polyak|shadow)(?:$|[^a-z])")
# Entries in which an optimizer keeps what looks like the weights and is not.
_MOMENTS = re.compile(
    r"(?:^|\.)(?:opt_state|mu|nu|trace|exp_avg(?:_sq)?|grads?|gradients?|momentum(?:_buffer)?)\."
)


@dataclasses.dataclass(frozen=True)
class Place:
    """A place with at least one of a network's names.

    Attributes:
        prefix: what stands before the network's names, with its separator; "" at the top.
        names: the network's name -> the file's.
    """

    prefix: str
    names: Mapping[str, str]

    @property
    def entry(self) -> str:
        """The prefix as a user gives it."""
        return self.prefix.strip("./")

    @property
    def holds_moments(self) -> bool:
        """Whether an optimizer's state is here."""
        return _MOMENTS.search(dotted(self.prefix).lower()) is not None

    def rank(self) -> tuple:
        """Averages come first, then the place nearest to the top, then the alphabet."""
        plain = dotted(self.prefix).lower()
        return (_AVERAGE.search(plain) is None, plain.count("."), self.prefix)


def dotted(name: str) -> str:
    """A name with one separator for all, and as long as before."""
    return name.replace(SEPARATOR, ".")


def own_name(prefix: str, name: str) -> str | None:
    """What a file's name is within a place, dotted; None for a name elsewhere."""
    if not name.startswith(prefix):
        return None
    rest = dotted(name[len(prefix) :])
    # What a wrapper begins belongs to the prefix, which is then another one.
    return None if _WRAPPER.match(rest) else _WRAPPER.sub("", rest)


def spellings(names: Iterable[str], older: Mapping[str, str]) -> dict[str, str]:
    """What a network's parameters may be called, dotted, -> their names.

    Args:
        names: the names.
        older: name -> how it was spelled before, where that differs.
    """
    name_of = {}
    for name in names:
        # A common average of torch's (LitEma) takes the dots out of the names it keeps.
        name_of[dotted(name).replace(".", "")] = name
        name_of[dotted(older.get(name, name))] = name
        name_of[dotted(name)] = name
    return name_of


def find(names: Iterable[str], identify: Callable[[str], str | None]) -> list[Place]:
    """The places of a network, the fullest first, then by `Place.rank`.

    Args:
        names: all names of a file.
        identify: the network's own name for a dotted one; None for one that is not its.
    """
    names_at: dict[str, dict[str, str]] = collections.defaultdict(dict)
    for name in sorted(names):
        for start in [0] + [match.end() for match in re.finditer(r"\.", dotted(name))]:
            inside = own_name(name[:start], name)
            own = identify(inside) if inside else None
            if own is not None:
                names_at[name[:start]].setdefault(own, name)
    places = [Place(prefix, own_names) for prefix, own_names in names_at.items()]
    return sorted(places, key=lambda place: (-len(place.names), place.rank()))


def outline(names: Iterable[str], most: int = 5) -> str:
    """Names in at most a few groups with their sizes: "state_dict/loss. (12), steps"."""
    groups = [list(names)]
    while True:
        largest = max(groups, key=len)
        parts = _split(largest)
        if len(parts) < 2 or len(groups) - 1 + len(parts) > most:
            break
        place = groups.index(largest)
        groups[place : place + 1] = parts
    return ", ".join(
        f"{group[0][: _shared_length(group)]} ({len(group)})" if len(group) > 1 else group[0]
        for group in groups
    )


def _shared_length(names: list[str]) -> int:
    """Characters of the whole parts that all names begin with."""
    first, last = min(map(dotted, names)), max(map(dotted, names))
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last))
    return first.rfind(".", 0, sum(1 for _ in same)) + 1


def _split(names: list[str]) -> list[list[str]]:
    """The names by the first part in which they differ, in their order."""
    start = _shared_length(names)
    groups = collections.defaultdict(list)
    for name in names:
        groups[dotted(name)[start:].split(".")[0]].append(name)
    return list(groups.values())

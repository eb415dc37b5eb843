"""A progress bar for terminals and for log files."""

import sys
import time
from typing import Any

import tqdm

_SECONDS_BETWEEN_LINES = 30.0


class Bar(tqdm.tqdm):
    """tqdm's bar on stderr; where that is no terminal, a whole line now and then.

    A moving bar is one endless line of a log file, which no two messages can share. There, what has
    been done is written every thirty seconds at most, and in the end if that is something new.
    """

    def __init__(self, *arguments: Any, **options: Any):
        """Takes what `tqdm.tqdm` takes."""
        self._moves = sys.stderr.isatty()
        self._written = (options.get("initial", 0), time.monotonic())
        super().__init__(*arguments, dynamic_ncols=True, leave=self._moves, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draws the bar; as `leave` is off for a log file, an empty `msg` is its end."""
        if self._moves:
            return super().display(msg, pos)
        done, seconds = self._written
        # Between them a line may say the same: that it goes on, and since when.
        late = time.monotonic() - seconds >= _SECONDS_BETWEEN_LINES
        if self.n != done if msg == "" else late:
            self._written = (self.n, time.monotonic())
            self.fp.write(f"{self}\n")
            self.fp.flush()
        return False

    def clear(self, *arguments: Any, **options: Any) -> None:
        """Makes room for a log line, for which a log file has room."""
        if self._moves:
            super().clear(*arguments, **options)

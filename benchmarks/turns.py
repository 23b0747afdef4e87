"""Several benchmarks at once on one device: all compile together, each is timed alone."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def turn(file: Path | None) -> Iterator[None]:
    """Alone among the processes that were given the same file; None: at once."""
    if file is None:
        yield
        return
    with open(file, "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield

"""A run folder belongs to one process at a time, by a lock on the file FOLDER.lock beside it."""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepcrl.config import ConfigError


@contextmanager
def held(run_dir: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a run folder, which need not exist yet. It is released however the process ends.

    Args:
        wait: wait for another process to release it, rather than fail.

    Raises:
        ConfigError: when another process has the folder, or the file beside it cannot be written.
    """
    whole = run_dir.resolve()  # "." has no name to make the lock file's from
    path = whole.with_name(f"{whole.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a")  # noqa: SIM115
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise ConfigError(f"{str(run_dir)!r} is being trained by another process") from None
            print(f"waiting for another process that trains {run_dir.name}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # a file system without locks
            print(f"warning: {path} cannot be locked: {error.strerror}", file=sys.stderr, flush=True)
        yield

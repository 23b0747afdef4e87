"""Writing files: whole or not at all, and errors that say which file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_file(path: Path, content: str) -> Path:
    """Write beside and rename, so that a reader meets the old file or the new one, never half of one.

    Raises:
        OSError: that names the file; the old one stays, and nothing beside it.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        with names(path), open(draft, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return path


@contextmanager
def names(path: Path) -> Iterator[None]:
    """Errors of writing an open file, as on a full disk, name no file: inside, they name this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise

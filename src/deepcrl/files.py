"""Writing files: whole or not at all, and errors that say which file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_file(path: Path, content: str) -> Path:
    """Write a draft beside `path` and rename it, so that a reader sees the old file or the new one, never a part.

    Raises:
        OSError: names the file; the old one stays and the draft is removed.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        with naming(path), open(draft, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add `path` to an OSError of the block that names no file, as when writing to an open one fails."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise

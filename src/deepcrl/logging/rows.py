"""metrics.jsonl: one JSON object per evaluation. Appended whole, cut back when a run resumes from before its end."""

import json
import math
import os
from pathlib import Path
from typing import Any

from deepcrl.config import ConfigError
from deepcrl.files import naming, replace_file

FILE = "metrics.jsonl"


def append(run_dir: Path, row: dict[str, Any]) -> None:
    """Add a row and force it to disk. Numbers that JSON lacks (NaN, infinities) are written as null."""
    clean = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
    with naming(run_dir / FILE), open(run_dir / FILE, "a") as file:
        file.write(json.dumps(clean) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(run_dir: Path) -> list[dict[str, Any]]:
    """All whole rows; a last line that was cut off while being written is left out.

    Raises:
        ConfigError: for any other line that is no row: other damage is not repaired.
    """
    return [row for _, row in _lines(run_dir / FILE)]


def cut(run_dir: Path, env_steps: int) -> list[dict[str, Any]]:
    """Drop the rows after `env_steps`, atomically, and return the others. Raises as `read` does, changing nothing."""
    path = run_dir / FILE
    kept = [(line, row) for line, row in _lines(path) if row["env_steps"] <= env_steps]
    content = b"".join(line + b"\n" for line, _ in kept)
    if path.exists() and path.read_bytes() != content:
        replace_file(path, content.decode())
    return [row for _, row in kept]


def broken(row: dict[str, Any]) -> list[str]:
    """Names of a row's training metrics that are not finite, or null as read back: then training has diverged."""
    return [name for name, value in row.items() if name.startswith("train/") and not _finite(value)]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Every row with its line."""
    if not path.exists():
        return []
    *lines, last = path.read_bytes().split(b"\n")
    found = [(line, _row(path, number, line)) for number, line in enumerate(lines, 1)]
    if not last or _is_cut_off(last):
        return found
    return [*found, (last, _row(path, len(lines) + 1, last))]


def _is_cut_off(last: bytes) -> bool:
    """Whether a last line without newline is the beginning of a row; rows are ASCII."""
    try:
        json.loads(last.decode("ascii"))
    except UnicodeDecodeError:
        return False
    except ValueError:
        return last.startswith(b"{")
    return False


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode())
    except ValueError as error:
        raise ConfigError(f"{path}: line {number} is damaged; it is not JSON") from error
    if not isinstance(row, dict) or type(row.get("env_steps")) is not int:
        raise ConfigError(f"{path}: line {number} is no row; it has no whole number env_steps")
    return row

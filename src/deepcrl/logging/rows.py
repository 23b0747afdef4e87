"""metrics.jsonl: one JSON object per evaluation. Appended whole, cut back when a run resumes from before its end."""

import json
import math
import os
from pathlib import Path
from typing import Any

FILE = "metrics.jsonl"


def append(run_dir: Path, row: dict[str, Any]) -> None:
    """Add a row and force it to disk. Numbers that JSON lacks (NaN, infinities) are written as null."""
    clean = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
    with open(run_dir / FILE, "a") as file:
        file.write(json.dumps(clean) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(run_dir: Path) -> list[dict[str, Any]]:
    """All whole rows; a last line that was cut off while being written is left out."""
    path = run_dir / FILE
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def cut(run_dir: Path, env_steps: int) -> list[dict[str, Any]]:
    """Keep the rows up to `env_steps` only, atomically, and return them."""
    kept = [row for row in read(run_dir) if row["env_steps"] <= env_steps]
    draft = run_dir / f"{FILE}.draft"
    draft.write_text("".join(json.dumps(row) + "\n" for row in kept))
    draft.replace(run_dir / FILE)
    return kept

"""Checkpoints of a run's whole state: Orbax for the arrays, a manifest of digests, one atomic rename.

    checkpoints/0000000120/arrays/...     written by Orbax
    checkpoints/0000000120/manifest.json  counters, score, a digest of every file and one of itself: written last

A folder with a manifest whose digests all match is whole. Any other is damaged: `newest` skips it with a warning.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

MANIFEST = "manifest.json"


class CheckpointError(RuntimeError):
    """No usable checkpoint, or one that does not fit the run."""


def save(folder: Path, step: int, state: Any, info: dict[str, Any], *, score: float | None, keep: int) -> Path:
    """Write `state` (a pytree of arrays) and `info` (JSON) as checkpoint `step`; prune the older ones.

    The newest `keep` checkpoints and the one with the highest score stay. A checkpoint of the same step is replaced.

    Args:
        score: of the state's agent; None when it was not evaluated.

    Raises:
        CheckpointError: when it cannot be written, as on a full disk; the others stay as they are.
    """
    try:
        return _write(folder, step, state, info, score, keep)
    except (OSError, ValueError, RuntimeError) as error:  # on a full disk Orbax raises errors of its own
        shutil.rmtree(folder / f"draft-{step:010d}", ignore_errors=True)
        raise CheckpointError(f"checkpoint {step} cannot be written to {folder}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """A short reason: the operating system's message, if Orbax's error contains one."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if code := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(code[1]))
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Orbax's threads, which on a full disk print hundreds of lines besides raising the error."""
    log, hook = logging.getLogger("absl"), sys.excepthook
    level = log.level
    log.setLevel(logging.CRITICAL)
    sys.excepthook = lambda *_: None
    try:
        yield
    finally:
        log.setLevel(level)
        sys.excepthook = hook


def _write(folder: Path, step: int, state: Any, info: dict[str, Any], score: float | None, keep: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    final, draft = folder / f"{step:010d}", folder / f"draft-{step:010d}"
    shutil.rmtree(draft, ignore_errors=True)
    names, leaves = _flatten(state)
    with _quiet(), ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(
            (draft / "arrays").absolute(),  # Orbax refuses relative paths
            dict(zip(names, leaves, strict=True)),
        )
    paths = [path for path in sorted(draft.rglob("*")) if path.is_file()]
    with ThreadPoolExecutor() as pool:  # digests take most of the time of saving a large replay
        files = {
            str(path.relative_to(draft)): digest for path, digest in zip(paths, pool.map(_digest, paths), strict=True)
        }
    manifest = {"step": step, "score": score, "info": info, "files": files}
    with open(draft / MANIFEST, "w") as file:
        json.dump({**manifest, "seal": _seal(manifest)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    if final.exists():
        final.rename(folder / f"draft-replaced-{step:010d}")  # faster than removing it: neither exists meanwhile
    draft.rename(final)
    _sync(folder)
    _prune(folder, step, keep)
    return final


def steps(folder: Path) -> list[int]:
    """Steps of all checkpoints, damaged ones included, in rising order."""
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit())


def warn_aloud(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


def newest(folder: Path, warn: Callable[[str], None] = warn_aloud) -> int:
    """The newest whole checkpoint's step; damaged newer ones are reported to `warn`.

    Raises:
        CheckpointError: when there is none.
    """
    for step in reversed(steps(folder)):
        problem = damage(folder, step)
        if problem is None:
            return step
        warn(f"checkpoint {step} is damaged ({problem}); trying the one before it")
    raise CheckpointError(f"no usable checkpoint in {folder}")


def best(folder: Path) -> int:
    """The step of the whole checkpoint with the highest score; the newest of equals.

    Raises:
        CheckpointError: when no whole checkpoint is of an agent that was evaluated.
    """
    return _best_of(folder, steps(folder), read=True)


def _best_of(folder: Path, known: Sequence[int], *, read: bool) -> int:
    scores = {}
    for step in known:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            score = _manifest(folder, step)["score"]
            if score is not None:
                scores[step] = score
    # Highest first, so that usually only one checkpoint's files have to be read.
    for step in sorted(scores, key=lambda step: (scores[step], step), reverse=True):
        if damage(folder, step, read=read) is None:
            return step
    raise CheckpointError(f"no usable checkpoint in {folder}")


def damage(folder: Path, step: int, *, read: bool = True) -> str | None:
    """What is wrong with a checkpoint, or None when every file is as it was written.

    Args:
        read: check the digests of all files; otherwise only that they exist.
    """
    path = folder / f"{step:010d}"
    try:
        manifest = _manifest(folder, step)
        seal = manifest.pop("seal")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is missing or unreadable"
    if seal != _seal(manifest):
        return f"{MANIFEST} has changed"
    for name, digest in manifest["files"].items():
        if not (path / name).is_file():
            return f"{name} is missing"
        if read and _digest(path / name) != digest:
            return f"{name} has changed"
    return None


def restore(folder: Path, step: int, like: Any, part: str = "") -> tuple[Any, dict[str, Any]]:
    """The state of a checkpoint, with the structure, shapes and array types of `like`, and its `info`.

    Args:
        like: arrays, or their shapes (ShapeDtypeStruct), which become arrays on the first device.
        part: name of a field of the state; then only that field is read, and `like` describes it alone.

    Raises:
        CheckpointError: when names, shapes or dtypes differ from those of `like`.
    """
    names, leaves = _flatten({part: like} if part else like)
    # Restored as numpy, which keeps the simulators' float64; whatever `like` has on a device is put back there.
    with ocp.PyTreeCheckpointer() as checkpointer:
        path = (folder / f"{step:010d}" / "arrays").absolute()
        stored = {name for name in checkpointer.metadata(path).item_metadata if part in ("", name.split(".")[0])}
        if stored != set(names):
            different = sorted(stored ^ set(names))
            raise CheckpointError(f"checkpoint {step} does not fit this run: it differs in {', '.join(different[:4])}")
        wanted = ocp.args.PyTreeRestore(
            item=dict.fromkeys(names, 0),
            restore_args=dict.fromkeys(names, ocp.RestoreArgs(restore_type=np.ndarray)),
            partial_restore=True,  # what `item` does not name is left on the disk
        )
        found = checkpointer.restore(path, wanted)
    values = []
    for name, leaf in zip(names, leaves, strict=True):
        value = np.asarray(found[name])
        if value.shape != leaf.shape or value.dtype != leaf.dtype:
            raise CheckpointError(
                f"checkpoint {step} does not fit this run: {name} is {value.dtype}{list(value.shape)}, "
                f"expected {leaf.dtype}{list(leaf.shape)}"
            )
        if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
            value = jax.device_put(value, leaf.sharding)
        values.append(value)
    state = jax.tree.unflatten(jax.tree.structure(like), values)
    return state, _manifest(folder, step)["info"]


def _flatten(tree: Any) -> tuple[list[str], list[Any]]:
    pairs = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in pairs], [leaf for _, leaf in pairs]


def _manifest(folder: Path, step: int) -> dict[str, Any]:
    return json.loads((folder / f"{step:010d}" / MANIFEST).read_text())


def _seal(manifest: dict[str, Any]) -> str:
    """Digest of the manifest's own content, its counters and score."""
    return hashlib.blake2b(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:32]


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _prune(folder: Path, step: int, keep: int) -> None:
    """Remove drafts and, up to `step`, all checkpoints but the newest `keep` and the best. Later ones are ignored: a
    run that resumed before them had found them damaged, and will write them anew."""
    for leftover in folder.glob("draft-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    known = [one for one in steps(folder) if one <= step]
    wanted = set(known[-keep:])
    with contextlib.suppress(CheckpointError):  # none was evaluated
        wanted.add(_best_of(folder, known, read=False))  # else gigabytes would be read at every save
    for one in known:
        if one not in wanted:
            shutil.rmtree(folder / f"{one:010d}")

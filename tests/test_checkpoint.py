"""Checkpoints: bit-exact round trips, detection of every kind of damage, and what is kept."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl import checkpoint
from deepcrl.checkpoint import CheckpointError
from deepcrl.config import NetworkConfig
from deepcrl.nn.encoder import Encoder


class Nested(NamedTuple):
    network: Encoder
    physics: dict[str, np.ndarray]
    nothing: None


def state(seed: int = 0) -> Nested:
    """A module, device arrays and host arrays, of every kind of number that a run holds."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: Encoder.init(jax.random.key(0), 3, NetworkConfig(depth=4, width=4)))
    network = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes)
    physics = {
        "qpos": rng.normal(size=(3, 5)) * 1e-3 + 1 / 3,  # float64: rounding to float32 would show
        "special": np.array([np.nan, np.inf, -0.0, 5e-324]),
        "count": np.array(2**40 + 1, np.int64),
        "size": jnp.asarray(7, jnp.int32),
        "done": np.array([True, False, True]),
        "key": jax.random.key_data(jax.random.key(seed)),
        "times": jnp.arange(6, dtype=jnp.int32).reshape(2, 3),
    }
    return Nested(network, physics, None)


def save(folder, step, score=0.0, keep=10, seed=None, info=None):
    return checkpoint.save(folder, step, state(step if seed is None else seed), info or {}, score=score, keep=keep)


def kept(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two checkpoints, 10 and 20; tests that damage them take a copy."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    for step in (10, 20):
        save(folder, step, score=step / 100, info={"wall_s": step + 1 / 3})
    return folder


@pytest.fixture
def two(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def test_round_trip_is_bit_exact_and_keeps_kinds_of_array(saved):
    like = jax.tree.map(lambda leaf: leaf.astype(bool).astype(leaf.dtype), state())
    found, info = checkpoint.restore(saved, 20, like)
    expected = state(20)
    assert info == {"wall_s": 20 + 1 / 3}
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        assert isinstance(a, jax.Array) == isinstance(b, jax.Array)
    assert found.physics["qpos"].dtype == np.float64
    assert (
        np.asarray(checkpoint.restore(saved, 10, like)[0].physics["qpos"]).tobytes()
        == state(10).physics["qpos"].tobytes()
    )


def test_whole_checkpoints_are_listed_found_and_undamaged(saved):
    assert checkpoint.steps(saved) == [10, 20]
    assert [checkpoint.damage(saved, step) for step in (10, 20)] == [None, None]
    warnings = []
    assert checkpoint.newest(saved, warnings.append) == 20
    assert warnings == []


def files(folder, step=20):
    return sorted(path for path in (folder / f"{step:010d}").rglob("*") if path.is_file())


def refused(folder, name, part=""):
    """The newest checkpoint is passed over with a warning that names the file, and the one before it is found."""
    problem = checkpoint.damage(folder, 20)
    assert problem is not None
    assert name in problem
    assert part in problem
    warnings = []
    assert checkpoint.newest(folder, warnings.append) == 10
    assert warnings == [f"checkpoint 20 is damaged ({problem}); trying the one before it"]
    assert checkpoint.best(folder) == 10


def test_one_flipped_bit_in_any_file_is_detected(two):
    assert len(files(two)) > 5
    for path in files(two):
        whole = path.read_bytes()
        for position in {0, len(whole) // 3, len(whole) // 2, len(whole) - 1}:
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
            if path.name == checkpoint.MANIFEST and json.loads(whole) == _json(path):
                continue  # white space
            refused(two, path.name)
        path.write_bytes(whole)
    assert checkpoint.damage(two, 20) is None


def _json(path):
    try:
        return json.loads(path.read_text())
    except ValueError:
        return None


def test_any_missing_or_truncated_file_is_detected(two):
    for path in files(two):
        whole = path.read_bytes()
        path.unlink()
        refused(two, path.name, "missing")
        for length in {0, len(whole) // 2, len(whole) - 1}:
            path.write_bytes(whole[:length])
            refused(two, path.name)
        path.write_bytes(whole)
    assert checkpoint.damage(two, 20) is None


@pytest.mark.parametrize(
    "change",
    [{"score": 9.9}, {"step": 10}, {"info": {"wall_s": 0.0}}, {"files": {}}, {"seal": ""}],
    ids=lambda change: next(iter(change)),
)
def test_a_manifest_that_says_something_else_is_detected(two, change):
    path = two / "0000000020" / checkpoint.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    refused(two, checkpoint.MANIFEST, "changed")


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", "null", '{"step": 20'])
def test_a_manifest_that_is_none_is_detected(two, text):
    (two / "0000000020" / checkpoint.MANIFEST).write_text(text)
    refused(two, checkpoint.MANIFEST, "unreadable")


def test_without_a_whole_checkpoint_there_is_an_error(two):
    warnings = []
    for step in (10, 20):
        (two / f"{step:010d}" / checkpoint.MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        checkpoint.newest(two, warnings.append)
    assert len(warnings) == 2
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        checkpoint.best(two)
    with pytest.raises(CheckpointError):
        checkpoint.newest(two / "nowhere", warnings.append)


def test_the_newest_k_and_the_best_are_kept(tmp_path):
    kept_after = []
    for step, score in [(1, 0.1), (2, 0.9), (3, 0.2), (4, 0.3), (5, 0.9), (6, 0.0), (7, 0.0)]:
        save(tmp_path, step, score=score, keep=2)
        kept_after.append(checkpoint.steps(tmp_path))
        assert checkpoint.damage(tmp_path, step) is None
    # The best is 2 until 5 equals it: of equals the newest.
    assert kept_after == [[1], [1, 2], [2, 3], [2, 3, 4], [4, 5], [5, 6], [5, 6, 7]]
    assert checkpoint.best(tmp_path) == 5


def test_a_damaged_best_gives_way_to_the_next_best(tmp_path):
    for step, score in [(1, 0.5), (2, 0.9), (3, 0.1), (4, 0.2)]:
        save(tmp_path, step, score=score)
    (tmp_path / "0000000002" / checkpoint.MANIFEST).unlink()
    assert checkpoint.best(tmp_path) == 1


def test_a_save_behind_a_damaged_newer_one_stays(tmp_path):
    """As of a run that went on from 1, as 3 was damaged, and was interrupted at 2."""
    for step, score in [(1, 0.5), (3, 0.9)]:
        save(tmp_path, step, score=score, keep=2)
    (tmp_path / "0000000003" / checkpoint.MANIFEST).write_text("{")
    save(tmp_path, 2, score=0.1, keep=1)
    assert checkpoint.steps(tmp_path) == [1, 2, 3]  # 1 is the best whole one
    assert checkpoint.newest(tmp_path, lambda said: None) == 2
    save(tmp_path, 3, score=0.6, keep=1)
    assert checkpoint.steps(tmp_path) == [3]
    assert checkpoint.newest(tmp_path, pytest.fail) == 3


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    save(tmp_path, 5, seed=1, score=0.1, info={"wall_s": 1})
    save(tmp_path, 5, seed=2, score=0.7, info={"wall_s": 2})
    found, info = checkpoint.restore(tmp_path, 5, state())
    assert np.array_equal(found.physics["qpos"], state(2).physics["qpos"])
    assert info == {"wall_s": 2}
    assert kept(tmp_path) == ["0000000005"]


def test_drafts_that_a_kill_left_are_ignored_and_removed_by_the_next_save(two):
    whole = two / "0000000020"
    for step in (20, 30):
        shutil.copytree(whole, two / f"draft-{step:010d}")
    (two / "draft-0000000030" / checkpoint.MANIFEST).unlink()
    assert checkpoint.steps(two) == [10, 20]
    assert checkpoint.newest(two, pytest.fail) == 20
    assert checkpoint.best(two) == 20
    save(two, 30)
    assert kept(two) == ["0000000010", "0000000020", "0000000030"]
    assert checkpoint.damage(two, 30) is None


def test_a_save_that_is_killed_before_the_rename_leaves_the_old_checkpoints_whole(two, monkeypatch):
    def killed(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", killed)
        with pytest.raises(KeyboardInterrupt):
            save(two, 30)
    assert checkpoint.steps(two) == [10, 20]
    assert checkpoint.newest(two, pytest.fail) == 20
    save(two, 30)
    assert kept(two) == ["0000000010", "0000000020", "0000000030"]


def test_a_relative_folder_works(saved, tmp_path, monkeypatch):
    shutil.copytree(saved, tmp_path / "checkpoints")
    monkeypatch.chdir(tmp_path)
    folder = Path("checkpoints")
    save(folder, 30)
    assert np.array_equal(checkpoint.restore(folder, 30, state())[0].physics["qpos"], state(30).physics["qpos"])


def changed(**physics):
    base = state()
    return base._replace(physics={**base.physics, **physics})


def test_a_part_is_read_alone_from_its_shapes(saved):
    whole = state(20)
    found, info = checkpoint.restore(saved, 20, jax.eval_shape(lambda: whole.network), part="network")
    assert info == {"wall_s": 20 + 1 / 3}
    assert jax.tree.structure(found) == jax.tree.structure(whole.network)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(whole.network), strict=True):
        assert isinstance(a, jax.Array)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    with pytest.raises(CheckpointError, match=r"differs in physics\.extra"):
        checkpoint.restore(saved, 20, changed(extra=np.zeros(2)).physics, part="physics")


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (changed(extra=np.zeros(2)), "differs in physics.extra"),
        (state()._replace(physics={"qpos": np.zeros((3, 5))}), "differs in physics.count, physics.done"),
        (changed(qpos=np.zeros((3, 6))), r"physics.qpos is float64\[3, 5\], expected float64\[3, 6\]"),
        (changed(qpos=np.zeros((3, 5), np.float32)), r"physics.qpos is float64\[3, 5\], expected float32\[3, 5\]"),
        (changed(size=jnp.zeros((), jnp.uint32)), r"physics.size is int32\[\], expected uint32\[\]"),
    ],
    ids=["added", "removed", "shape", "host dtype", "device dtype"],
)
def test_a_state_of_another_structure_is_refused_by_the_leafs_name(saved, like, message):
    with pytest.raises(CheckpointError, match=rf"checkpoint 20 does not fit this run: .*{message}"):
        checkpoint.restore(saved, 20, like)


def test_a_network_of_another_depth_is_refused(saved):
    shapes = jax.eval_shape(lambda: Encoder.init(jax.random.key(0), 3, NetworkConfig(depth=8, width=4)))
    deeper = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    with pytest.raises(CheckpointError, match=r"network\.trunk\.stack\.units\.dense\.kernel is float32\[1, 4, 4, 4\]"):
        checkpoint.restore(saved, 20, state()._replace(network=deeper))


def test_an_agent_that_was_not_evaluated_is_never_the_best(tmp_path):
    for step, score in [(1, 0.1), (2, None)]:
        save(tmp_path, step, score=score, keep=1)
    assert checkpoint.steps(tmp_path) == [1, 2], "the newest, and the best of those that were evaluated"
    assert (checkpoint.newest(tmp_path), checkpoint.best(tmp_path)) == (2, 1)
    save(tmp_path, 3, score=0.0, keep=1)
    assert checkpoint.steps(tmp_path) == [1, 3]
    for step in (1, 2):
        save(tmp_path / "none", step, score=None, keep=1)
    assert checkpoint.steps(tmp_path / "none") == [2]
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        checkpoint.best(tmp_path / "none")


def test_a_disk_that_is_full_is_one_line_and_the_others_stay(two, monkeypatch):
    def full(self, *args, **kwargs):
        raise ValueError("RESOURCE_EXHAUSTED: x: No space left on device [os_error_code='28']\nat line 3\nat line 4")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.ocp.PyTreeCheckpointer, "save", full)
        with pytest.raises(
            CheckpointError, match=r"^checkpoint 30 cannot be written to .*checkpoints: No space left on device$"
        ):
            save(two, 30)
    assert kept(two) == ["0000000010", "0000000020"]
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(CheckpointError, match=r"checkpoint 30 cannot be written to .*No space left"):
            save(two, 30)
    assert kept(two) == ["0000000010", "0000000020"]
    assert [checkpoint.damage(two, step) for step in (10, 20)] == [None, None]

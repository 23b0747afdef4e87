"""The native engine: arrays alone decide what follows, bit for bit, and it agrees with a plain loop over mj_step."""

import logging
import os
import subprocess
import sys

import jax
import mujoco
import numpy as np
import pytest

from deepcrl.envs import vector
from deepcrl.envs.ant import SUBSTEPS, ant_model, ant_task
from deepcrl.envs.layouts import LAYOUTS
from deepcrl.envs.mujoco_engine import mujoco_engine

NUM_ENVS = 13
STEPS = 15


@pytest.fixture(scope="module")
def model():
    return ant_model(LAYOUTS["u"])


@pytest.fixture(scope="module")
def starts():
    """Ants in the corridors, some of them thrown against walls: "qpos" [13, 17], "qvel" [13, 16]."""
    physics, _ = jax.vmap(ant_task(LAYOUTS["u"], None).reset)(jax.random.split(jax.random.key(0), NUM_ENVS))
    qpos, qvel = (np.array(physics[name], np.float64) for name in ("qpos", "qvel"))
    qpos[::2, 0] -= 1.4
    qvel[::2, 0] = -4.0
    return {"qpos": qpos, "qvel": qvel}


@pytest.fixture(scope="module")
def controls():
    return np.random.default_rng(0).uniform(-1, 1, (STEPS, NUM_ENVS, 8))


def roll(engine, physics, controls, **options):
    """The physics after every control step."""
    path = []
    for control in controls:
        physics = engine.step(physics, control, **options)
        path.append(physics)
    return path


def assert_same(first, second):
    """Bitwise equality of two lists of physics."""
    assert len(first) == len(second) > 0
    for a, b in zip(first, second):
        assert set(a) == set(b) == {"qpos", "qvel", "qacc_warmstart"}
        for name in a:
            assert a[name].dtype == np.float64
            assert a[name].tobytes() == b[name].tobytes(), name


def test_agrees_with_a_plain_loop(model, starts, controls):
    engine = mujoco_engine(model, SUBSTEPS)
    path = roll(engine, engine.start(starts), controls)
    touched = False
    for row in range(NUM_ENVS):
        data = mujoco.MjData(model)
        data.qpos, data.qvel = starts["qpos"][row], starts["qvel"][row]
        for step in range(STEPS):
            data.ctrl = controls[step, row]
            for _ in range(SUBSTEPS):
                mujoco.mj_step(model, data)
            touched |= any(model.geom(geom).name.startswith("wall") for geom in data.contact.geom.flat)
            np.testing.assert_array_equal(path[step]["qpos"][row], data.qpos)
            np.testing.assert_array_equal(path[step]["qvel"][row], data.qvel)
            np.testing.assert_array_equal(path[step]["qacc_warmstart"][row], data.qacc_warmstart)
    assert touched


@pytest.mark.parametrize("threads", [2, 3, 8, 40])
def test_independent_of_the_number_of_threads(model, starts, controls, threads):
    single, several = mujoco_engine(model, SUBSTEPS, 1), mujoco_engine(model, SUBSTEPS, threads)
    assert_same(roll(single, single.start(starts), controls), roll(several, several.start(starts), controls))


def test_independent_of_what_was_simulated_before(model, starts, controls):
    fresh, used = mujoco_engine(model, SUBSTEPS, 1), mujoco_engine(model, SUBSTEPS, 1)
    other = used.start({"qpos": starts["qpos"][::-1], "qvel": -5.0 * starts["qvel"]})
    roll(used, other, -controls)
    broken = {name: np.full_like(value, np.nan) for name, value in other.items()}
    assert np.isnan(used.step(broken, controls[0])["qpos"]).all()
    assert_same(roll(fresh, fresh.start(starts), controls), roll(used, used.start(starts), controls))


def test_independent_of_the_order_of_rows(model, starts, controls):
    engine = mujoco_engine(model, SUBSTEPS, 2)
    forward = roll(engine, engine.start(starts), controls)
    reverse = roll(engine, engine.start({k: v[::-1] for k, v in starts.items()}), controls[:, ::-1])
    assert_same(forward, [{name: value[::-1] for name, value in physics.items()} for physics in reverse])


def test_resumes_exactly_from_copied_arrays(model, starts, controls):
    first = mujoco_engine(model, SUBSTEPS)
    path = roll(first, first.start(starts), controls)
    saved = {name: value.copy() for name, value in path[6].items()}
    assert_same(path[7:], roll(mujoco_engine(model, SUBSTEPS), saved, controls[7:]))


def test_the_warm_start_is_part_of_the_state(model, starts, controls):
    """Without it a resumed run would differ: the solver does a single iteration from where it starts."""
    engine = mujoco_engine(model, SUBSTEPS)
    physics = roll(engine, engine.start(starts), controls)[-1]
    forgetful = {**physics, "qacc_warmstart": np.zeros_like(physics["qacc_warmstart"])}
    assert not np.array_equal(engine.step(physics, controls[0])["qvel"], engine.step(forgetful, controls[0])["qvel"])


def test_step_leaves_its_input_alone(model, starts, controls):
    engine = mujoco_engine(model, SUBSTEPS)
    physics = engine.start(starts)
    before = {name: value.copy() for name, value in physics.items()}
    engine.step(physics, controls[0])
    assert_same([before], [physics])


def test_start_takes_single_precision(model, starts):
    started = mujoco_engine(model, SUBSTEPS).start({name: value.astype(np.float32) for name, value in starts.items()})
    assert {value.dtype for value in started.values()} == {np.dtype(np.float64)}
    np.testing.assert_array_equal(started["qpos"], starts["qpos"].astype(np.float32))
    assert not started["qacc_warmstart"].any()


def test_inactive_rows_stay(model, starts, controls):
    engine = mujoco_engine(model, SUBSTEPS)
    physics = engine.start(starts)
    active = np.arange(NUM_ENVS) % 3 == 0
    full, part = engine.step(physics, controls[0]), engine.step(physics, controls[0], active)
    for name in physics:
        np.testing.assert_array_equal(part[name][active], full[name][active])
        np.testing.assert_array_equal(part[name][~active], physics[name][~active])
    assert_same([physics], [engine.step(physics, controls[0], np.zeros(NUM_ENVS, bool))])


DIVERGING = {
    "not a number": ("qpos", 0, np.nan),
    "infinite": ("qpos", 2, np.inf),
    "huge position": ("qpos", 7, 1e9),
    "huge velocity": ("qvel", slice(0, 6), 1e12),
}


@pytest.mark.parametrize("case", DIVERGING)
def test_diverged_rows_become_nan_and_harm_no_other(model, starts, controls, case):
    name, index, value = DIVERGING[case]
    engine = mujoco_engine(model, SUBSTEPS)
    physics = engine.start(starts)
    expected = engine.step(physics, controls[0])
    physics[name][4, index] = value
    after = engine.step(physics, controls[0])
    others = np.arange(NUM_ENVS) != 4
    for key in after:
        assert np.isnan(after[key][4]).all()
        np.testing.assert_array_equal(after[key][others], expected[key][others])


def test_a_diverged_environment_ends_its_episode():
    env = vector.build(ant_task(None, None), mujoco_engine(ant_model(None), SUBSTEPS), "fresh")
    state = env.reset(jax.random.key(0), 3)
    state.physics["qvel"][1] = np.inf
    after = env.step(state, np.zeros((3, 8), np.float32))
    np.testing.assert_array_equal(after.terminated, [False, True, False])
    np.testing.assert_array_equal(after.episode_id, [0, 1, 0])
    np.testing.assert_array_equal(after.next_state[1], state.state[1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
    assert env.step(after, np.zeros((3, 8), np.float32)).episode_step.tolist() == [2, 1, 2]


def test_warnings_go_to_the_log_not_to_a_file(model, starts, controls, tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.chdir(tmp_path)
    engine = mujoco_engine(model, SUBSTEPS)
    physics = engine.start(starts)
    physics["qpos"][0] = np.nan
    with caplog.at_level(logging.DEBUG, "deepcrl.envs.mujoco_engine"):
        engine.step(physics, controls[0])
    assert "unstable" in caplog.text
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_the_process_ends_cleanly_with_live_threads():
    code = (
        "import numpy as np; from deepcrl.envs.ant import ant_model; from deepcrl.envs.mujoco_engine import *;"
        "e = mujoco_engine(ant_model(None), 5, 4);"
        "p = e.start({'qpos': np.full((8, 17), np.nan), 'qvel': np.zeros((8, 16))}); e.step(p, np.zeros((8, 8)))"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_registry_does_not_load_mujoco():
    code = "import sys; import deepcrl.envs.registry; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0

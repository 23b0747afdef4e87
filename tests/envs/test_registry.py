"""Every environment of the table: it resets, steps, keeps its shapes and its bookkeeping."""

import jax
import mujoco
import numpy as np
import pytest

from deepcrl.config import ConfigError
from deepcrl.envs import registry, spring_engine, table
from deepcrl.envs.mjx_engine import mjx_engine
from deepcrl.envs.registry import ENVIRONMENTS, QUICKSTART, lookup, make_env, resolve_engine
from deepcrl.presets import preset
from deepcrl.render.run import scene

# Name, or its beginning (the longest counts): state, goal and action size, episode length, success radius.
SIZES = {
    "point": (2, 2, 2, 200, 0.5),
    "ant": (29, 2, 8, 1000, 0.5),
    "ant_ball": (31, 2, 8, 1000, 0.5),
    "ant_push": (31, 2, 8, 1000, 0.5),
    "humanoid": (268, 3, 17, 1000, 0.5),
    "humanoid_clean": (246, 3, 17, 1000, 0.5),
    "arm_reach": (13, 3, 4, 1000, 0.1),
    "arm_grasp": (23, 7, 5, 1000, 0.05),
    "arm_push": (17, 3, 5, 1000, 0.1),
    "arm_binpick": (17, 3, 5, 1000, 0.1),
    "arm_binpick_easy_EEF": (11, 3, 4, 1000, 0.1),
    "reacher": (10, 3, 2, 1000, 0.05),
    "cheetah": (18, 1, 6, 1000, 0.5),
    "pusher": (20, 3, 7, 1000, 0.1),
    "pusher_reacher": (17, 3, 7, 1000, 0.1),
    "pusher2": (23, 6, 7, 1000, 0.1),
    "simple": (4, 2, 2, 1000, 0.5),
}
NUM_ENVS = 3
STEPS = 50
# The other rows with one body and the same walls differ in where episodes start and end only: test_layouts.py and the
# bodies' own tests look at that. Compiling them all takes too long for every day; `-m slow` does. Springs step the
# humanoid in test_spring_engine.py; MJX does, slow too, and Warp, which is for GPUs, the ant and the arm, in
# test_mjx_engine.py.
DEVICE_ROWS = {
    "mjx": ("ant", "reacher"),
    "spring": ("ant",),
}
VARIANTS = ("ant_u_maze_eval", "ant_u_maze_gen_1f2f3f", "point_u_maze_eval", "humanoid_big_maze_eval")
EVERY = [(name, engine) for name, entry in ENVIRONMENTS.items() for engine in entry.engines if engine != "warp"]
DAILY = [
    (name, engine)
    for name, engine in EVERY
    if name in DEVICE_ROWS.get(engine, ())
    or (engine in ("mujoco", "jax") and (name in VARIANTS or ENVIRONMENTS[name].variant_of is None))
]


def sizes_of(name: str) -> tuple:
    return SIZES[max((start for start in SIZES if name.startswith(start)), key=len)]


@pytest.mark.parametrize(("name", "engine"), DAILY)
def test_reset_and_random_steps(name: str, engine: str):
    roll(name, engine)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "engine"), [row for row in EVERY if row not in DAILY])
def test_reset_and_random_steps_on_every_other_engine(name: str, engine: str):
    roll(name, engine)


def roll(name: str, engine: str) -> None:
    env = make_env(name, engine=engine).compiled()
    spec = env.spec
    sizes = (spec.state_size, spec.goal_size, spec.action_size, spec.episode_length, spec.success_radius)
    assert sizes == sizes_of(name)
    state = env.reset(jax.random.key(0), NUM_ENVS)
    rng = np.random.default_rng(0)
    moves_goal = name == "arm_grasp"
    own_success = name in ("arm_grasp", "pusher2")
    for _ in range(STEPS):
        before = state
        state = env.step(before, rng.uniform(-1, 1, (NUM_ENVS, spec.action_size)).astype(np.float32))
        done = np.asarray(state.terminated | state.truncated)
        np.testing.assert_array_equal(state.episode_id, before.episode_id + done)
        np.testing.assert_array_equal(state.episode_step, np.where(done, 0, before.episode_step + 1))
        np.testing.assert_array_equal(state.key, before.key)
        check_positions(name, engine, state)
        if not moves_goal:
            np.testing.assert_array_equal(np.asarray(state.goal)[~done], np.asarray(before.goal)[~done])
            achieved = np.asarray(state.next_state)[:, spec.goal_indices]
            distance = np.linalg.norm(achieved - np.asarray(before.goal), axis=1)
            np.testing.assert_allclose(state.distance, distance, rtol=1e-5)
        if not own_success:
            np.testing.assert_array_equal(state.success, np.asarray(state.distance) < spec.success_radius)
            for grade, radius in (("easy", spec.easy_radius), ("hard", spec.hard_radius)):
                if radius is not None:
                    np.testing.assert_array_equal(state.grades[grade], np.asarray(state.distance) < radius)
    assert state.state.shape == state.next_state.shape == (NUM_ENVS, spec.state_size)
    assert state.goal.shape == state.achieved_goal.shape == (NUM_ENVS, spec.goal_size)
    assert state.state.dtype == state.goal.dtype == np.float32
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


SECONDS_PER_STEP = {
    **dict.fromkeys(("ant", "ant_light", "ant_random_start", "ant_u_maze", "ant_big_maze_eval"), 0.05),
    **dict.fromkeys(("ant_u_maze_gen_1f2f3f", "ant_ball", "ant_ball_big_maze", "ant_push", "simple_u_maze"), 0.05),
    **dict.fromkeys(("humanoid", "humanoid_clean"), 0.03),
    **dict.fromkeys(
        ("humanoid_short_step", "humanoid_u_maze", "humanoid_big_maze_eval", "humanoid_hardest_maze"), 0.015
    ),
    **dict.fromkeys(("arm_reach", "arm_grasp", "arm_push_easy", "arm_binpick_hard", "arm_binpick_easy_EEF"), 0.05),
    **dict.fromkeys(("cheetah", "pusher_easy", "pusher_hard", "pusher2", "pusher_reacher"), 0.05),
    "reacher": 0.04,
}


@pytest.mark.parametrize("name", SECONDS_PER_STEP)
def test_an_env_step_lasts_as_long_on_all_engines(name: str, monkeypatch: pytest.MonkeyPatch):
    """The plain humanoid's is twice as long as that of its mazes, an accident of the paper's runs that is kept."""
    seconds = pytest.approx(SECONDS_PER_STEP[name])
    assert scene(name)[1] == seconds
    asked = {}
    for engine in ("mujoco", "mjx"):

        def remember(model, substeps, *_, engine=engine):
            asked[engine] = model, substeps

        monkeypatch.setattr(table, f"{engine}_engine", remember)
    monkeypatch.setattr(
        spring_engine, "spring_engine", lambda _, parameters, step: asked.update(spring=(parameters, step))
    )
    engines = lookup(name).engines
    for engine in ("mujoco", "mjx", *(("spring",) if "spring" in engines else ())):
        engines[engine](None)
    for engine in ("mujoco", "mjx"):
        model, substeps = asked[engine]
        assert model.opt.timestep * substeps == seconds
    if "spring" in engines:
        parameters, step = asked["spring"]
        assert parameters is (spring_engine.HUMANOID if name.startswith("humanoid") else spring_engine.ANT)
        assert spring_engine.SUBSTEPS * step == seconds
    else:
        assert not name.startswith(("humanoid", "simple"))


@pytest.mark.parametrize(
    ("name", "mass"),
    [
        *((name, 9.0) for name in ("ant", "ant_random_start", "ant_u_maze", "ant_u_maze_gen_1f2f3f", "ant_ball")),
        *(("ant_ball_u_maze", 9.0), ("ant_light", 0.91088), ("ant_push", 7.287)),
    ],
)
def test_ants_weigh_what_the_springs_weigh_but_for_the_light_one_and_the_one_that_pushes(name: str, mass: float):
    assert lookup(name).model().body("torso").subtreemass == pytest.approx(mass, rel=1e-4)


@pytest.mark.parametrize("name", ["humanoid", pytest.param("humanoid_u_maze", marks=pytest.mark.slow)])
def test_humanoids_observe_the_inertia_that_their_engine_gives_them(name: str):
    """Entries 51 to 60 of a state are the torso's inertia about the total centre of mass, and its mass: upright,
    unit inertia adds the same to all diagonal entries."""
    native, spring = (
        np.asarray(make_env(name, engine=engine).compiled().reset(jax.random.key(0), 1).state[0, 51:61])
        for engine in ("mujoco", "spring")
    )
    own = np.diag(spring[:9].reshape(3, 3)) - np.diag(native[:9].reshape(3, 3))
    assert native[9] == pytest.approx(spring[9])
    model = lookup(name).model()
    np.testing.assert_allclose(own, 1.0 - np.diag(full_inertia(model, model.body("torso").id)), atol=1e-4)


def full_inertia(model: mujoco.MjModel, body: int) -> np.ndarray:
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
    axes = rotation.reshape(3, 3)
    return axes @ np.diag(model.body_inertia[body]) @ axes.T


def check_positions(name: str, engine: str, state) -> None:
    """Rotations are unit quaternions, and joints keep their limits but for what random torques push them through; not
    on springs, whose limits are springs too, nor the fingertips, of a gram."""
    entry = lookup(name)
    if "jax" in entry.engines:
        return
    model, qpos = entry.model(), np.asarray(state.physics["qpos"], float)
    for joint in range(model.njnt):
        first = model.jnt_qposadr[joint]
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE:
            np.testing.assert_allclose(np.linalg.norm(qpos[:, first + 3 : first + 7], axis=1), 1.0, atol=1e-4)
        elif model.jnt_limited[joint] and engine != "spring" and not model.joint(joint).name.endswith("_tip"):
            low, high = model.jnt_range[joint]
            give = 0.1 * (high - low) + 0.05
            assert (qpos[:, first] > low - give).all(), model.joint(joint).name
            assert (qpos[:, first] < high + give).all(), model.joint(joint).name


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_defaults_make_a_configuration(name):
    config = preset(name)
    assert config.env.name == name
    if config.evaluation.env is not None:
        assert config.evaluation.env in ENVIRONMENTS


def test_the_paper_mazes_evaluate_on_their_far_goals():
    evaluated_on = {name: entry.defaults.get("evaluation.env") for name, entry in ENVIRONMENTS.items()}
    for body in ("point", "ant", "humanoid"):
        for maze in ("u_maze", "big_maze") if body == "humanoid" else ("u_maze", "u4_maze", "u5_maze", "big_maze"):
            assert evaluated_on[f"{body}_{maze}"] == f"{body}_{maze}_eval"
            assert evaluated_on[f"{body}_{maze}_eval"] is None
        assert evaluated_on[f"{body}_hardest_maze"] is None
    assert evaluated_on["ant"] is None
    assert "point_j_maze" in ENVIRONMENTS
    assert QUICKSTART in ENVIRONMENTS


def test_papers_scale_evaluates_on_far_goals_where_the_paper_does():
    far = {name for name in ENVIRONMENTS if preset(name, "paper").evaluation.env is not None}
    mazes = {f"ant_{key}_maze" for key in ("u4", "u5", "big")}
    assert {name for name in far if "_gen_" not in name} == mazes
    assert all(preset(name, "paper").evaluation.env == f"{name}_eval" for name in mazes)
    assert preset("ant_u_maze_gen_1f2f3f", "paper").evaluation.env == "ant_u_maze_eval"


def test_an_evaluation_maze_shows_its_own_goals():
    assert "".join(make_env("ant_big_maze").scene.layout).count("G") == 25
    assert "".join(make_env("ant_big_maze_eval").scene.layout).count("G") == 9
    assert "".join(make_env("humanoid_big_maze_eval").scene.layout).count("G") == 10
    assert make_env("ant").scene.layout is None


def test_unknown_name_names_near_matches():
    with pytest.raises(ConfigError, match=r"env\.name = 'ant_bigmaze'.*did you mean.*ant_big_maze"):
        make_env("ant_bigmaze")
    with pytest.raises(ConfigError, match=r"evaluation\.env = 'zzz'.*known: .*point_u_maze"):
        lookup("zzz", "evaluation.env")


def test_engine_names(monkeypatch: pytest.MonkeyPatch):
    assert resolve_engine("ant", "auto") == "mujoco"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for installed, engine in ((True, "warp"), (False, "mjx")):
        monkeypatch.setattr(registry, "warp_is_installed", lambda installed=installed: installed)
        assert resolve_engine("ant", "auto") == engine
        assert resolve_engine("point_u_maze", "auto") == "jax"
    assert resolve_engine("point_u_maze", "jax") == "jax"
    with pytest.raises(
        ConfigError, match=r"env\.engine = 'jax' cannot step ant; it has: auto, mujoco, mjx, warp, spring"
    ):
        make_env("ant", engine="jax")


def test_warp_says_what_it_needs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("deepcrl.envs.mjx_engine.warp_is_installed", lambda: False)
    with pytest.raises(ConfigError, match=r"env\.engine = 'warp' needs warp-lang.*deepcrl\[cuda\]"):
        make_env("ant", engine="warp")


def test_a_model_beyond_an_engine_is_refused(monkeypatch):
    monkeypatch.setattr(registry, "ENVIRONMENTS", dict(ENVIRONMENTS))
    spec = mujoco.MjSpec()
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICIT
    spec.worldbody.add_body(name="ball").add_geom(size=(0.1, 0, 0))
    registry.register("mine", {"mjx": lambda length: (None, mjx_engine(spec.compile(), 1))})
    with pytest.raises(ConfigError, match=r"^env\.engine = 'mjx' cannot step the model of mine: .*IMPLICIT"):
        make_env("mine")


def test_episode_length_can_be_set():
    assert make_env("ant", episode_length=250).spec.episode_length == 250

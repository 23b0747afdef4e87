"""Whole runs, small: exact counts, the same numbers from the same seed, one compilation, options that act."""

import dataclasses
import functools
import itertools
import json
import shutil
import sys
import tempfile
import typing
from pathlib import Path

import jax
import numpy as np
import pytest

import deepcrl
from deepcrl import cli
from deepcrl.analysis.coverage import coverage
from deepcrl.config import Config, ConfigError, override
from deepcrl.envs import ant
from deepcrl.evaluate import summarise
from deepcrl.program import COLLECT, LEARN, RESET, build, init_state, make_learn, run_key
from deepcrl.render import render
from deepcrl.train import train

loop = sys.modules["deepcrl.train"]  # the package has a function of this name

TINY = {
    "env.num_envs": 8,
    "train.unroll_length": 20,
    "train.prefill_steps": 40,
    "train.total_env_steps": 1600,
    "train.batch_size": 32,
    "network.depth": 4,
    "network.width": 16,
    "evaluation.num_evals": 4,
    "evaluation.num_envs": 8,
}
ANT = {**TINY, "env.num_envs": 4, "env.episode_length": 30, "train.total_env_steps": 640, "evaluation.num_evals": 2}


def tiny(name: str = "point_u_maze", algorithm: str = "crl", **changes) -> Config:
    """A run of seconds."""
    base = ANT if name == "ant" else TINY
    own = {key.replace("__", "."): value for key, value in changes.items()}
    return override(deepcrl.preset(name, algorithm=algorithm), {**base, **own})


def numbers(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "wall_s" and not k.startswith("time/")} for row in rows]


@functools.cache
def rows_of(config: Config) -> list[dict]:
    """The rows of a run without a folder to keep; equal configurations are run once."""
    with tempfile.TemporaryDirectory() as folder:
        return numbers(train(config, Path(folder) / "run").rows)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> deepcrl.Result:
    return train(tiny(), tmp_path_factory.mktemp("runs") / "point")


def test_budget_rows_and_files_are_exact(finished: deepcrl.Result):
    assert finished.finished
    assert [row["env_steps"] for row in finished.rows] == [0, 640, 960, 1280, 1600]
    # 8 x 20 env steps per collection at 1:40 are 4 updates; two of ten collections are prefill.
    assert [row["gradient_steps"] for row in finished.rows] == [0, 8, 16, 24, 32]
    files = {path.name for path in finished.run_dir.iterdir()}
    assert files == {"config.json", "machine.json", "metrics.jsonl", "checkpoints"}
    assert deepcrl.config.from_dict(json.loads((finished.run_dir / "config.json").read_text())) == tiny()


def test_every_training_metric_is_finite_and_moves(tmp_path: Path, capsys: pytest.CaptureFixture):
    """On the ant: an untrained point soon sits in a corner, where all goals are one and nothing tells them apart."""
    run = train(tiny("ant", train__total_env_steps=1120, evaluation__num_evals=4), tmp_path / "run")
    assert "crl on ant (engine mujoco, 4 environments), learning on cpu" in capsys.readouterr().out
    names = [name for name in run.rows[-1] if name.startswith("train/")]
    assert {"train/critic_loss", "train/actor_loss", "train/accuracy", "train/phi_grad_norm"} <= set(names)
    for name in names:
        values = [row[name] for row in run.rows[1:]]
        assert np.isfinite(values).all(), name
        assert len(values) == 4
        assert len(set(values)) > 1, f"{name} is constant"


def test_updates_change_every_network_and_adam_counts_them(finished: deepcrl.Result):
    program = build(tiny())
    agent, _ = deepcrl.checkpoint.restore(finished.run_dir / "checkpoints", 10, init_state(program))
    fresh = init_state(program).agent
    for part in ("actor", "critic", "log_temperature"):
        pairs = zip(jax.tree.leaves(getattr(agent.agent, part)), jax.tree.leaves(getattr(fresh, part)), strict=True)
        assert all(not np.array_equal(trained, start) for trained, start in pairs), part
    counts = [int(opt[0].count) for opt in (agent.agent.actor_opt, agent.agent.critic_opt, agent.agent.temperature_opt)]
    assert counts == [32, 32, 32]


def test_the_seed_decides_everything(tmp_path: Path):
    """On a host engine, test_interruption.py compares runs of different processes."""
    first = rows_of(tiny())
    assert numbers(train(tiny(), tmp_path / "again").rows) == first
    assert rows_of(tiny(seed=1))[1:] != first[1:]


@pytest.mark.parametrize("name", ["point_u_maze", "ant"])
def test_nothing_is_compiled_after_the_second_evaluation(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One trace per function over a whole run: all compilation lies before the second row."""
    compiled: list[str] = []

    def listen(event: str, duration: float, **kwargs) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    at_row: list[int] = []
    write = deepcrl.logging.rows.append

    def append(run_dir: Path, row: dict) -> None:
        at_row.append(len(compiled))
        write(run_dir, row)

    monkeypatch.setattr("deepcrl.logging.rows.append", append)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        train(tiny(name, evaluation__num_evals=2), tmp_path / "run")
    finally:
        # Older versions can only remove everyone's.
        if remove := getattr(jax.monitoring, "unregister_event_duration_listener", None):
            remove(listen)
        else:
            jax.monitoring.clear_event_listeners()
    assert len(at_row) == 3
    assert at_row[1] > at_row[0] > 0
    assert at_row[2] == at_row[1]
    assert len(compiled) == at_row[2]


def test_learn_does_exactly_u_updates_at_any_batch_size():
    """Where the release silently does fewer: a batch far larger than what is stored."""
    program = build(tiny(train__batch_size=2048))
    state = init_state(program)
    env, transitions = program.collect(state.agent, state.env, run_key(0, RESET, 1))
    del env
    replay = deepcrl.replay.buffer.jit_insert(state.replay, transitions)
    agent, _ = make_learn(program.algorithm, 3, 2048)(state.agent, replay, run_key(0, RESET, 2))
    assert int(agent.critic_opt[0].count) == 3


def test_loaded_agent_agrees_with_the_run(finished: deepcrl.Result):
    agent = deepcrl.load_agent(finished.run_dir)
    assert agent.env_steps == 1600
    states = np.array([[4.0, 4.0], [8.0, 12.0]])
    goal = np.array([12.0, 4.0])
    actions = agent.act(states, goal)
    assert actions.shape == (2, 2)
    assert (np.abs(actions) < 1).all()
    np.testing.assert_array_equal(agent.act(states[0], goal), agent.act(states[:1], goal[None])[0])
    distance = np.linalg.norm(agent.embed_state_action(states, actions) - agent.embed_goal(goal)[None], axis=1)
    np.testing.assert_allclose(agent.value(states, actions, goal), -distance, rtol=1e-5)
    found = deepcrl.evaluate(finished.run_dir, num_episodes=8, env="point_u_maze_eval")
    assert agent.config.evaluation.mode == "sample"  # and so they are evaluated where nothing else is asked for
    assert found == deepcrl.evaluate(finished.run_dir, num_episodes=8, env="point_u_maze_eval", mode="sample")
    assert found != deepcrl.evaluate(finished.run_dir, num_episodes=8, env="point_u_maze_eval", mode="mean")
    by_cell = {name for name in found if name.startswith("success_any/")}
    assert by_cell
    assert by_cell <= {"success_any/3,1", "success_any/3,2", "success_any/3,3"}
    assert set(found) - by_cell == {"env_steps", "time_at_goal", "success_any", "final_distance", "episode_length"}


SCORES = (1.0, 5.0, 3.0, 2.0, 4.0)
"""What the evaluations after 0, 4, 6, 8 and 10 collections are made to say."""


def train_scored(config: Config, run_dir: Path) -> deepcrl.Result:
    """A run whose evaluations say SCORES."""
    said = iter(SCORES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "summarise", lambda episodes: {**summarise(episodes), "time_at_goal": next(said)})
        return train(config, run_dir)


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> deepcrl.Result:
    """One with all its agents, of which the best is neither the first nor the newest. Episodes are short: later the
    point would sit in a corner, whatever the seed and the mode."""
    return train_scored(tiny(checkpoint__keep=5, env__episode_length=5), tmp_path_factory.mktemp("scored") / "run")


def saved_scores(run_dir: Path) -> dict[int, float]:
    """Scores of the checkpoints, by collections."""
    manifests = [json.loads(path.read_text()) for path in run_dir.glob("checkpoints/*/manifest.json")]
    return {manifest["step"]: manifest["score"] for manifest in manifests}


def test_a_checkpoints_score_is_its_rows_time_at_goal(finished: deepcrl.Result, scored: deepcrl.Result):
    rows = {row["env_steps"]: row["eval/time_at_goal"] for row in scored.rows}
    assert rows == {0: 1.0, 640: 5.0, 960: 3.0, 1280: 2.0, 1600: 4.0}
    assert saved_scores(scored.run_dir) == {0: 1.0, 4: 5.0, 6: 3.0, 8: 2.0, 10: 4.0}
    rows = {row["env_steps"]: row["eval/time_at_goal"] for row in finished.rows}
    real = saved_scores(finished.run_dir)
    assert {8, 10} <= set(real)
    assert real == {collections: rows[160 * collections] for collections in real}


def test_as_many_agents_are_kept_as_asked_for_and_the_best(scored: deepcrl.Result, tmp_path: Path):
    def kept(run_dir: Path) -> list[str]:
        return sorted(path.name for path in (run_dir / "checkpoints").iterdir())

    few = train_scored(tiny(algorithm="gcbc", checkpoint__keep=1), tmp_path / "run")
    assert kept(few.run_dir) == ["0000000004", "0000000010"]
    assert kept(scored.run_dir) == ["0000000000", "0000000004", "0000000006", "0000000008", "0000000010"]


def test_the_latest_the_best_and_any_agent_can_be_loaded(scored: deepcrl.Result):
    program = build(tiny(checkpoint__keep=5, env__episode_length=5))
    like, actions = init_state(program), {}
    states, goals = jax.numpy.array([[4.0, 4.0], [8.0, 12.0]]), jax.numpy.array([[12.0, 4.0]] * 2)
    for which, collections, env_steps in (("latest", 10, 1600), ("best", 4, 640), (6, 6, 960)):
        agent = deepcrl.load_agent(scored.run_dir, which)
        assert agent.env_steps == env_steps
        actions[which] = agent.act(states, goals)
        state, _ = deepcrl.checkpoint.restore(scored.run_dir / "checkpoints", collections, like)
        expected = program.algorithm.act(state.agent, states, goals, jax.random.key(0), "mean")
        np.testing.assert_allclose(actions[which], expected, rtol=1e-4, atol=1e-6)
    for one, other in itertools.combinations(actions.values(), 2):
        assert np.abs(one - other).max() > 1e-3


def test_evaluate_prints_what_the_function_returns(scored: deepcrl.Result, capsys: pytest.CaptureFixture):
    run_dir, given = scored.run_dir, {"num_episodes": 8, "mode": "mean", "seed": 3}
    found = []
    for flags, own in (
        ([], {}),
        (["--seed", "4"], {"seed": 4}),
        (["--mode", "sample"], {"mode": "sample"}),
        (["--which", "best"], {"which": "best"}),
        (["--env", "point_u_maze"], {"env": "point_u_maze"}),
    ):
        assert cli.main(["evaluate", str(run_dir), "--episodes", "8", "--mode", "mean", "--seed", "3", *flags]) == 0
        said = capsys.readouterr()
        assert said.err == f"evaluating {run_dir}\n"
        assert said.out.count("\n") == 1
        found.append(json.loads(said.out))
        assert found[-1] == deepcrl.evaluate(run_dir, **given | own)
    assert [scores["env_steps"] for scores in found] == [1600, 1600, 1600, 640, 1600]
    assert all(one != other for one, other in itertools.combinations(found, 2))


def test_a_loaded_agents_best_action_has_the_greatest_value_of_its_samples(finished: deepcrl.Result):
    loaded, goal = deepcrl.load_agent(finished.run_dir), np.array([12.0, 4.0], np.float32)
    states = np.random.default_rng(0).uniform(4.0, 12.0, (20, 2)).astype(np.float32)
    state, _ = deepcrl.checkpoint.restore(finished.run_dir / "checkpoints", 10, init_state(build(tiny())))
    look = jax.jit(lambda actor, *inputs: actor(*inputs))
    mean, log_std = look(state.agent.actor, states, np.tile(goal, (20, 1)))
    noise = np.array([jax.random.normal(key, mean.shape) for key in jax.random.split(jax.random.key(3), 16)])
    samples = np.tanh(mean + np.exp(log_std) * noise)
    values = np.array([loaded.value(states, sample, goal) for sample in samples])
    best = values.argmax(axis=0)
    assert len(set(best)) > 4
    found = loaded.act(states, goal, mode="best_of_16", seed=3)
    np.testing.assert_allclose(found, samples[best, np.arange(20)], rtol=1e-4, atol=1e-4)


def test_an_agent_acts_where_its_replay_would_not_fit(finished: deepcrl.Result, monkeypatch):
    monkeypatch.setattr("deepcrl.machine.memory", lambda: 10_000)
    agent = deepcrl.load_agent(finished.run_dir)
    assert agent.act(state=[4.0, 4.0], goal=[8.0, 4.0]).shape == (2,)
    with pytest.raises(ConfigError, match="of memory"):
        build(agent.config)


@pytest.fixture(scope="module")
def loaded(finished: deepcrl.Result) -> deepcrl.LoadedAgent:
    return deepcrl.load_agent(finished.run_dir)


@pytest.mark.parametrize(
    ("function", "inputs", "message"),
    [
        ("act", ([4.0, 4.0, 4.0], [4.0]), "state has 3 entries, point_u_maze_eval's has 2"),
        ("act", ([4.0, 4.0], [4.0]), "goal has 1 entries, point_u_maze_eval's has 2"),
        ("act", ([[4.0, 4.0], [4.0, np.nan]], [4.0, 4.0]), "state has an entry that is not finite"),
        ("act", ([4.0, 4.0], [4.0, np.inf]), "goal has an entry that is not finite"),
        ("act", ([4.0, 4.0], 4.0), r"goal has shape \(\); it must be \(2,\) or \(rows, 2\), not empty"),
        ("act", ([[[4.0, 4.0]]], [4.0, 4.0]), r"state has shape \(1, 1, 2\); it must be"),
        ("act", (np.zeros((0, 2)), [4.0, 4.0]), r"state has shape \(0, 2\); it must be"),
        ("act", (np.zeros((3, 2)), np.zeros((2, 2))), "of 3 rows, goal 2 are given; all must have as many, or one"),
        ("act", (["a", "b"], [4.0, 4.0]), r"state = \['a', 'b'\] must be numbers"),
        ("value", ([4.0, 4.0], [0.5], [4.0, 4.0]), "action has 1 entries, point_u_maze_eval's has 2"),
        ("embed_state_action", ([4.0, 4.0], [0.5] * 3), "action has 3 entries, point_u_maze_eval's has 2"),
        ("embed_goal", ([[4.0]],), "goal has 1 entries, point_u_maze_eval's has 2"),
    ],
)
def test_a_loaded_agent_refuses_inputs_of_other_sizes(loaded, function: str, inputs: tuple, message: str):
    with pytest.raises(ConfigError, match=f"^{message}"):
        getattr(loaded, function)(*inputs)


def test_a_loaded_agent_refuses_seeds_and_numbers_of_episodes(loaded, finished: deepcrl.Result):
    state = np.array([4.0, 4.0])
    for seed in (-1, 2**32, 0.5):
        message = rf"^seed = {seed} must be between 0 and 4294967295$"
        for function in (
            lambda seed: loaded.act(state, state, seed=seed),
            lambda seed: loaded.episodes(1, seed=seed),
            lambda seed: deepcrl.evaluate(finished.run_dir, seed=seed),
            lambda seed: render(finished.run_dir, seed=seed),
        ):
            with pytest.raises(ConfigError, match=message):
                function(seed)
    assert loaded.act(state, state, mode="sample", seed=2**32 - 1).shape == (2,)
    for count in (0, -1, 2.5):
        message = rf"^episodes = {count} must be a whole number, at least 1$"
        for function in (
            loaded.episodes,
            lambda count: deepcrl.evaluate(finished.run_dir, num_episodes=count),
            lambda count: render(finished.run_dir, episodes=count),
        ):
            with pytest.raises(ConfigError, match=message):
                function(count)


def test_parts_of_a_run_are_sized_exactly(monkeypatch: pytest.MonkeyPatch):
    """The largest part of each of these is refused from one byte less on than it has once it is made."""
    for config in (tiny(train__replay_capacity=5000), tiny(network__width=128, env__num_envs=2, train__batch_size=2)):
        state = init_state(build(config))
        need = max(sum(leaf.nbytes for leaf in jax.tree.leaves(part)) for part in (state.agent, state.replay))
        monkeypatch.setattr("deepcrl.machine.memory", lambda need=need: need)
        build(config)
        monkeypatch.setattr("deepcrl.machine.memory", lambda need=need: need - 1)
        with pytest.raises(ConfigError, match=r"^(train\.replay_capacity = 5000|network of .*width 128).* GiB here$"):
            build(config)
        monkeypatch.undo()


def test_a_configuration_that_has_changed_since_is_not_shown_for_the_agents(finished: deepcrl.Result, tmp_path: Path):
    run_dir = tmp_path / "run"
    shutil.copytree(finished.run_dir, run_dir)
    data = json.loads((run_dir / "config.json").read_text())
    data["agent"]["discount"] = 0.5
    (run_dir / "config.json").write_text(json.dumps(data))
    for function in (deepcrl.load_agent, deepcrl.evaluate, deepcrl.resume, coverage):
        with pytest.raises(ConfigError, match=r"run/config\.json has changed since checkpoint 10 was written$"):
            function(run_dir)
    page = deepcrl.report(run_dir).read_text()
    assert "run/config.json has changed since checkpoint 10 was written" in page
    assert "0.5" in page


def test_overlap_acts_with_the_agent_of_one_collection_earlier(tmp_path: Path):
    """Against the same schedule written out, without threads or futures."""
    config = tiny("ant", train__overlap=True)
    run = train(config, tmp_path / "run")
    program = build(config)
    state = init_state(program)
    agent, env, replay = state.agent, state.env, state.replay
    behind = jax.tree.map(jax.numpy.copy, agent)
    for index in range(program.plan.num_collections):
        env, transitions = program.collect(behind, env, run_key(0, COLLECT, index))
        replay = deepcrl.replay.buffer.jit_insert(replay, transitions)
        if index >= program.plan.prefill_collections:
            behind = jax.tree.map(jax.numpy.copy, agent)
            agent, _ = program.learn(agent, replay, run_key(0, LEARN, index))
    saved, _ = deepcrl.checkpoint.restore(run.run_dir / "checkpoints", program.plan.num_collections, state)
    for ours, expected in zip(jax.tree.leaves(saved.agent), jax.tree.leaves(agent), strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert rows_of(tiny("ant"))[-1] != numbers(run.rows)[-1]


def test_overlap_is_refused_where_the_environment_is_on_the_device(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"train\.overlap = True needs a host engine.*point_u_maze"):
        train(tiny(train__overlap=True), tmp_path / "run")


def leaves(cls: type = Config, prefix: str = "") -> list[str]:
    hints = typing.get_type_hints(cls)
    paths = []
    for field in dataclasses.fields(cls):
        nested = isinstance(hints[field.name], type) and dataclasses.is_dataclass(hints[field.name])
        paths += leaves(hints[field.name], f"{prefix}{field.name}.") if nested else [prefix + field.name]
    return paths


# For every field another legal value, with what must be set besides for the field to act.
CHANGES = {
    "env.name": "point_u4_maze",
    "env.num_envs": 4,
    "env.episode_length": 15,
    "env.auto_reset": "cached",
    "train.total_env_steps": 3200,
    "train.unroll_length": 10,
    "train.prefill_steps": 80,
    "train.updates_per_env_steps": "1:20",
    "train.batch_size": 16,
    "train.replay_capacity": 21,
    "evaluation.env": "point_u_maze",
    "evaluation.num_evals": 2,
    "evaluation.num_envs": 4,
    "evaluation.mode": "mean",
    "seed": 1,
}
BESIDES = {
    "env.auto_reset": {"env.episode_length": 15},
    # Before the untrained point has reached a corner, where it ends up in either mode.
    "evaluation.mode": {"env.episode_length": 5},
}
# Tested elsewhere: single choices, numbers that must not change, files; the fields of the algorithms and the networks
# in tests/algorithms/test_every_option.py.
ELSEWHERE = {"train.overlap", "env.engine", "checkpoint.keep", "learners"}


def test_the_list_of_options_is_complete():
    assert set(CHANGES) | ELSEWHERE == {path for path in leaves() if path.split(".")[0] not in ("agent", "network")}


def test_early_ends_reach_the_critic_and_the_actor(monkeypatch: pytest.MonkeyPatch):
    """On the ant, with the height of its start as the largest that is healthy, so that episodes soon end."""
    monkeypatch.setattr(ant, "HEALTHY_HEIGHT", (0.2, ant.START_HEIGHT))
    runs = [
        rows_of(tiny("ant", agent__goal_sampling=sampling, agent__end_aversion=aversion, seed=9))
        for sampling, aversion in [("trajectory", 0.0), ("absorbing", 0.0), ("absorbing", 1.0)]
    ]
    losses = [{name: rows[-1][f"train/{name}"] for name in ("critic_loss", "actor_loss")} for rows in runs]
    assert losses[0]["critic_loss"] != losses[1]["critic_loss"]
    assert losses[1]["actor_loss"] != losses[2]["actor_loss"]


@pytest.mark.parametrize("path", CHANGES)
def test_every_option_changes_the_numbers(path: str):
    """With the algorithm that compiles fastest: what it would do is asked of each one elsewhere."""
    base = {"evaluation.num_evals": 1, "train.total_env_steps": 800, **BESIDES.get(path, {})}
    before = override(tiny(algorithm="gcbc"), base)
    assert rows_of(before) != rows_of(override(before, {path: CHANGES[path]}))

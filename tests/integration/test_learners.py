"""Learners beside a collector: they change nothing for it, and are what the metrics say they are."""

import jax
import numpy as np
import pytest

from deepcrl import ConfigError, load_agent, override, preset, train
from deepcrl.algorithms import learners
from deepcrl.evaluate import make_evaluate, summarise
from deepcrl.nn.encoder import actor_depth, actor_width, critic_depth, critic_width
from deepcrl.program import EVALUATE, build, init_state, make_envs, run_key
from reference.settings import TINY

SMALL = override(preset(), TINY)
WIDTH = SMALL.network.width
LEARNERS = ("network.depth=8 agent.energy=dot agent.algorithm=cmd1",)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learners")
    alone = train(SMALL, folder / "alone")
    together = train(override(SMALL, {"learners": LEARNERS}), folder / "together")
    return alone, together


def plain(row: dict) -> dict:
    return {key: value for key, value in row.items() if "learner" not in key and not key.startswith(("time/", "wall"))}


def test_the_collector_learns_as_it_does_alone(runs):
    alone, together = runs
    for before, row in zip(alone.rows, together.rows, strict=True):
        assert plain(row).keys() == plain(before).keys()
        for key, value in plain(before).items():
            assert plain(row)[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key


def test_every_learner_is_measured(runs):
    last = runs[1].rows[-1]
    for name in ("eval/", "train/"):
        own = {key for key in last if key.startswith(f"{name}learner_1/")}
        assert {key.replace("learner_1/", "") for key in own} == {k for k in plain(last) if name in k}
    assert last["train/learner_1/critic_loss"] != last["train/critic_loss"]
    assert np.isfinite(last["train/learner_1/critic_loss"])


def test_members_have_their_own_networks_and_act_with_them():
    config = override(SMALL, {"learners": LEARNERS})
    program = build(config)
    agent = init_state(program).agent
    assert [member.actor.trunk.stack.units.dense.kernel.shape[0] for member in agent] == [1, 2]
    state, goal = jax.random.normal(jax.random.key(0), (2, 5, 2))
    assert not np.allclose(agent[0].actor(state, goal).mean, agent[1].actor(state, goal).mean)
    np.testing.assert_allclose(
        program.algorithm.act(agent, state, goal, jax.random.key(1), "mean"),
        np.tanh(agent[0].actor(state, goal).mean),
        rtol=1e-5,
    )
    # Each evaluation is that of the member's own policy, from the same starts and goals.
    key = run_key(0, EVALUATE, 0)
    for i, own in enumerate(learners.configs(config)):
        alone = build(own).algorithm
        expected = make_evaluate(make_envs(own)[1], alone, config.evaluation.mode, 8)(agent[i], key)
        assert summarise(program.evaluate[i](agent, key)[0]) == pytest.approx(summarise(expected), rel=1e-4)


@pytest.mark.parametrize(("first", "second"), [("sac", "crl"), ("crl", "sac")])
def test_members_start_with_weights_of_their_own(first, second):
    """Also where they split their key alike: an actor of three networks, a critic of two."""
    config = override(preset(algorithm=first), {**TINY, "learners": (f"agent.algorithm={second}",)})
    members = init_state(build(config)).agent
    one, other = map(drawn_rows, members)
    assert len(one) > WIDTH
    assert not one & other


def drawn_rows(agent) -> set[tuple]:
    """Rows of all weights that are no constants."""
    matrices = [np.asarray(leaf).reshape(-1, WIDTH) for leaf in jax.tree.leaves(agent) if leaf.ndim > 2]
    return {tuple(row) for matrix in matrices for row in matrix if np.ptp(row) > 0}


def test_a_run_with_learners_is_loaded_as_its_collector(runs):
    agent = load_agent(runs[1].run_dir)
    alone = load_agent(runs[0].run_dir)
    state, goal = np.ones(2), np.zeros(2)
    np.testing.assert_allclose(agent.act(state, goal), alone.act(state, goal), atol=1e-4)
    np.testing.assert_allclose(agent.value(state, np.ones(2), goal), alone.value(state, np.ones(2), goal), rtol=1e-3)


@pytest.mark.parametrize("text", ["", "depth=4", "network.depth", "train.batch_size=3", "env.name=ant"])
def test_learners_that_cannot_be_are_refused(text):
    with pytest.raises(ConfigError, match=rf"^learners = '{text}': must be changes of agent and network fields"):
        build(override(SMALL, {"learners": [text]}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network.depth=6", "network.depth = 6 is not a multiple"),
        ("agent.discount=nan", "agent.discount = nan must be finite"),
        ("agent.discount=much", "agent.discount = 'much' must be of type float"),
        ("agent.algorithm=clr", "agent.algorithm = 'clr' is not a known algorithm"),
        ("agent.explore=mean", "agent.explore is the collector's alone"),
        ("agent.algorithm=gcbc network.critic_depth=4", "network.critic_depth = 4 must be None"),
    ],
)
def test_a_learners_own_mistakes_are_named(text, message):
    with pytest.raises(ConfigError, match=f"^learners = '{text}': {message}"):
        build(override(SMALL, {"learners": [text]}))


def test_only_the_collector_explores():
    """GCBC has no critic that could rank actions."""
    config = override(SMALL, {"agent.explore": "best_of_4", "learners": ["agent.algorithm=gcbc"]})
    collector, learner = learners.configs(config)
    assert (collector.agent.explore, learner.agent.explore) == ("best_of_4", "sample")
    assert build(config)
    with pytest.raises(ConfigError, match=r"^learners = .*: evaluation\.mode = 'best_of_4' needs a critic"):
        build(override(config, {"evaluation.mode": "best_of_4"}))


@pytest.mark.parametrize("size", ["depth", "width"])
def test_a_learners_size_is_that_of_all_its_networks(size):
    own = {f"network.actor_{size}": 8, f"network.critic_{size}": 12}
    texts = [
        f"network.{size}=16",
        f"network.{size}=16 network.actor_{size}=4",
        f"network.critic_{size}=4",
        "agent.energy=dot",
    ]
    found = learners.configs(override(SMALL, {**own, "learners": texts}))
    sizes = {"depth": (actor_depth, critic_depth), "width": (actor_width, critic_width)}[size]
    assert [tuple(of(one.network) for of in sizes) for one in found] == [(8, 12), (16, 16), (4, 16), (8, 4), (8, 12)]


def test_learners_are_a_list_of_strings():
    with pytest.raises(ConfigError, match="must be a list of strings"):
        override(SMALL, {"learners": "network.depth=4"})

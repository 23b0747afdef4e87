"""Every cell of every experiment at every scale: it plans, and its updates have the right shapes and types."""

import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from deepcrl import algorithms
from deepcrl.config import Config, ConfigError, to_dict
from deepcrl.envs import registry
from deepcrl.envs.protocol import EnvSpec
from deepcrl.experiments import EXPERIMENTS, cells, lookup
from deepcrl.experiments.index import markdown
from deepcrl.experiments.record import SCALES, select
from deepcrl.experiments.results import results
from deepcrl.plan import plan
from deepcrl.program import make_learn, transition_sizes
from deepcrl.replay import buffer

EVERY = [(name, scale) for name in EXPERIMENTS for scale in SCALES]
FIGURES = [f"Figure {number}" for number in (1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 20)]
TABLES = [f"Table {number}" for number in (1, 2, 3, 4)] + ["Tables 5, 6"]


@functools.cache
def spec_of(env: str) -> EnvSpec:
    return registry.make_env(env).spec


def test_every_figure_and_table_that_needs_training_has_a_record():
    sources = " ".join(f"{experiment.source}," for experiment in EXPERIMENTS.values())
    assert not [source for source in (*FIGURES, *TABLES) if f"{source}," not in sources.replace(" (", ", (")]


@pytest.mark.parametrize(("name", "scale"), EVERY)
def test_every_cell_plans(name: str, scale: str):
    found = cells(lookup(name), scale)
    assert found
    for cell in found:
        assert plan(cell.config).total_updates > 0
        assert len(set(cell.runs.values())) == len(cell.seeds)
    assert len({run for cell in found for run in cell.runs.values()}) == sum(len(cell.seeds) for cell in found)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_papers_numbers_belong_to_cells_of_the_papers_scale(name: str):
    labels = [dict(cell.labels) for cell in cells(lookup(name), "paper")]
    for number in lookup(name).published:
        assert dict(number.at) in labels
        assert number.value >= 0


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_claim_is_of_labels_that_some_scale_has(name: str, tmp_path: Path):
    """With both labels, the others being equal; a claim of a label that is nowhere would never be looked at."""
    for claim in lookup(name).claims:
        groups: dict[tuple, set[str]] = {}
        for scale in SCALES:
            for result in results(lookup(name), scale, tmp_path):
                labels = dict(result.cell.labels)
                label = labels.pop(claim.axis, "")
                if claim.where.items() <= labels.items():
                    groups.setdefault((scale, *labels.values()), set()).add(label)
        assert any({claim.better, claim.worse} <= labels for labels in groups.values()), claim


def test_claims_of_what_analyses_find_are_of_numbers_that_they_find():
    """By the committed pages, whose tables have a column for each."""
    named = {(name, claim.of) for name in EXPERIMENTS for claim in lookup(name).claims if claim.of}
    assert named == {("q_maps", "sides_with_path"), ("embeddings", "spread_near_goal")}
    for name, number in named:
        page = Path(__file__).parents[2] / "docs" / "results" / f"{name}-laptop.md"
        assert f"| {number} |" in page.read_text()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_axes_are_named_in_every_scale_that_has_them(name: str):
    experiment = lookup(name)
    assert set(experiment.scales) == set(SCALES)
    for scale in ("paper", "laptop"):
        assert experiment.x in [axis.name for axis in experiment.scales[scale].axes]


def test_what_is_trained_in_the_papers_scale_is_the_papers():
    """Table 1's cell of depth 64, written out."""
    (cell,) = [c for c in cells(lookup("depth"), "paper") if c.labels == {"task": "ant_u5_maze", "depth": "64"}]
    config = cell.config
    assert (config.network.depth, config.network.width, config.train.batch_size, config.env.num_envs) == (
        64,
        256,
        512,
        512,
    )
    assert plan(config).total_env_steps == 399_974_400
    assert (config.env.engine, config.env.auto_reset, config.evaluation.env) == ("spring", "cached", "ant_u5_maze_eval")
    assert plan(config).total_updates == 4 * 3150 * 800 - 17 * 800


NUMBERS = ("discount", "actor_learning_rate", "critic_learning_rate", "temperature_learning_rate")
SIZES = ("depth", "width", "actor_depth", "critic_depth", "actor_width", "critic_width")


def step_of(config: Config) -> tuple:
    """What decides the types of a training step; depth, width and batch are lengths of axes that are there anyway, and
    discounts and step sizes are numbers."""
    spec = spec_of(config.env.name)
    network = {key: value for key, value in to_dict(config)["network"].items() if key not in SIZES}
    of_learners = [" ".join(word for word in text.split() if "depth" not in word) for text in config.learners]
    agent = {key: value for key, value in to_dict(config)["agent"].items() if key not in NUMBERS}
    return (spec.state_size, spec.goal_size, spec.action_size), json.dumps([agent, network, of_learners])


STEPS = {step_of(cell.config): (name, scale, cell) for name, scale in EVERY for cell in cells(lookup(name), scale)}


@pytest.mark.parametrize("key", STEPS, ids=[f"{name}-{scale}-{i}" for i, (name, scale, _) in enumerate(STEPS.values())])
def test_every_training_step_type_checks(key: tuple):
    """Nothing is computed: shapes and types only."""
    config = STEPS[key][2].config
    spec = spec_of(config.env.name)
    algorithm = algorithms.build(config, spec)
    agent = jax.eval_shape(algorithm.init, jax.random.key(0))
    sizes = buffer.column_sizes(algorithm.columns, transition_sizes(spec))
    replay = jax.eval_shape(lambda: buffer.init(sizes, 100, 4))
    learn = make_learn(algorithm, 2, config.train.batch_size)
    after, metrics = jax.eval_shape(learn, agent, replay, jax.random.key(1))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), agent
    )
    assert all(leaf.shape == () and leaf.dtype == np.float32 for leaf in jax.tree.leaves(metrics))


def test_the_index_is_up_to_date():
    page = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
    assert markdown(list(EXPERIMENTS.values())) in page, "refresh it: deepcrl experiment list --markdown"


def test_unknown_names_are_refused_with_near_matches():
    with pytest.raises(ConfigError, match="no experiment is called 'dept'; did you mean depth"):
        lookup("dept")
    with pytest.raises(ConfigError, match="scale = 'desk' of depth"):
        cells(lookup("depth"), "desk")


def test_cells_are_chosen_by_labels_and_seeds():
    every = cells(lookup("depth"), "laptop")
    chosen = select(every, ["depth=4", "depth=32", "task=point_big_maze", "seed=3", "seed=1"])
    assert [cell.labels for cell in chosen] == [{"task": "point_big_maze", "depth": depth} for depth in ("4", "32")]
    whole = [cell for cell in every if cell.labels in [one.labels for one in chosen]]
    assert [cell.runs for cell in chosen] == [{seed: cell.runs[seed] for seed in (1, 3)} for cell in whole]
    assert select(every, []) == every
    spaced = select(cells(lookup("layernorm_activation"), "laptop"), ["layers=no LayerNorm"])
    assert {cell.labels["layers"] for cell in spaced} == {"no LayerNorm"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("dept=4", "only = 'dept=4': did you mean depth"),
        ("depth=5", "only = 'depth=5': depth is one of '4', '8', '16', '32'"),
        ("depth", "only = 'depth': depth is one of '4', '8', '16', '32'"),
        ("seed=9", "only = 'seed=9': seed is one of '0', '1', '2', '3', '4'"),
    ],
)
def test_labels_that_no_cell_has_are_named(word: str, message: str):
    with pytest.raises(ConfigError, match=message):
        select(cells(lookup("depth"), "laptop"), [word])

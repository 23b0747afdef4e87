"""The plan: exact integers, and refusals that name values which really are legal."""

import re
import typing
from typing import Any

import numpy as np
import pytest

from deepcrl.algorithms import crl
from deepcrl.algorithms.crl import CRLConfig
from deepcrl.config import Config, ConfigError, EnvConfig, override
from deepcrl.plan import check_memory, nearest_multiples, plan

PAPER = Config(env=EnvConfig("a_maze"), agent=CRLConfig("crl"))
SMALL = override(
    PAPER,
    {
        "env.num_envs": 8,
        "train.unroll_length": 10,
        "train.prefill_steps": 25,
        "train.updates_per_env_steps": "1:40",
        "train.total_env_steps": 80 * 23,
        "evaluation.num_evals": 6,
    },
)


def refusal(config: Config) -> str:
    with pytest.raises(ConfigError) as error:
        plan(config)
    return str(error.value)


def named(message: str) -> list[int]:
    """The numbers after the last colon, or after "at least"."""
    text = re.split(r": |at least ", message)[-1]
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", text)]


def test_the_papers_numbers():
    """512 environments x 62 steps, 800 updates each time, 17 collections of prefill (the release's)."""
    found = plan(PAPER)
    assert found.collection_env_steps == 31_744
    assert found.updates_per_collection == 800
    assert found.prefill_collections == 17
    assert found.env_steps(17) == 539_648
    assert found.num_collections == 3150
    assert found.total_env_steps == PAPER.train.total_env_steps == 99_993_600
    assert found.total_updates == (3150 - 17) * 800 == 2_506_400
    assert len(found.eval_after) == 101
    assert found.eval_after[:2] == (0, 17 + 31)


def test_a_small_plan_worked_by_hand():
    """80 env steps a collection, 23 collections, 3 of them prefill (25 steps of 10), 2 updates after each of 20."""
    found = plan(SMALL)
    assert (found.collection_env_steps, found.num_collections, found.prefill_collections) == (80, 23, 3)
    assert (found.updates_per_collection, found.total_updates, found.total_env_steps) == (2, 40, 1840)
    assert found.eval_after == (0, 6, 9, 13, 16, 19, 23)
    assert [found.updates(done) for done in (0, 2, 3, 4, 23)] == [0, 0, 0, 2, 40]
    assert [found.env_steps(done) for done in (0, 1, 23)] == [0, 80, 1840]


@pytest.mark.parametrize(("steps", "collections"), [(1, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_prefill_is_at_least_the_steps_asked_for_in_whole_collections(steps, collections):
    assert plan(override(SMALL, {"train.prefill_steps": steps})).prefill_collections == collections


def test_random_plans_keep_budget_ratio_and_schedule_exactly():
    rng = np.random.default_rng(0)
    for _ in range(200):
        envs, unroll, updates = (int(n) for n in rng.integers(1, 40, 3))
        prefill, learning = int(rng.integers(1, 100)), int(rng.integers(1, 60))
        collections = -(-prefill // unroll) + learning
        evals = int(rng.integers(1, learning + 1))
        factor = int(rng.integers(1, 5))
        config = override(
            SMALL,
            {
                "env.num_envs": envs,
                "train.unroll_length": unroll,
                "train.prefill_steps": prefill,
                "train.total_env_steps": envs * unroll * collections,
                "train.updates_per_env_steps": f"{updates * factor}:{envs * unroll * factor}",
                "evaluation.num_evals": evals,
            },
        )
        found = plan(config)
        assert found.total_env_steps == config.train.total_env_steps
        assert found.prefill_collections * unroll >= prefill > (found.prefill_collections - 1) * unroll
        assert found.total_updates == updates * learning == found.updates(collections)
        assert found.total_updates * envs * unroll == updates * (
            found.total_env_steps - found.env_steps(found.prefill_collections)
        )
        # evals + 1 evaluations: one before everything, the rest in the learning, as even as whole numbers are.
        assert found.eval_after[0] == 0
        assert found.eval_after[-1] == collections == found.num_collections
        gaps = np.diff([found.prefill_collections, *found.eval_after[1:]])
        assert len(gaps) == evals
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1


def test_budgets_are_met_exactly_or_refused_with_the_nearest_legal_ones():
    for total in (1841, 1919, 80 * 9 - 1, 80 * 9 + 1, 80 * 8 + 3, 80 * 3 + 1, 5):
        config = override(SMALL, {"train.total_env_steps": total})
        message = refusal(config)
        assert f"train.total_env_steps = {total:,}" in message
        nearest = named(message)
        legal = [80 * n for n in range(100) if _plans(override(SMALL, {"train.total_env_steps": 80 * n}))]
        below, above = [n for n in legal if n < total][-1:], [n for n in legal if n > total][:1]
        assert nearest == below + above


def test_a_budget_that_the_prefill_eats_is_refused_with_the_least_legal_one():
    for collections in (1, 3):
        nearest = named(refusal(override(SMALL, {"train.total_env_steps": 80 * collections})))
        assert nearest == [80 * 9]  # 3 of prefill and 6, one for each evaluation
        assert _plans(override(SMALL, {"train.total_env_steps": nearest[0]}))
        assert not _plans(override(SMALL, {"train.total_env_steps": nearest[0] - 80}))


def test_ratios_that_do_not_divide_a_collection_are_refused_with_the_nearest_legal_unrolls():
    cases = [(512, "1:40", 62), (512, "800:31744", 61), (12, "3:40", 7), (7, "2:9", 4), (100, "1:40", 1), (9, "7:4", 3)]
    for envs, ratio, unroll in cases:
        changes = {"env.num_envs": envs, "train.updates_per_env_steps": ratio}

        def at(unroll: int, envs: int = envs, changes: dict[str, Any] = changes) -> Config:
            lengths = {"train.unroll_length": unroll, "train.total_env_steps": envs * unroll * 200}
            return override(SMALL, {**changes, **lengths})

        message = refusal(at(unroll))
        assert f"train.updates_per_env_steps = {ratio} gives" in message
        updates, env_steps = map(int, ratio.split(":"))
        assert f"gives {envs * unroll * updates / env_steps:.3f} updates" in message
        legal = [length for length in range(1, 200) if _plans(at(length))]
        below, above = [n for n in legal if n < unroll][-1:], [n for n in legal if n > unroll][:1]
        assert named(message) == below + above


@pytest.mark.parametrize("ratio", ["1/40", "40", "0:40", "1:0", "-1:40", "1.5:40", "1:40:2", "", " 1:40"])
def test_malformed_ratios_are_refused(ratio):
    assert "must be two positive integers" in refusal(override(SMALL, {"train.updates_per_env_steps": ratio}))


def test_more_evaluations_than_collections_are_refused_with_the_most_there_can_be():
    message = refusal(override(SMALL, {"evaluation.num_evals": 21}))
    assert "evaluation.num_evals = 21 must be between 1 and 20" in message
    assert plan(override(SMALL, {"evaluation.num_evals": 20})).eval_after == (0, *range(4, 24))
    assert plan(override(SMALL, {"evaluation.num_evals": 1})).eval_after == (0, 23)


COUNTS = {
    "env.num_envs": 1,
    "env.episode_length": 1,
    "train.total_env_steps": 1,
    "train.unroll_length": 1,
    "train.prefill_steps": 1,
    "evaluation.num_envs": 1,
    "evaluation.num_evals": 1,
    "checkpoint.keep": 1,
    "train.batch_size": 2,
    "train.replay_capacity": 10,
    "seed": 0,
}


@pytest.mark.parametrize(("path", "least"), COUNTS.items())
def test_counts_below_their_least_are_refused_by_name(path, least):
    for value in (least - 1, -5):
        assert f"{path} = {value} must" in refusal(override(SMALL, {path: value}))
    # The least itself passes this check, whether or not it fits the rest of the plan.
    config = override(SMALL, {path: least})
    assert _plans(config) or f"{path} = {least} must" not in refusal(config)


def test_the_largest_seed_is_that_of_32_bits():
    assert plan(override(SMALL, {"seed": 2**32 - 1}))
    assert "seed = 4294967296 must be between 0 and 4294967295" in refusal(override(SMALL, {"seed": 2**32}))


def integer_fields(node: Any = PAPER, prefix: str = "") -> list[str]:
    found = []
    for name, hint in typing.get_type_hints(type(node)).items():
        if hint is int or int in typing.get_args(hint):
            found.append(prefix + name)
        elif hasattr(hint, "__dataclass_fields__"):
            found += integer_fields(getattr(node, name), f"{prefix}{name}.")
    return found


def test_no_integer_field_of_the_whole_configuration_is_left_unchecked():
    def check(config: Config) -> None:
        plan(config)
        crl.check(config)

    fields = integer_fields()
    assert set(COUNTS) < set(fields)
    for path in fields:
        with pytest.raises(ConfigError, match=rf"{re.escape(path)} = -1 "):
            check(override(SMALL, {path: -1}))


@pytest.mark.parametrize(
    ("path", "value", "legal"),
    [
        ("agent.discount", 1.0, 0.999),
        ("agent.discount", 0.0, 0.001),
        ("agent.discount", 1.0 - 1e-9, 1.0 - 1e-7),
        ("agent.window_length", 1, 2),
        ("agent.window_length", 2**31, 2**31 - 1),
        ("agent.warmup_updates", 2**31, 2**31 - 1),
        ("agent.max_grad_norm", 0.0, 0.1),
        ("agent.logsumexp_penalty", -0.1, 0.0),
        ("agent.random_goals", 1.1, 1.0),
        ("train.prefill_steps", 1, 2),
        ("train.replay_capacity", 1, 2),
        ("agent.actor_learning_rate", 0.0, 1e-5),
        ("agent.critic_learning_rate", -1e-3, 1e-3),
        ("agent.temperature_learning_rate", 1.0, 0.5),
        ("agent.explore", "best_of_1", "best_of_2"),
        ("agent.explore", "best_of_", "mean"),
        ("evaluation.mode", "argmax", "sample"),
    ],
)
def test_settings_that_the_algorithm_cannot_run_with_are_refused_by_name(path, value, legal):
    with pytest.raises(ConfigError, match=rf"^{re.escape(path)} = {value!r}"):
        crl.check(override(SMALL, {path: value}))
    crl.check(override(SMALL, {path: legal}))


@pytest.mark.parametrize("energy", ["mrn", "iqe"])
def test_quasimetrics_refuse_embeddings_that_do_not_split(energy):
    with pytest.raises(ConfigError, match=rf"^network.representation_size = 40 must be a multiple of 16 .*'{energy}'"):
        crl.check(override(SMALL, {"agent.energy": energy, "network.representation_size": 40}))
    crl.check(override(SMALL, {"agent.energy": energy, "network.representation_size": 48}))
    crl.check(override(SMALL, {"network.representation_size": 40}))


def test_only_what_is_more_than_all_memory_is_refused():
    check_memory("train.batch_size = 3", 2**31, 2**31)
    with pytest.raises(ConfigError) as error:
        check_memory("train.batch_size = 3", 3 * 2**40 + 2**29, 2**31)
    expected = "train.batch_size = 3 needs at least 3,072.5 GiB of memory, and there are 2.0 GiB here"
    assert str(error.value) == expected


def test_the_logits_of_a_batch_must_fit_in_memory(monkeypatch):
    monkeypatch.setattr("deepcrl.machine.memory", lambda: 4 * 512**2)
    crl.check(override(SMALL, {"train.batch_size": 512}))
    with pytest.raises(ConfigError, match=r"^train\.batch_size = 513 needs at least"):
        crl.check(override(SMALL, {"train.batch_size": 513}))


def test_nearest_multiples():
    assert nearest_multiples(1007, 100) == "1,000 and 1,100"
    assert nearest_multiples(7, 100) == "100"
    assert nearest_multiples(250, 100, least=3) == "300"
    assert nearest_multiples(250, 100, least=7) == "700"


def _plans(config: Config) -> bool:
    try:
        plan(config)
    except ConfigError:
        return False
    return True

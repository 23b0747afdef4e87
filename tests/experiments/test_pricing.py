"""What an experiment will cost, against sums done by hand from rates that were not measured."""

from pathlib import Path

import pytest

from deepcrl.config import Config, override
from deepcrl.experiments import pricing
from deepcrl.experiments.pricing import Price, Rates
from deepcrl.experiments.record import Cell
from deepcrl.experiments.runs import Job
from deepcrl.presets import preset

RATES = Rates(compile_s=30.0, collection_s=0.8, update_s=0.25, state_bytes=1_000_000)


def config_of(**changes) -> Config:
    """Ten collections of 8 x 20 env steps, two of them prefill, and 4 updates after each of the others."""
    sizes = {
        "env.num_envs": 8,
        "train.unroll_length": 20,
        "train.prefill_steps": 40,
        "train.updates_per_env_steps": "1:40",
        "train.total_env_steps": 1600,
        "evaluation.num_evals": 4,
        "evaluation.num_envs": 8,
    }
    return override(preset("point_u_maze"), sizes | {key.replace("__", "."): value for key, value in changes.items()})


def job_of(seeds: int, **changes) -> Job:
    return Job(
        Cell({}, config_of(**changes), tuple(range(seeds))), {seed: Path(f"run-{seed}") for seed in range(seeds)}
    )


@pytest.mark.parametrize(
    ("job", "seconds"),
    [
        # 10 collections of 0.8 s, 32 updates of 0.25 s, and five evaluations of 8 x 200 env steps of 0.8 / 160 s.
        (job_of(1), 30 + (8 + 8 + 40)),
        (job_of(3), 30 + 3 * (8 + 8 + 40)),
        (job_of(1, env__episode_length=50), 30 + (8 + 8 + 10)),
        (job_of(1, evaluation__num_evals=8), 30 + (8 + 8 + 72)),
        (job_of(1, evaluation__num_envs=4), 30 + (8 + 8 + 20)),
        (job_of(1, train__prefill_steps=80), 30 + (8 + 6 + 40)),
        (job_of(2, learners=("network.depth=4", "network.depth=16")), 30 + 2 * (8 + 8 + 3 * 40)),
    ],
    ids=["one seed", "three seeds", "episode length", "evaluations", "episodes", "prefill", "learners"],
)
def test_seconds_of_a_job(job: Job, seconds: float):
    assert pricing.job_seconds(job, RATES) == pytest.approx(seconds)


def test_the_total_of_several_jobs_with_two_workers():
    three, one, unknown = job_of(3), job_of(1, train__total_env_steps=3200, checkpoint__keep=5), job_of(2)
    assert three.cell.config.checkpoint.keep == 2
    work = [three, one, unknown]
    priced = [(three, RATES, 5400.0), (one, RATES._replace(state_bytes=2_000_000), 1800.0), (unknown, None, 0.0)]
    assert pricing.total(work, priced, 2) == Price(
        runs=3 + 1 + 2,
        env_steps=3 * 1600 + 3200 + 2 * 1600,
        updates=3 * 32 + 72 + 2 * 32,
        hours=1.0,
        disk_bytes=3 * 3 * 1_000_000 + 6 * 2_000_000,  # the newest two or five of each run, and the best
    )
    assert pricing.total(work, priced, 1).hours == 2.0
    assert pricing.total([], [], 2) == Price(0, 0, 0, 0.0, 0)


def test_rates_are_measured_once_for_each_configuration_and_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    measured = []

    def measure(config: Config, workers: int) -> list[float]:
        measured.append((config.env.num_envs, workers))
        return [30.0 * workers, 0.8, 0.25, 1_000_000]

    monkeypatch.setattr(pricing, "_measured", measure)
    work = [job_of(1), job_of(3, seed=7), job_of(1, env__num_envs=4)]
    found = [[seconds for *_, seconds in pricing.price(work, workers, tmp_path)] for workers in (1, 2, 1)]
    assert measured == [(8, 1), (4, 1), (8, 2), (4, 2)]
    # With 4 environments: 20 collections of 0.8 s, 36 updates of 0.25 s, and 8,000 env steps of 0.8 / 80 s.
    runs = (8 + 8 + 40), 3 * (8 + 8 + 40), (16 + 9 + 80)
    assert found == [pytest.approx([compiling + run for run in runs]) for compiling in (30, 60, 30)]

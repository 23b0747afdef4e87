"""Training settings that suit families of environments on two cores: overrides of the paper's, by dotted path.

The table's rows refer to them, and `preset` applies them. `docs/fidelity.md` compares them with the paper's.
"""

from typing import Any

Settings = dict[str, Any]

FEW_UPDATES: Settings = {
    "agent.actor_learning_rate": 1e-3,
    "agent.critic_learning_rate": 1e-3,
    "agent.temperature_learning_rate": 3e-3,
}
"""Larger learning rates, for runs of ten or twenty thousand updates instead of the paper's 2.5 million."""
POINT: Settings = {
    "env.num_envs": 128,
    "network.depth": 8,
    "network.width": 64,
    # Corridors are short compared to 1 / (1 - 0.99) = 100 steps: with the paper's discount one step more or less hardly
    # changes a value.
    "agent.discount": 0.95,
    # Hindsight goals lie only a few steps ahead; other pairs' goals may lie behind walls, as the commanded ones do.
    "agent.random_goals": 0.5,
    **FEW_UPDATES,
    "train.batch_size": 256,
    "train.unroll_length": 50,
    "train.prefill_steps": 200,
    "train.updates_per_env_steps": "1:40",
    "train.total_env_steps": 640_000,
    "evaluation.num_evals": 20,
    # Without noise the point can come to rest just outside the radius.
    "evaluation.mode": "sample",
}
ROBOT: Settings = {
    "env.num_envs": 64,
    "network.depth": 8,
    "network.width": 256,
    "train.batch_size": 256,
    "train.unroll_length": 125,
    "train.prefill_steps": 1000,
    "train.updates_per_env_steps": "1:40",
    # At the paper's 3e-4 the entropy needs 1.2 million env steps to come down to its target.
    "agent.temperature_learning_rate": 3e-3,
    "train.total_env_steps": 3_200_000,
    "evaluation.num_evals": 32,
}
ANT: Settings = {
    **ROBOT,
    # The goal lies farther than the ant has ever been for the first half million steps.
    "agent.random_goals": 0.5,
}
GYMNASIUM: Settings = {
    "env.num_envs": 16,
    "network.depth": 4,
    "network.width": 128,
    # Episodes are short, and goals are small compared to a step.
    "agent.discount": 0.9,
    "agent.random_goals": 0.5,
    **FEW_UPDATES,
    "train.batch_size": 256,
    "train.unroll_length": 50,
    "train.prefill_steps": 200,
    "train.updates_per_env_steps": "1:4",
    "train.total_env_steps": 40_000,
    "evaluation.num_evals": 10,
    "evaluation.num_envs": 32,
}
"""For environments not known in advance: settings that suit Gymnasium-Robotics' FetchReach."""

"""What algorithms share: optimisers, and the order in which a learner's changes are made."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from deepcrl.algorithms import agent_defaults, learners, parts
from deepcrl.config import Config, EnvConfig, override


def test_steps_grow_linearly_to_the_full_rate_and_gradients_are_clipped_before_adam():
    base = agent_defaults("crl")
    optimiser = parts.adam(1e-2, dataclasses.replace(base, warmup_updates=4))
    params, state, sizes = jnp.zeros(()), optimiser.init(jnp.zeros(())), []
    for _ in range(6):
        new, state = parts.step(optimiser, params, state, jnp.ones(()))
        sizes.append(float(params - new))
        params = new
    # Under a constant gradient Adam's step is its rate.
    np.testing.assert_allclose(sizes, np.array([0.25, 0.5, 0.75, 1.0, 1.0, 1.0]) * 1e-2, rtol=1e-4)

    optimiser = parts.adam(1e-2, dataclasses.replace(base, max_grad_norm=0.5))
    _, state = parts.step(optimiser, jnp.zeros(2), optimiser.init(jnp.zeros(2)), jnp.asarray([3.0, 4.0]))
    np.testing.assert_allclose(parts.first_moment(state), 0.1 * 0.5 * np.array([0.6, 0.8]), rtol=1e-5)


def test_a_learners_algorithm_is_chosen_before_its_settings():
    config = Config(EnvConfig("none"), agent_defaults("crl"))
    (_, own) = learners.configs(override(config, {"learners": ["agent.max_entropy=True agent.algorithm=gcbc"]}))
    assert own.agent == dataclasses.replace(agent_defaults("gcbc"), max_entropy=True)

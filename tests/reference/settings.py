"""Settings of a run that takes seconds and goes through all that a long one does."""

TINY = {
    "env.num_envs": 8,
    "env.episode_length": 20,
    "network.depth": 4,
    "network.width": 16,
    "train.total_env_steps": 400,
    "train.unroll_length": 10,
    "train.prefill_steps": 20,
    "train.batch_size": 16,
    "evaluation.num_evals": 2,
    "evaluation.num_envs": 8,
}

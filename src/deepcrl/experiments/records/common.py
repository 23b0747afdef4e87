"""Building blocks that several records share: tasks, budgets, small sizes."""

from deepcrl.experiments.record import Axis, Changes, Published

HUNDRED_MILLION = 99_993_600
"""The paper's 100 million env steps: the 3,150 whole collections that its code does of them."""
DEPTHS = (4, 8, 16, 32, 64)
FIVE = (0, 1, 2, 3, 4)
THREE_SEEDS = (0, 1, 2)
HARD_MAZES = ("point_u_maze", "point_big_maze")
"""A straight line to most goals runs into a wall in both."""
BUDGETS = {
    "arm_binpick_hard": 1,
    "arm_push_easy": 1,
    "arm_push_hard": 1,
    "ant_u4_maze": 1,
    "ant_u5_maze": 4,
    "ant_big_maze": 1,
    "ant_hardest_maze": 2,
    "humanoid": 1,
    "humanoid_u_maze": 4,
    "humanoid_big_maze": 4,
}
"""The ten tasks of the paper, and how many hundred million env steps each is trained for."""


def tasks(*names: str) -> Axis:
    """Some of the paper's tasks, each with its own budget."""
    values: dict[str, Changes] = {
        name: {
            "env.name": name,
            "train.total_env_steps": BUDGETS[name] * HUNDRED_MILLION,
            "evaluation.num_evals": BUDGETS[name] * 100,
        }
        for name in names
    }
    return Axis("task", values)


def mazes(*names: str) -> Axis:
    """Environments with their presets' budgets."""
    return Axis("task", {name: {"env.name": name} for name in names})


ALL = tuple(BUDGETS)
THREE = ("humanoid", "ant_big_maze", "arm_push_easy")
"""The tasks of most ablations."""
SMOKE: Changes = {
    "env.name": "point_u_maze",
    "env.num_envs": 8,
    "env.episode_length": 20,
    "network.depth": 4,
    "network.width": 8,
    "train.total_env_steps": 400,
    "train.unroll_length": 10,
    "train.prefill_steps": 20,
    "train.batch_size": 16,
    "evaluation.num_evals": 2,
    "evaluation.num_envs": 8,
}
"""A run of seconds, in which nothing is learnt."""
LAPTOP: Changes = {"checkpoint.keep": 1}
"""Besides an environment's preset: point mazes have width 64, batches of 256 and one update per 40 env steps there."""

LEVELS = (10.0, 25.0, 50.0, 75.0)
"""Of 200 env steps at the goal in a point maze."""


def row(values: tuple[float, ...], axis: str, labels: tuple[object, ...], **at: str) -> tuple[Published, ...]:
    """Numbers of the paper along one axis."""
    return tuple(Published({axis: str(label), **at}, value) for label, value in zip(labels, values, strict=True))


def hours(
    values: tuple[tuple[float, float], ...], axis: str, labels: tuple[object, ...], **at: str
) -> tuple[Published, ...]:
    """Wall times of the paper along one axis, each with its standard error; kept in seconds."""
    return tuple(
        Published({axis: str(label), **at}, 3600 * value, 3600 * error)
        for label, (value, error) in zip(labels, values, strict=True)
    )

"""Limits of depth, and its cost in wall time: the paper's Figure 12 (main text) and its Tables 3 and 4."""

from deepcrl.experiments.record import Axis, Claim, Experiment, Scale, along
from deepcrl.experiments.records.common import (
    ALL,
    DEPTHS,
    FIVE,
    HUNDRED_MILLION,
    LAPTOP,
    SMOKE,
    THREE_SEEDS,
    hours,
    mazes,
    tasks,
)

LIMITS = Experiment(
    name="limits",
    source="Figure 12 (main text)",
    question="Does depth go on helping up to 1024 layers?",
    finding="It does in the humanoid's U-maze, to 1024 layers of the critic; in its big maze to 256.",
    scales={
        "paper": Scale(
            (
                Axis(
                    "task",
                    {
                        "humanoid_u_maze": {
                            "env.name": "humanoid_u_maze",
                            "train.total_env_steps": HUNDRED_MILLION * 3 // 2,
                            "evaluation.num_evals": 150,
                        },
                        "humanoid_big_maze": {
                            "env.name": "humanoid_big_maze",
                            "train.total_env_steps": HUNDRED_MILLION,
                        },
                    },
                ),
                Axis(
                    "depth",
                    {str(depth): {"network.depth": depth} for depth in (4, 64, 256, 512)}
                    | {"1024": {"network.critic_depth": 1024, "network.actor_depth": 512}},
                ),
            ),
            THREE_SEEDS,
            leave_out=lambda labels: labels["depth"] == ("512" if labels["task"] == "humanoid_u_maze" else "1024"),
        ),
        "laptop": Scale(
            (mazes("point_u_maze"), along("depth", "network.depth", 4, 64, 256)),
            (0,),
            {
                **LAPTOP,
                "network.width": 16,
                "network.branch_scale": "depth",
                "train.total_env_steps": 160_000,
                "evaluation.num_evals": 5,
            },
        ),
        "smoke": Scale((along("depth", "network.depth", 4, 256),), (0,), SMOKE),
    },
    claims=(Claim("depth", "64", "4"), Claim("depth", "256", "64"), Claim("depth", "1024", "256")),
    x="depth",
    note="At 1024 the paper's actor has 512 layers, since its loss exploded with more. The figure gives no numbers. "
    "At laptop scale branches are scaled by depth, network.branch_scale, which the paper's network has not.",
)

# By task: hours at depths 4 to 64, each as (mean, standard error).
TABLE_3 = {
    "humanoid": ((1.48, 0.00), (2.13, 0.01), (3.40, 0.01), (5.92, 0.01), (10.99, 0.01)),
    "ant_big_maze": ((2.12, 0.00), (2.77, 0.00), (4.04, 0.01), (6.57, 0.02), (11.66, 0.03)),
    "ant_u4_maze": ((1.98, 0.27), (2.54, 0.01), (3.81, 0.01), (6.35, 0.01), (11.43, 0.03)),
    "ant_u5_maze": ((9.46, 1.75), (10.99, 0.02), (16.09, 0.01), (31.49, 0.34), (46.40, 0.12)),
    "ant_hardest_maze": ((5.11, 0.00), (6.39, 0.00), (8.94, 0.01), (13.97, 0.01), (23.96, 0.06)),
    "arm_push_easy": ((9.97, 1.03), (11.02, 1.29), (12.20, 1.43), (14.94, 1.96), (19.52, 1.97)),
    "arm_push_hard": ((9.74, 1.05), (10.55, 1.20), (11.98, 1.49), (14.40, 1.64), (18.53, 0.06)),
    "arm_binpick_hard": ((18.41, 2.16), (17.48, 1.88), (19.47, 0.05), (21.91, 1.93), (29.64, 6.10)),
    "humanoid_u_maze": ((8.72, 0.01), (11.29, 0.01), (16.36, 0.03), (26.48, 0.05), (46.74, 0.04)),
    "humanoid_big_maze": ((12.45, 0.02), (15.02, 0.01), (20.34, 0.01), (30.61, 0.05), (50.33, 0.05)),
}
WALL_CLOCK = Experiment(
    name="wall_clock",
    source="Table 3",
    question="What does depth cost in time?",
    finding="Hours grow less than in proportion to depth: 1.6 to 7.4 times from depth 4 to 64.",
    scales={
        "paper": Scale((tasks(*ALL), along("depth", "network.depth", *DEPTHS)), FIVE),
        "laptop": Scale(
            (mazes("point_u_maze"), along("depth", "network.depth", 4, 16, 64, 256, 1024)),
            (0,),
            {
                **LAPTOP,
                "train.total_env_steps": 64_000,
                "train.updates_per_env_steps": "1:320",
                "evaluation.num_evals": 1,
                "evaluation.num_envs": 16,
            },
        ),
        "smoke": Scale((along("depth", "network.depth", 4, 8),), (0, 1), SMOKE),
    },
    x="depth",
    metric="wall_s",
    published=tuple(number for task, values in TABLE_3.items() for number in hours(values, "depth", DEPTHS, task=task)),
    note="The paper's hours, in seconds here, of graphics cards that it does not name. At laptop scale a few updates "
    "only, one for every 320 env steps.",
)

TABLE_4 = (
    (3.23, 0.001),
    (4.19, 0.003),
    (6.07, 0.003),
    (9.83, 0.006),
    (17.33, 0.003),
    (32.67, 0.124),
    (73.83, 2.364),
    (120.88, 2.177),
    (134.15, 0.081),
)
WALL_CLOCK_LIMITS = Experiment(
    name="wall_clock_limits",
    source="Table 4",
    question="What do 1024 layers cost in time?",
    finding="134 hours in the humanoid's U-maze, 42 times as many as 4 layers.",
    scales={
        "paper": Scale(
            (
                Axis("task", {"humanoid_u_maze": {"env.name": "humanoid_u_maze"}}),
                Axis(
                    "depth",
                    {str(depth): {"network.depth": depth} for depth in (4, 8, 16, 32, 64, 128, 256, 512)}
                    | {"1024": {"network.critic_depth": 1024, "network.actor_depth": 512}},
                ),
            ),
            (0,),
            {"train.total_env_steps": HUNDRED_MILLION * 3 // 2, "evaluation.num_evals": 150},
        ),
        "laptop": WALL_CLOCK.scales["laptop"],
        "smoke": WALL_CLOCK.scales["smoke"],
    },
    x="depth",
    metric="wall_s",
    published=hours(TABLE_4, "depth", (4, 8, 16, 32, 64, 128, 256, 512, 1024), task="humanoid_u_maze"),
    note="Ratios to Table 3 say that these runs had 150 million env steps, not 400.",
)

EXPERIMENTS = (LIMITS, WALL_CLOCK, WALL_CLOCK_LIMITS)

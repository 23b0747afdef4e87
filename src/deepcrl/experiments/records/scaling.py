"""Depth, budget, width and batch: the paper's Figures 1, 4 to 7 and its Table 1."""

from deepcrl.experiments.record import Axis, Changes, Claim, Experiment, Published, Scale, along
from deepcrl.experiments.records.common import (
    ALL,
    DEPTHS,
    FIVE,
    HARD_MAZES,
    HUNDRED_MILLION,
    LAPTOP,
    LEVELS,
    SMOKE,
    THREE,
    THREE_SEEDS,
    mazes,
    row,
    tasks,
)

# By task: scores at depths 4 and 64, each as (mean, standard error) (Table 1).
TABLE_1 = {
    "arm_binpick_hard": ((38, 4), (219, 15)),
    "arm_push_easy": ((308, 33), (762, 30)),
    "arm_push_hard": ((171, 11), (410, 13)),
    "ant_u4_maze": ((11.4, 4.1), (286, 36)),
    "ant_u5_maze": ((0.97, 0.7), (61, 18)),
    "ant_big_maze": ((61, 20), (441, 25)),
    "ant_hardest_maze": ((215, 8), (387, 21)),
    "humanoid": ((12.6, 1.3), (649, 19)),
    "humanoid_u_maze": ((3.2, 1.2), (159, 33)),
    "humanoid_big_maze": ((0.06, 0.04), (59, 21)),
}
DEPTH = Experiment(
    name="depth",
    source="Figure 1, Table 1",
    question="Does the score grow with the depth of actor and critic?",
    finding="From depth 4 to 64 it grows 2.4 to 5.7 times in manipulation, 1.8 to 63 times in the ant's mazes and 50 "
    "times or more with the humanoid, often with a jump at some depth.",
    scales={
        "paper": Scale((tasks(*ALL), along("depth", "network.depth", *DEPTHS)), FIVE),
        "laptop": Scale(
            (mazes(*HARD_MAZES), along("depth", "network.depth", 4, 8, 16, 32)), FIVE, LAPTOP, levels=LEVELS
        ),
        "smoke": Scale((along("depth", "network.depth", 4, 8),), (0, 1), SMOKE),
    },
    claims=(
        Claim("depth", "8", "4"),
        Claim("depth", "16", "8"),
        Claim("depth", "32", "4"),
        Claim("depth", "64", "4"),
    ),
    x="depth",
    published=tuple(
        Published({"task": task, "depth": depth}, value, error)
        for task, pair in TABLE_1.items()
        for depth, (value, error) in zip(("4", "64"), pair, strict=True)
    ),
    note="The paper does not say how many seeds; Table 1 gives depths 4 and 64 only.",
)

LONGER: Changes = {"train.total_env_steps": 2_560_000, "evaluation.num_evals": 80}
AS_THE_PAPER = "2560k, the paper's step sizes and discount"
BUDGET = Experiment(
    name="budget",
    source="beyond Figure 1",
    question="At which budget does depth begin to help, and is it for want of env steps or of updates?",
    finding="It is not asked there: all runs have 100 million env steps or more, and one update for about 40 of them.",
    scales={
        "paper": Scale(
            (
                tasks("humanoid"),
                along("depth", "network.depth", 4, 8, 16),
                Axis(
                    "budget",
                    {
                        "100M": {},
                        "200M": {"train.total_env_steps": 2 * HUNDRED_MILLION, "evaluation.num_evals": 200},
                        "100M, twice the updates": {"train.updates_per_env_steps": "1600:31744"},
                    },
                ),
            ),
            THREE_SEEDS,
        ),
        "laptop": Scale(
            (
                mazes(*HARD_MAZES),
                along("depth", "network.depth", 4, 8, 16),
                Axis(
                    "budget",
                    {
                        "640k": {},
                        "2560k": LONGER,
                        AS_THE_PAPER: {
                            **LONGER,
                            "agent.actor_learning_rate": 3e-4,
                            "agent.critic_learning_rate": 3e-4,
                            "agent.temperature_learning_rate": 3e-4,
                            "agent.discount": 0.99,
                        },
                        "640k, four times the updates": {"train.updates_per_env_steps": "1:10"},
                    },
                ),
            ),
            THREE_SEEDS,
            LAPTOP,
            levels=LEVELS,
            leave_out=lambda labels: labels["task"] != "point_u_maze" and labels["budget"] != AS_THE_PAPER,
        ),
        "smoke": Scale((along("depth", "network.depth", 4, 8),), (0, 1), SMOKE),
    },
    claims=(Claim("depth", "8", "4"), Claim("depth", "16", "4")),
    x="depth",
    note="Four times the env steps and four times the updates per env step are equally many updates. Where not said "
    "otherwise the step sizes of point mazes are 1e-3 (temperature 3e-3), their discount is 0.95; the paper has 3e-4 "
    "and 0.99. The humanoid's row at depth 8 differs between Figures 6 and 13, perhaps by the budget.",
)

WIDTH = Experiment(
    name="width",
    source="Figure 4",
    question="Is depth worth more than width, at equal numbers of parameters?",
    finding="Depth 8 at width 256 beats depth 4 at width 2048 on all three tasks.",
    scales={
        "paper": Scale(
            (
                tasks(*THREE),
                Axis(
                    "shape",
                    {f"4 x {w}": {"network.depth": 4, "network.width": w} for w in (128, 256, 512, 1024, 2048)}
                    | {f"{d} x 256": {"network.depth": d, "network.width": 256} for d in DEPTHS[1:]},
                ),
            ),
            THREE_SEEDS,
        ),
        "laptop": Scale(
            (
                mazes("point_u_maze"),
                Axis(
                    "shape",
                    {f"4 x {w}": {"network.depth": 4, "network.width": w} for w in (32, 64, 128, 256)}
                    | {f"{d} x 64": {"network.depth": d, "network.width": 64} for d in (8, 16, 32)},
                ),
            ),
            THREE_SEEDS,
            LAPTOP,
        ),
        "smoke": Scale(
            (Axis("shape", {f"4 x {w}": {"network.depth": 4, "network.width": w} for w in (8, 16)}),), (0,), SMOKE
        ),
    },
    claims=(Claim("shape", "8 x 64", "4 x 256"), Claim("shape", "8 x 256", "4 x 2048")),
    x="shape",
    published=tuple(
        number
        for task, pair in TABLE_1.items()
        if task in THREE
        for number in row((pair[0][0], pair[1][0]), "shape", ("4 x 256", "64 x 256"), task=task)
    ),
    note="Widths other than 256 are drawn in the figure without numbers; the numbers shown are Table 1's.",
)

RESIDUAL = Experiment(
    name="residual",
    source="Figure 5",
    question="Are residual connections needed for depth to help?",
    finding="Small gains come from small increases of depth; the jump past a critical depth comes only with them.",
    scales={
        "paper": Scale(
            (
                tasks("humanoid"),
                along("backbone", "network.backbone", "residual", "plain"),
                along("depth", "network.depth", *DEPTHS),
            ),
            THREE_SEEDS,
        ),
        "laptop": Scale(
            (
                mazes("point_u_maze"),
                along("backbone", "network.backbone", "residual", "plain"),
                along("depth", "network.depth", 4, 8, 16, 32),
            ),
            THREE_SEEDS,
            LAPTOP,
        ),
        "smoke": Scale((along("backbone", "network.backbone", "residual", "plain"),), (0,), SMOKE),
    },
    claims=tuple(Claim("backbone", "residual", "plain", {"depth": depth}) for depth in ("16", "32", "64")),
    x="depth",
    note="The figure does not name its task; the humanoid is a guess. It gives no numbers.",
)

# Rows: depth of the critic, from 64 down to 4; columns: depth of the actor.
FIGURE_6 = {
    "humanoid": (
        (32, 462, 675, 583, 680),
        (28, 622, 665, 636, 583),
        (14, 48, 454, 612, 432),
        (15, 80, 303, 263, 311),
        (13, 18, 22, 21, 21),
    ),
    "ant_big_maze": (
        (45, 239, 462, 480, 441),
        (145, 325, 385, 439, 437),
        (58, 316, 424, 504, 427),
        (18, 320, 350, 436, 170),
        (61, 147, 202, 349, 276),
    ),
    "arm_push_easy": (
        (286, 809, 666, 815, 762),
        (807, 909, 875, 848, 921),
        (839, 818, 805, 740, 887),
        (583, 669, 675, 682, 469),
        (308, 256, 407, 345, 338),
    ),
}
ACTOR_CRITIC = Experiment(
    name="actor_critic",
    source="Figure 6",
    question="Is it the actor or the critic that must be deep?",
    finding="Both together are best. The critic alone helps more with the humanoid and the arm, the actor alone more "
    "in the big ant maze.",
    scales={
        "paper": Scale(
            (
                tasks(*THREE),
                along("critic depth", "network.critic_depth", *DEPTHS),
                along("actor depth", "network.actor_depth", *DEPTHS),
            ),
            THREE_SEEDS,
        ),
        "laptop": Scale(
            (
                mazes("point_u_maze"),
                along("critic depth", "network.critic_depth", 4, 8, 16),
                along("actor depth", "network.actor_depth", 4, 8, 16),
            ),
            THREE_SEEDS,
            LAPTOP,
        ),
        "smoke": Scale(
            (along("critic depth", "network.critic_depth", 4, 8), along("actor depth", "network.actor_depth", 4)),
            (0,),
            SMOKE,
        ),
    },
    claims=tuple(
        Claim(axis, deep, "4", {other: deep})
        for deep in ("16", "64")
        for axis, other in (("critic depth", "actor depth"), ("actor depth", "critic depth"))
    ),
    x="actor depth",
    published=tuple(
        number
        for task, grid in FIGURE_6.items()
        for critic, line in zip(reversed(DEPTHS), grid, strict=True)
        for number in row(line, "actor depth", DEPTHS, **{"task": task, "critic depth": str(critic)})
    ),
    note="Which axis is which follows from labels that agree with Table 1 and Figure 13.",
)

BATCH = Experiment(
    name="batch",
    source="Figure 7",
    question="Do larger batches help, and does that depend on depth?",
    finding="They help deep networks and not shallow ones.",
    scales={
        "paper": Scale(
            (
                tasks("humanoid"),
                along("depth", "network.depth", 4, 8, 16, 64),
                along("batch", "train.batch_size", 128, 256, 512, 1024, 2048),
            ),
            THREE_SEEDS,
        ),
        "laptop": Scale(
            (
                mazes("point_u_maze"),
                along("depth", "network.depth", 4, 16),
                along("batch", "train.batch_size", 64, 128, 256, 512),
            ),
            THREE_SEEDS,
            LAPTOP,
        ),
        "smoke": Scale((along("batch", "train.batch_size", 16, 32),), (0,), SMOKE),
    },
    claims=(Claim("batch", "512", "64", {"depth": "16"}), Claim("batch", "2048", "128", {"depth": "64"})),
    x="batch",
    note="The figure has curves without numbers. The paper's code silently does fewer updates at batch 1024 (499 of "
    "800) and 2048 (249); here every batch size has all of them.",
)

EXPERIMENTS = (DEPTH, BUDGET, WIDTH, RESIDUAL, ACTOR_CRITIC, BATCH)

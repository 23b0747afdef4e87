"""What deep networks do differently: the paper's Figures 3, 8 to 11 and 17."""

from deepcrl.experiments.record import Axis, Claim, Experiment, Scale, along
from deepcrl.experiments.records.common import (
    FIVE,
    HARD_MAZES,
    HUNDRED_MILLION,
    LAPTOP,
    SMOKE,
    THREE,
    THREE_SEEDS,
    mazes,
    tasks,
)

BEHAVIOURS = Experiment(
    name="behaviours",
    source="Figure 3",
    question="What do agents of different depth do?",
    finding="The humanoid of depth 4 falls towards its goal, that of 16 walks; at a wall, depth 64 falls and depth 256 "
    "goes over it.",
    scales={
        "paper": Scale(
            (
                Axis(
                    "task",
                    {
                        "humanoid": {"env.name": "humanoid", "train.total_env_steps": HUNDRED_MILLION},
                        "humanoid_u_maze": {
                            "env.name": "humanoid_u_maze",
                            "train.total_env_steps": 4 * HUNDRED_MILLION,
                        },
                    },
                ),
                along("depth", "network.depth", 4, 16, 64, 256),
            ),
            (0,),
            leave_out=lambda labels: (labels["task"] == "humanoid") != (labels["depth"] in ("4", "16")),
        ),
        "laptop": Scale((mazes("point_big_maze"), along("depth", "network.depth", 4, 8, 16, 32)), (0,), LAPTOP),
        "smoke": Scale((along("depth", "network.depth", 4),), (0,), SMOKE),
    },
    analyses=("strip",),
    x="depth",
)

COLLECTOR = Experiment(
    name="collector",
    source="Figure 8",
    question="Is it deeper exploration or deeper learning that helps?",
    finding="From a deep collector's data the deep learner learns far more than the shallow one; from a shallow "
    "collector's data neither learns much. Both are needed.",
    scales={
        "paper": Scale(
            (
                tasks(*THREE),
                Axis(
                    "collector",
                    {
                        str(depth): {
                            "network.depth": depth,
                            "learners": ["network.depth=32", "network.depth=4"],
                        }
                        for depth in (4, 32)
                    },
                ),
            ),
            THREE_SEEDS,
        ),
        "laptop": Scale(
            (
                mazes("point_u_maze"),
                Axis(
                    "collector",
                    {
                        str(depth): {
                            "network.depth": depth,
                            "learners": ["network.depth=16", "network.depth=4"],
                        }
                        for depth in (4, 16)
                    },
                ),
            ),
            THREE_SEEDS,
            LAPTOP,
        ),
        "smoke": Scale((Axis("collector", {"4": {"learners": ["network.depth=8", "network.depth=4"]}}),), (0,), SMOKE),
    },
    claims=(
        Claim("network", "depth=16", "depth=4", {"collector": "16"}),
        Claim("network", "depth=32", "depth=4", {"collector": "32"}),
    ),
    x="collector",
    note="The figure has curves without numbers. Only the collector acts; all three are trained on the same batches.",
)


def _either_collects(random_goals: float) -> Axis:
    """Either method collects, and a learner of each trains on it; random goals are CRL's alone."""
    learners = [f"agent.algorithm=crl agent.random_goals={random_goals}", "agent.algorithm=sac_her"]
    return Axis("collector", {name: {"agent.algorithm": name, "learners": learners} for name in ("crl", "sac_her")})


WHOSE_DATA = Experiment(
    name="whose_data",
    source="beyond Figure 12 (appendix)",
    question="What parts CRL from SAC with hindsight: the data that they collect, or what they learn of it?",
    finding="It is not asked there.",
    scales={
        "paper": Scale((tasks(*THREE), _either_collects(0.0)), THREE_SEEDS),
        "laptop": Scale((mazes("point_u_maze"), _either_collects(0.5)), THREE_SEEDS, {**LAPTOP, "network.depth": 4}),
        "smoke": Scale((_either_collects(0.5),), (0,), SMOKE, leave_out=lambda labels: labels["collector"] == "crl"),
    },
    x="collector",
    note="One learner has the collector's method: what it scores less than the collector is lost by not acting for "
    "itself.",
)

Q_MAPS = Experiment(
    name="q_maps",
    source="Figure 9",
    question="Has the critic learnt the maze's topology?",
    finding="At depth 4 values follow the straight line to the goal; at depth 64 they follow the way round the wall.",
    scales={
        "paper": Scale((tasks("ant_u4_maze"), along("depth", "network.depth", 4, 64)), (0,)),
        "laptop": Scale(
            (mazes(*HARD_MAZES, "point_u4_maze"), along("depth", "network.depth", 4, 8, 16, 32)),
            FIVE,
            LAPTOP,
            leave_out=lambda labels: labels["task"] == "point_u4_maze" and labels["depth"] in ("8", "16"),
        ),
        "smoke": Scale((along("depth", "network.depth", 4, 8),), (0,), SMOKE),
    },
    claims=tuple(Claim("depth", deep, "4", of="sides_with_path") for deep in ("32", "64")),
    analyses=("topology", "coverage"),
    x="depth",
)

EMBEDDINGS = Experiment(
    name="embeddings",
    source="Figure 10",
    question="Where along an episode do state-action embeddings spread?",
    finding="Deep networks spread the states near the goal; shallow ones crowd them.",
    scales={
        "paper": Scale((tasks("humanoid"), along("depth", "network.depth", 4, 64)), (0,)),
        "laptop": Scale((mazes(*HARD_MAZES), along("depth", "network.depth", 4, 8, 16, 32)), FIVE, LAPTOP),
        "smoke": Scale((along("depth", "network.depth", 4, 8),), (0,), SMOKE),
    },
    claims=tuple(Claim("depth", deep, "4", of="spread_near_goal") for deep in ("32", "64")),
    analyses=("embeddings",),
    x="depth",
)

STITCHING = Experiment(
    name="stitching",
    source="Figure 11",
    question="Trained on pairs at most three cells apart, which far goals are reached?",
    finding="Depth 4 reaches only the goal 4 cells away, depth 16 sometimes the next, depth 64 sometimes the farthest, "
    "of 6.",
    scales={
        "paper": Scale(
            (
                Axis(
                    "task",
                    {
                        "ant_u_maze_gen_1f2f3f": {
                            "env.name": "ant_u_maze_gen_1f2f3f",
                            "evaluation.env": "ant_u_maze_eval",
                        }
                    },
                ),
                along("depth", "network.depth", 4, 16, 64),
            ),
            THREE_SEEDS,
        ),
        "laptop": Scale(
            (
                Axis(
                    "task",
                    {
                        "point_u_maze_gen_1f2f3f": {
                            "env.name": "point_u_maze_gen_1f2f3f",
                            "evaluation.env": "point_u_maze_eval",
                        }
                    },
                ),
                along("depth", "network.depth", 4, 8, 16, 32),
            ),
            THREE_SEEDS,
            LAPTOP,
        ),
        "smoke": Scale((along("depth", "network.depth", 4),), (0,), {**SMOKE, "env.name": "point_u_maze_gen_1f2f3f"}),
    },
    claims=(Claim("depth", "16", "4"), Claim("depth", "32", "4"), Claim("depth", "64", "16")),
    x="depth",
    note="The figure gives no numbers.",
)

RESIDUAL_NORMS = Experiment(
    name="residual_norms",
    source="Figure 17",
    question="How much does every block add?",
    finding="In the critic's encoders later blocks add less; in the actor that is less so.",
    scales={
        "paper": Scale((tasks("humanoid"), along("depth", "network.depth", 32, 64, 128, 256)), (0,)),
        "laptop": Scale((mazes("point_big_maze"), along("depth", "network.depth", 8, 16, 32)), (0,), LAPTOP),
        "smoke": Scale((along("depth", "network.depth", 4, 8),), (0,), SMOKE),
    },
    analyses=("blocks", "units"),
    x="depth",
    note="Root mean square over features of what a block adds, averaged over states.",
)

EXPERIMENTS = (BEHAVIOURS, COLLECTOR, WHOSE_DATA, Q_MAPS, EMBEDDINGS, STITCHING, RESIDUAL_NORMS)

"""The one table of environments. Names are opaque keys; a new maze or task is one more row."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from deepcrl.envs import (
    ant,
    ant_ball,
    ant_push,
    arm,
    cheetah,
    humanoid,
    point,
    pusher,
    reacher,
    settings,
    simple,
    spring_engine,
)
from deepcrl.envs.arm_model import ArmScene, arm_model
from deepcrl.envs.layouts import LAYOUTS, Layout
from deepcrl.envs.mjx_engine import mjx_engine
from deepcrl.envs.mujoco_engine import mujoco_engine
from deepcrl.envs.point_model import point_model
from deepcrl.envs.protocol import Engine, Task

if TYPE_CHECKING:
    import mujoco

Builder = Callable[[int | None], tuple[Task, Engine]]
"""Episode length (None: the task's default) -> a task and the engine that steps it."""
TaskOf = Callable[[int | None], Task]
Model = Callable[[], "mujoco.MjModel"]
ANT_SPRINGS = (spring_engine.ANT, 0.005)
"""Parameters and time step in seconds of Brax's pipeline for the ant and its relatives."""


class Entry(NamedTuple):
    """One environment: a builder per engine, of which the first is the default without a GPU, and suitable settings."""

    engines: Mapping[str, Builder]
    defaults: Mapping[str, Any]
    """Overrides of the configuration, by dotted path, that `preset` applies."""
    model: Model | None = None
    """What MuJoCo's engines step, and what pictures are drawn from."""
    substeps: int = 1
    """Steps of the model per env step."""
    variant_of: str | None = None
    """The environment from which this one differs only in starts and goals."""
    paper_evaluation: str | None = None
    """Where the paper's runs are evaluated; None: in the environment itself."""


MAZES: dict[str, tuple[str, ...]] = {
    "l": (),
    "j": (),
    "u": ("eval", "single_eval", "eval_1f2f3f", "eval_1f2f3f4f", "eval_1f2f3f4f5f", "eval_5f6f"),
    "u2": ("eval",),
    "u3": ("eval", "single_eval"),
    "u4": ("eval",),
    "u5": ("eval", "single_eval"),
    "u6": ("eval",),
    "u7": ("eval",),
    "big": ("eval",),
    "hardest": (),
}
"""Training layouts and their variants with fewer, farther goals; by default a run is evaluated on the first variant."""
FAR_IN_PAPER = ("u4", "u5", "big")
"""Ant mazes that the paper evaluates on far goals; the other ones, and all humanoids, on the training goals."""
PAPER_MAZES = {key: evals for key, evals in MAZES.items() if key not in ("l", "j")}
"""Mazes of the ant."""
COMMON_MAZES = {"u": ("eval",), "big": ("eval",), "hardest": ()}
"""Mazes of the humanoid and the ball. Their big maze has one evaluation goal more than the paper's ant has."""
COMMON_LAYOUTS = {**LAYOUTS, "big_eval": LAYOUTS["big_eval_10"]}
STITCHING_MAZES = {
    "u": LAYOUTS["u_single_eval"],
    "u2": LAYOUTS["u2_single"],
    "u3": LAYOUTS["u3_single_eval"],
    "u4": LAYOUTS["u4_single"],
    "u5": LAYOUTS["u5_single_eval"],
}
"""Corridors in which training starts and goals are STITCHING_DISTANCES cells apart (paper, Figure 11)."""
STITCHING_DISTANCES = {"1f2f3f": (1, 2, 3), "1f2f3f4f": (1, 2, 3, 4), "1f2f3f4f5f": (1, 2, 3, 4, 5)}

QUICKSTART = "point_l_maze"
"""What `deepcrl train` trains when no environment is named."""


def _robot(
    task: TaskOf,
    model: Model,
    substeps: int,
    springs: tuple[spring_engine.SpringParameters, float] | None = None,
    defaults: Mapping[str, Any] = settings.ROBOT,
    spring_task: TaskOf | None = None,
) -> Entry:
    """Build a row for a task on native MuJoCo, MJX and Warp and, with `springs`, on Brax's spring pipeline.

    Args:
        task: builds the task, given the episode length.
        model: builds the model that MuJoCo steps.
        substeps: simulator steps per env step.
        springs: parameters and time step in seconds of Brax's pipeline, for the tasks that the paper ran on it.
        defaults: settings that suit the task.
        spring_task: the task on that pipeline, where it differs.
    """
    engines: dict[str, Builder] = {
        "mujoco": lambda episode_length: (task(episode_length), mujoco_engine(model(), substeps)),
        "mjx": lambda episode_length: (task(episode_length), mjx_engine(model(), substeps)),
        "warp": lambda episode_length: (task(episode_length), mjx_engine(model(), substeps, "warp")),
    }
    if springs is not None:
        on_springs = spring_task or task
        engines["spring"] = lambda episode_length: (
            on_springs(episode_length),
            spring_engine.spring_engine(model(), *springs),
        )
    return Entry(engines, defaults, model, substeps)


def _in_mazes(
    body: str,
    row: Callable[[Layout], Entry],
    mazes: Mapping[str, tuple[str, ...]],
    layouts: Mapping[str, Layout] = LAYOUTS,
    far_in_paper: tuple[str, ...] = (),
) -> dict[str, Entry]:
    """Rows of one body in some mazes, each followed by its evaluation variants, if any. In mazes of `far_in_paper`, the
    first variant is also the paper's evaluation environment."""
    table = {}
    for key, evals in mazes.items():
        name = f"{body}_{key}_maze"
        table[name] = row(layouts[key])
        if evals:
            table[name] = _evaluated_on(table[name], f"{name}_{evals[0]}", in_paper=key in far_in_paper)
        for suffix in evals:
            table[f"{name}_{suffix}"] = row(layouts[f"{key}_{suffix}"])._replace(variant_of=name)
    return table


def _evaluated_on(entry: Entry, name: str, *, in_paper: bool) -> Entry:
    defaults = {**entry.defaults, "evaluation.env": name}
    return entry._replace(defaults=defaults, paper_evaluation=name if in_paper else None)


def _point(layout: Layout, task: TaskOf | None = None) -> Entry:
    def on_jax(episode_length: int | None) -> tuple[Task, Engine]:
        return (task or partial(point.point_task, layout))(episode_length), point.point_engine(layout)

    return Entry({"jax": on_jax}, settings.POINT, lambda: point_model(layout))


def _ant(layout: Layout | None, task: TaskOf | None = None, link_mass: float | None = ant.LINK_MASS) -> Entry:
    return _robot(
        task or partial(ant.ant_task, layout),
        lambda: ant.ant_model(layout, link_mass),
        ant.SUBSTEPS,
        ANT_SPRINGS,
        settings.ANT,
    )


def _stitching(
    body: str,
    row: Callable[[Layout, TaskOf], Entry],
    task: Callable[[Layout, tuple[int, ...], int | None], Task],
) -> dict[str, Entry]:
    """Rows of one body in corridors, one per set of start-goal distances, evaluated on the far goals."""
    table = {}
    for key, layout in STITCHING_MAZES.items():
        maze = f"{body}_{key}_maze"
        for name, distances in STITCHING_DISTANCES.items():
            entry = _evaluated_on(row(layout, partial(task, layout, distances)), f"{maze}_eval", in_paper=True)
            table[f"{maze}_gen_{name}"] = entry._replace(variant_of=maze)
    return table


def _ant_ball(layout: Layout | None) -> Entry:
    return _robot(
        partial(ant_ball.ant_ball_task, layout),
        lambda: ant_ball.ant_ball_model(layout, ant.LINK_MASS),
        ant.SUBSTEPS,
        ANT_SPRINGS,
        settings.ANT,
    )


def _simple(layout: Layout) -> Entry:
    return _robot(
        partial(simple.simple_task, layout),
        lambda: simple.simple_model(layout),
        simple.SUBSTEPS,
        ANT_SPRINGS,
        settings.ANT,
    )


def _humanoid(layout: Layout | None, spring_step: float = humanoid.SHORT_TIME_STEP, clean: bool = False) -> Entry:
    """Build a humanoid's row. On all engines an env step lasts spring_engine.SUBSTEPS times `spring_step` seconds."""

    def model() -> "mujoco.MjModel":
        return humanoid.humanoid_model(layout)

    def task(unit_inertia: bool, episode_length: int | None) -> Task:
        links = humanoid.links_of(model(), unit_inertia)
        return humanoid.humanoid_task(layout, episode_length, links, clean)

    return _robot(
        partial(task, False),
        model,
        round(spring_engine.SUBSTEPS * spring_step / humanoid.TIME_STEP),
        (spring_engine.HUMANOID, spring_step),
        spring_task=partial(task, True),
    )


def _arm(scene: ArmScene) -> Entry:
    return _robot(partial(arm.arm_task, scene), lambda: arm_model(scene), arm.SUBSTEPS)


def _pusher(setup: pusher.Setup) -> Entry:
    return _robot(partial(pusher.pusher_task, setup), lambda: pusher.pusher_model(setup), pusher.SUBSTEPS)


ENVIRONMENTS: dict[str, Entry] = {
    **_in_mazes("point", _point, MAZES),
    **_stitching("point", _point, point.point_stitching_task),
    "ant": _ant(None),
    "ant_light": _ant(None, link_mass=None),
    "ant_random_start": _ant(None, ant.ant_random_start_task),
    **_in_mazes("ant", _ant, PAPER_MAZES, far_in_paper=FAR_IN_PAPER),
    **_stitching("ant", _ant, ant.ant_stitching_task),
    "ant_ball": _ant_ball(None),
    "ant_ball_u_maze": _ant_ball(LAYOUTS["ball_u"]),
    "ant_ball_big_maze": _ant_ball(LAYOUTS["ball_big"]),
    "ant_push": _robot(ant_push.ant_push_task, ant_push.ant_push_model, ant_push.SUBSTEPS, defaults=settings.ANT),
    "humanoid": _humanoid(None, humanoid.TIME_STEP),
    "humanoid_short_step": _humanoid(None),
    "humanoid_clean": _humanoid(None, humanoid.TIME_STEP, clean=True),
    **_in_mazes("humanoid", _humanoid, COMMON_MAZES, COMMON_LAYOUTS),
    **{name: _arm(scene) for name, scene in arm.SCENES.items()},
    "reacher": _robot(reacher.reacher_task, reacher.reacher_model, reacher.SUBSTEPS),
    "cheetah": _robot(cheetah.cheetah_task, cheetah.cheetah_model, cheetah.SUBSTEPS),
    "pusher_easy": _pusher(pusher.EASY),
    "pusher_hard": _pusher(pusher.HARD),
    "pusher_reacher": _pusher(pusher.REACH),
    "pusher2": _pusher(pusher.TWO_OBJECTS),
    **_in_mazes("simple", _simple, COMMON_MAZES, COMMON_LAYOUTS),
}

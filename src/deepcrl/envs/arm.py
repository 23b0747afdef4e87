"""Tasks of the Franka arm: reach a point, grasp a cube, push it, pick it from one bin into another."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from deepcrl.envs.arm_model import (
    EFFECTOR_POSITION,
    EFFECTOR_VELOCITY,
    FINGER_FORCES,
    LEFT,
    RIGHT,
    TIP_DISTANCE,
    Area,
    ArmScene,
)
from deepcrl.envs.protocol import EnvSpec, Physics, Scene, Task

SUBSTEPS = 25
"""Simulator steps per control step, which lasts 0.05 s."""
SUCCESS_RADIUS, EASY_RADIUS, HARD_RADIUS = 0.1, 0.3, 0.03
"""Metres between the cube, or the arm's last link, and its goal."""
GRASPS = {"success": (0.05, 0.02), "easy": (0.15, 0.05), "hard": (0.02, 0.005)}
"""Tolerances in metres: from the cube to the fingertips' midpoint, and of their distance from TIP_DISTANCE."""
START_JOINTS = (1.571, 0.742, 0.0, -1.571, 0.0, 3.054, 1.449)
"""In radians; the hand starts above the far side of the table."""
START_HAND = (0.0, 0.6, 0.2)
"""Start position of a hand without an arm, in metres."""
START_FINGER = 0.04
JOINT_COMMANDS = (1.5708, 0.741765, 0.0, -1.5708, 0.0, 3.05435, 1.4487)
"""Angles that action 0 commands."""
MOVED_JOINTS = (0, 1, 3, 5)
JOINT_SPANS = (1.2217, 0.741765, 1.5010, 0.69815)
"""Radians by which action 1 shifts the command of each moved joint; the commands of the others stay constant."""
HAND_SPAN = 0.2
"""Metres that action 1 commands a hand without an arm to move from its present position."""
OPEN, CLOSED = 255.0, 0.0
"""Controls of the fingers."""
SENSOR_SCALE = 0.1
"""Observed finger force per newton."""
PLOT_CELL = 0.1
"""Metres per cell on maps of the table."""


def _square(x: float, y: float, z: float, half: float, half_z: float = 0.0) -> Area:
    return Area((x, y, z), (half, half, half_z))


def _on_table(x: float, y: float, half: float) -> Area:
    return _square(x, y, 0.03, half)


def _dropped(x: float, y: float, half: float) -> Area:
    return _square(x, y, 0.07, half)


def _patch(x: float, y: float, half: float) -> Area:
    return _square(x, y, 0.0, half, 0.001)


def _bin(x: float, y: float, half: float) -> Area:
    return _square(x, y, 0.033, half, 0.033)


_SMALL_BINS = (_bin(-0.17, 0.6, 0.14), _bin(0.17, 0.6, 0.14))
_FENCES = (
    Area((0.0, 0.35, 0.15), (0.41, 0.01, 0.15)),
    Area((0.0, 0.85, 0.15), (0.41, 0.01, 0.15)),
    Area((-0.4, 0.6, 0.15), (0.01, 0.24, 0.15)),
    Area((0.4, 0.6, 0.15), (0.01, 0.24, 0.15)),
)

SCENES = {
    "arm_reach": ArmScene(cube=None, goal=Area((0.0, 0.5, 0.3), (0.2, 0.2, 0.2)), patches=(_patch(0.0, 0.5, 0.2),)),
    "arm_grasp": ArmScene(cube=_dropped(0.0, 0.6, 0.3), goal=None, patches=(_patch(0.0, 0.6, 0.3),)),
    "arm_push_easy": ArmScene(
        cube=_dropped(-0.1, 0.6, 0.1),
        goal=_on_table(0.1, 0.6, 0.1),
        patches=(_patch(-0.1, 0.6, 0.1), _patch(0.1, 0.6, 0.1)),
    ),
    "arm_push_hard": ArmScene(
        cube=_dropped(-0.25, 0.65, 0.25),
        goal=_on_table(0.25, 0.65, 0.25),
        patches=(_patch(-0.25, 0.65, 0.25), _patch(0.25, 0.65, 0.25)),
    ),
    "arm_binpick_easy": ArmScene(
        # As in the paper's scene, 2.8% of the cubes start inside the right wall of the bin, which pushes them out.
        cube=_dropped(-0.15, 0.6, 0.09),
        goal=_on_table(0.17, 0.6, 0.09),
        bins=_SMALL_BINS,
    ),
    "arm_binpick_hard": ArmScene(
        cube=_dropped(-0.3, 0.6, 0.15),
        goal=_on_table(0.3, 0.6, 0.15),
        bins=(_bin(-0.3, 0.6, 0.19), _bin(0.3, 0.6, 0.19)),
    ),
    "arm_binpick_easy_EEF": ArmScene(
        cube=_dropped(-0.15, 0.6, 0.07),
        goal=_on_table(0.17, 0.6, 0.005),
        bins=_SMALL_BINS,
        fences=_FENCES,
        hand_only=True,
    ),
}


class _Sizes(NamedTuple):
    state: int
    goal_indices: tuple[int, ...]
    action: int


def _sizes(scene: ArmScene) -> _Sizes:
    if scene.cube is None:
        return _Sizes(13, (7, 8, 9), 4)
    if scene.goal is None:
        return _Sizes(23, tuple(range(16, 23)), 5)
    return _Sizes(11, (0, 1, 2), 4) if scene.hand_only else _Sizes(17, (0, 1, 2), 5)


def arm_task(scene: ArmScene, episode_length: int | None) -> Task:
    """Bring the cube, the arm's last link or the fingertips to the goal.

    State, in metres, radians and seconds; what a scene lacks is left out:
        cube position (3), joint angles (7; a hand without an arm has none),
        position and velocity of the last link, or of the hand without an arm (3 + 3),
        positions of both fingertips (3 + 3; grasping only), distance between fingertips, or without tips knuckles (1),
        mean force of the fingers (1; hand without an arm only).
    Action: target angles of joints 1, 2, 4 and 6 (4), or displacements x, y and z of the hand without an arm (3); then,
    with fingers, the gripper (1): positive closes it, zero or negative opens it.
    """
    sizes = _sizes(scene)
    grasps = scene.goal is None
    success, easy, hard = (d for d, _ in GRASPS.values()) if grasps else (SUCCESS_RADIUS, EASY_RADIUS, HARD_RADIUS)
    return Task(
        spec=EnvSpec(
            state_size=sizes.state,
            goal_size=len(sizes.goal_indices),
            goal_indices=sizes.goal_indices,
            action_size=sizes.action,
            episode_length=episode_length or 1000,
            success_radius=success,
            easy_radius=easy,
            hard_radius=hard,
            grades=_grasp_grades if grasps else None,
        ),
        scene=Scene(None, PLOT_CELL),
        reset=lambda key: _reset(scene, key),
        observe=lambda physics: _observe(scene, physics),
        control=lambda action, physics: _control(scene, action, physics),
        move_goal=(lambda physics, goal: _grasp_goal(physics["qpos"][:3])) if grasps else None,
        mark_goal=lambda physics, goal: _mark_goal(scene, physics, goal),
    )


def _draw(key: PRNGKeyArray, area: Area) -> Float[Array, "3"]:
    return jnp.array(area.centre) + jnp.array(area.half) * jax.random.uniform(key, (3,), minval=-1.0)


def _reset(scene: ArmScene, key: PRNGKeyArray) -> tuple[Physics, Float[Array, "G"]]:
    """Draw cube and goal; the robot always starts at rest in the same pose."""
    cube_key, goal_key = jax.random.split(key)
    upright = jnp.array([1.0, 0.0, 0.0, 0.0])
    robot = START_HAND if scene.hand_only else START_JOINTS
    if scene.cube is None:
        assert scene.goal is not None, "nothing to grasp"
        goal = _draw(goal_key, scene.goal)
        free_bodies = [goal, upright]
    else:
        cube = _draw(cube_key, scene.cube)
        goal = _grasp_goal(cube) if scene.goal is None else _draw(goal_key, scene.goal)
        free_bodies = [cube, upright, goal[:3], upright]
        robot += 2 * ((START_FINGER,) if scene.goal is not None else (START_FINGER, 0.0))
    qpos = jnp.concatenate([*free_bodies, jnp.array(robot)])
    # A free body has 7 positions but 6 velocities.
    return {"qpos": qpos, "qvel": jnp.zeros(qpos.size - len(free_bodies) // 2)}, goal


def _mark_goal(scene: ArmScene, physics: Physics, goal: Float[Array, "G"]) -> Physics:
    """Move the marker, the second or only free body, to the goal; when grasping, to the left fingertip's goal."""
    first = 0 if scene.cube is None else 7
    return {**physics, "qpos": physics["qpos"].at[first : first + 3].set(goal[:3])}


def _observe(scene: ArmScene, physics: Physics) -> Float[Array, "S"]:
    qpos, sensors = physics["qpos"], physics["sensordata"]
    effector = [sensors[EFFECTOR_POSITION], sensors[EFFECTOR_VELOCITY]]
    if scene.cube is None:
        return jnp.concatenate([qpos[7:14], *effector])
    left, right = sensors[LEFT], sensors[RIGHT]
    distance = jnp.linalg.norm(left - right)[None]
    if scene.hand_only:
        force = SENSOR_SCALE * jnp.mean(sensors[FINGER_FORCES])[None]
        return jnp.concatenate([qpos[:3], *effector, distance, force])
    tips = [left, right] if scene.goal is None else []
    return jnp.concatenate([qpos[:3], qpos[14:21], *effector, *tips, distance])


def _control(scene: ArmScene, action: Float[Array, "A"], physics: Physics) -> Float[Array, "C"]:
    if scene.hand_only:
        robot = physics["sensordata"][EFFECTOR_POSITION] + HAND_SPAN * action[:3]
    else:
        robot = jnp.array(JOINT_COMMANDS).at[jnp.array(MOVED_JOINTS)].add(jnp.array(JOINT_SPANS) * action[:4])
    if scene.cube is None:
        return robot
    finger = jnp.where(action[-1] > 0, CLOSED, OPEN)
    return jnp.concatenate([robot, jnp.stack([finger, finger])])


def _grasp_goal(cube: Float[Array, "3"]) -> Float[Array, "7"]:
    """Left (towards +x) and right fingertip positions, and their distance, when the fingers hold the cube."""
    aside = jnp.array([TIP_DISTANCE / 2, 0.0, 0.0])
    return jnp.concatenate([cube + aside, cube - aside, jnp.array([TIP_DISTANCE])])


def _grasp_grades(achieved: Float[Array, "7"], goal: Float[Array, "7"]) -> dict[str, Bool[Array, ""]]:
    """Grade a grasp by GRASPS, with the cube at the midpoint of the goal's fingertips."""
    middle, cube = (achieved[:3] + achieved[3:6]) / 2, (goal[:3] + goal[3:6]) / 2
    offset, misfit = jnp.linalg.norm(middle - cube), jnp.abs(achieved[6] - goal[6])
    return {name: (offset < far) & (misfit < loose) for name, (far, loose) in GRASPS.items()}

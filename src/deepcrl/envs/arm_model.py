"""The Franka arm and its workspace, built from scratch: compiles an `ArmScene` to a MuJoCo model.

Only the geom pairs of `touching` collide; all other geoms are decoration. Coordinates: cube (a free body: 7 positions,
6 velocities), goal marker (likewise), seven joints or the x, y, z of a hand without an arm, then fingers.
"""

from typing import TYPE_CHECKING, NamedTuple

from deepcrl.envs.parts import add_surroundings

if TYPE_CHECKING:
    import mujoco

TIME_STEP = 0.002
"""Seconds per simulator step."""
SOLVER_ITERATIONS = 6
LINE_SEARCH_ITERATIONS = 12

CUBE_HALF = 0.03
"""In metres, as all lengths here."""
TIP_HALF = 0.005
TIP_DISTANCE = 0.075
"""Distance between the centres of two fingertips that hold the cube."""

JOINT_RANGES = (None, (-1.7628, 1.7628), None, (-3.0718, -0.0698), None, (-0.0175, 3.7525), None)
"""Radians; None turns freely. Joints have neither damping nor armature."""
CONTROL_RANGE = (-2.8973, 2.8973)
"""Control range of joints without a range of their own, and of the slides of a hand without an arm."""
JOINT_GAINS = (4500.0, 4500.0, 2000.0, 2000.0, 1000.0, 1000.0, 1000.0)
JOINT_STIFFNESS = (4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0)
"""A servo's torque is gain * command - stiffness * (angle + velocity / 10). Where gain and stiffness differ, as in the
paper's scenes, it comes to rest at command * gain / stiffness."""
JOINT_FORCES = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)
"""Largest torques in newton metres."""
FINGER_FORCE = 500.0
FINGER_STIFFNESS = 500.0
HAND_RANGES = ((-0.4, 0.4), (0.35, 0.85), (0.0, 0.3))
HAND_GAIN = 1000.0
HAND_FORCE = 87.0

EFFECTOR_POSITION, EFFECTOR_VELOCITY = slice(0, 3), slice(3, 6)
"""Slices of "sensordata": position and velocity of the last link's frame, or of the hand's without an arm."""
LEFT, RIGHT = slice(6, 9), slice(9, 12)
"""Slices of "sensordata": positions of the fingertips, or without tips of the finger frames' origins, the knuckles."""
FINGER_FORCES = slice(12, 14)
"""Slice of "sensordata": forces of the two finger servos, in a scene without an arm."""

_TURN_LEFT, _TURN_RIGHT = (0.707107, -0.707107, 0.0, 0.0), (0.707107, 0.707107, 0.0, 0.0)


class Link(NamedTuple):
    """One moving body of the arm, in the frame of the body before it."""

    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]
    mass: float
    centre: tuple[float, float, float]
    inertia: tuple[float, float, float, float, float, float]
    """About the centre of mass: xx, yy, zz, xy, xz, yz."""


LINKS = (
    Link(
        (0.0, 0.0, 0.333),
        (1.0, 0.0, 0.0, 0.0),
        4.970684,
        (0.003875, 0.002081, -0.04762),
        (0.70337, 0.70661, 0.009117, -0.000139, 0.006772, 0.019169),
    ),
    Link(
        (0.0, 0.0, 0.0),
        _TURN_LEFT,
        0.646926,
        (-0.003141, -0.02872, 0.003495),
        (0.007962, 0.02811, 0.025995, -0.003925, 0.010254, 0.000704),
    ),
    Link(
        (0.0, -0.316, 0.0),
        _TURN_RIGHT,
        3.228604,
        (0.027518, 0.039252, -0.066502),
        (0.037242, 0.036155, 0.01083, -0.004761, -0.011396, -0.012805),
    ),
    Link(
        (0.0825, 0.0, 0.0),
        _TURN_RIGHT,
        3.587895,
        (-0.05317, 0.104419, 0.027454),
        (0.025853, 0.019552, 0.028323, 0.007796, -0.001332, 0.008641),
    ),
    Link(
        (-0.0825, 0.384, 0.0),
        _TURN_LEFT,
        1.225946,
        (-0.011953, 0.041065, -0.038437),
        (0.035549, 0.029474, 0.008627, -0.002117, -0.004037, 0.000229),
    ),
    Link(
        (0.0, 0.0, 0.0),
        _TURN_RIGHT,
        1.666555,
        (0.060149, -0.014117, -0.010517),
        (0.001964, 0.004354, 0.005433, 0.000109, -0.001158, 0.000341),
    ),
    Link(
        (0.088, 0.0, 0.0),
        _TURN_RIGHT,
        0.735522,
        (0.010517, -0.004252, 0.061597),
        (0.012516, 0.010027, 0.004815, -0.000428, -0.001196, -0.000741),
    ),
)


class Finger(NamedTuple):
    """How a pair of fingers is mounted: on the arm's last link, or on the hand without an arm."""

    height: float
    """Metres along z from the mount's origin to the knuckles."""
    quaternions: tuple[tuple[float, float, float, float], tuple[float, float, float, float]]
    reach: float
    """Range of each finger's slide."""
    gain: float
    """Newtons per unit of control; 255 units open the fingers fully."""


ARM_FINGERS = Finger(0.1654, ((0.9238795, 0.0, 0.0, -0.3826834), (0.3826834, 0.0, 0.0, 0.9238795)), 0.08, 0.15686)
HAND_FINGERS = Finger(0.0584, ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)), 0.05, 0.09804)


class Area(NamedTuple):
    """A box of points: its centre and half-sizes along x, y, z."""

    centre: tuple[float, float, float]
    half: tuple[float, float, float]


class ArmScene(NamedTuple):
    """A task of the arm: where cube and goal are drawn, and what stands on the table."""

    cube: Area | None
    """Where the cube's centre starts; None: there is no cube, and the arm has no fingers."""
    goal: Area | None
    """Where goals lie; None: the goal is to hold the cube, and the fingers have tips."""
    patches: tuple[Area, ...] = ()
    """Areas marked on the table, of starts, then of goals; nothing collides with them."""
    bins: tuple[Area, ...] = ()
    """Areas enclosed by walls, of starts, then of goals; z gives the walls' height."""
    fences: tuple[Area, ...] = ()
    """Invisible walls that only the cube touches."""
    hand_only: bool = False
    """Replace the arm by a hand on slides along x, y and z."""


_BONE_RGBA = (0.93, 0.94, 0.95, 1.0)
_JOINT_RGBA = (0.25, 0.28, 0.32, 1.0)
_CUBE_RGBA = (0.95, 0.60, 0.15, 1.0)
_GOAL_RGBA = (0.15, 0.75, 0.35, 0.45)
_AREA_RGBA = ((0.25, 0.45, 0.80, 1.0), (0.80, 0.30, 0.28, 1.0))
"""Starts blue, goals red; a single patch is blue."""
_WALL_HALF = 0.005

_LOOKS = (
    (("joint", (0, 0, 0), (0, 0, 0.14), 0.07), ("bone", (-0.1, 0, 0.03), (0, 0, 0.06), 0.06)),
    (("bone", (0, 0, -0.19), (0, 0, 0), 0.06), ("joint", (0, -0.075, 0), (0, 0.075, 0), 0.062)),
    (("bone", (0, 0, 0), (0, -0.2, 0), 0.055),),
    (("joint", (0, 0, -0.13), (0, 0, -0.09), 0.058), ("bone", (0, 0, -0.09), (0.0825, 0, 0), 0.05)),
    (("joint", (0, 0, -0.065), (0, 0, 0.065), 0.054), ("bone", (0, 0, 0), (-0.0825, 0.15, 0), 0.046)),
    (("joint", (0, 0, -0.22), (0, 0, -0.19), 0.052), ("bone", (0, 0, -0.18), (0, 0, 0), 0.045)),
    (("joint", (0, 0, -0.06), (0, 0, 0.06), 0.05), ("bone", (0, 0, 0), (0.088, 0, 0), 0.042)),
    (("joint", (0, 0, -0.02), (0, 0, 0.09), 0.044),),
)
"""Visual geoms of the base, then of each link: kind, both ends, radius. Bones are capsules, joints are cylinders."""


def arm_model(scene: ArmScene) -> "mujoco.MjModel":
    """Compile the scene."""
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = "arm"
    _set_options(mujoco, spec, scene)
    table = add_surroundings(mujoco, spec, None, cell_size=0.25)
    table.name, table.conaffinity = "table", 0
    _add_camera(spec)
    _add_areas(mujoco, spec, scene)
    if scene.cube is not None:
        cube = spec.worldbody.add_body(name="cube", pos=scene.cube.centre)
        cube.add_freejoint(name="cube")
        box = mujoco.mjtGeom.mjGEOM_BOX
        cube.add_geom(name="cube", type=box, size=(CUBE_HALF, CUBE_HALF, CUBE_HALF), rgba=_CUBE_RGBA)
    _add_marker(mujoco, spec, scene)
    mount = _add_hand(mujoco, spec) if scene.hand_only else _add_arm(mujoco, spec)
    if scene.cube is not None:
        _add_fingers(mujoco, spec, mount, HAND_FINGERS if scene.hand_only else ARM_FINGERS, tips=scene.goal is None)
    for first, second in touching(scene):
        spec.add_pair(geomname1=first, geomname2=second)
    _add_sensors(mujoco, spec, scene, mount.name)
    return spec.compile()


def touching(scene: ArmScene) -> list[tuple[str, str]]:
    """Pairs of geoms that collide, by name."""
    if scene.cube is None:
        return [("table", "hand")]
    gripper = ("hand", "left_finger", "right_finger")
    pairs = [("cube", "table"), *(("cube", part) for part in gripper), *(("table", part) for part in gripper)]
    pairs.append(("left_finger", "right_finger"))
    walls = [name for index in range(len(scene.bins)) for name, _, _ in bin_walls(index, scene.bins[index])]
    pairs += [(part, wall) for wall in walls for part in ("cube", *gripper)]
    return pairs + [("cube", f"fence_{index}") for index in range(len(scene.fences))]


def bin_walls(index: int, area: Area) -> list[tuple[str, tuple[float, ...], tuple[float, ...]]]:
    """(name, centre, half-sizes) of a bin's four walls; the bin's own half-sizes reach to the middle of its walls."""
    (x, y, z), (half_x, half_y, half_z) = area
    along_x, along_y = (half_x + _WALL_HALF, _WALL_HALF, half_z), (_WALL_HALF, half_y - _WALL_HALF, half_z)
    return [
        (f"bin_{index}_near", (x, y - half_y, z), along_x),
        (f"bin_{index}_far", (x, y + half_y, z), along_x),
        (f"bin_{index}_right", (x + half_x, y, z), along_y),
        (f"bin_{index}_left", (x - half_x, y, z), along_y),
    ]


def _set_options(mujoco, spec: "mujoco.MjSpec", scene: ArmScene) -> None:
    spec.compiler.degree = False
    spec.option.timestep = TIME_STEP
    spec.option.solver = mujoco.mjtSolver.mjSOL_NEWTON
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    spec.option.iterations = SOLVER_ITERATIONS
    spec.option.ls_iterations = LINE_SEARCH_ITERATIONS
    spec.option.impratio = 10.0 if scene.bins else 1.0
    spec.default.geom.contype, spec.default.geom.conaffinity = 0, 0


def _add_camera(spec: "mujoco.MjSpec") -> None:
    """Add a camera that faces the arm across the table; set lighting and extent."""
    spec.worldbody.add_camera(name="track", pos=(0.75, 1.65, 0.9), xyaxes=(-0.82, 0.57, 0, -0.28, -0.4, 0.87))
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = (0.35, 0.35, 0.35), (0.25, 0.25, 0.25)
    spec.stat.center, spec.stat.extent = (0, 0.4, 0.2), 1.2


def _add_areas(mujoco, spec: "mujoco.MjSpec", scene: ArmScene) -> None:
    """Add patches, bins and fences."""
    box, world = mujoco.mjtGeom.mjGEOM_BOX, spec.worldbody
    for area, rgba in zip(scene.patches, _AREA_RGBA):
        world.add_geom(type=box, pos=area.centre, size=area.half, rgba=rgba)
    for index, (area, rgba) in enumerate(zip(scene.bins, _AREA_RGBA)):
        for name, centre, half in bin_walls(index, area):
            world.add_geom(name=name, type=box, pos=centre, size=half, rgba=rgba)
    for index, area in enumerate(scene.fences):
        world.add_geom(name=f"fence_{index}", type=box, pos=area.centre, size=area.half, rgba=(1, 1, 1, 0))


def _add_marker(mujoco, spec: "mujoco.MjSpec", scene: ArmScene) -> None:
    """Add a ghost of the goal (cube, point to reach or two fingertips), which stays where the reset puts it."""
    marker = spec.worldbody.add_body(name="goal_marker", gravcomp=1.0)
    marker.add_freejoint(name="goal_marker")
    box, sphere = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_SPHERE
    if scene.goal is None:
        for x in (0.0, -TIP_DISTANCE):
            marker.add_geom(type=box, pos=(x, 0, 0), size=(TIP_HALF, TIP_HALF, TIP_HALF), rgba=_GOAL_RGBA)
    elif scene.cube is None:
        marker.add_geom(type=sphere, size=(CUBE_HALF, 0, 0), rgba=_GOAL_RGBA)
    else:
        marker.add_geom(type=box, size=(CUBE_HALF, CUBE_HALF, CUBE_HALF), rgba=_GOAL_RGBA)


def _add_servo(mujoco, spec: "mujoco.MjSpec", joint, force: float, gain: float, stiffness: float, control) -> None:
    """Add a position servo with a force limit."""
    # MuJoCo's integrator neglects the damping of an actuator that is at its own force limit, and MJX does not; with the
    # limit on the joint instead, they agree.
    joint.actfrclimited, joint.actfrcrange = True, (-force, force)
    target = {"target": joint.name, "trntype": mujoco.mjtTrn.mjTRN_JOINT}
    servo = spec.add_actuator(name=joint.name, ctrlrange=control, biastype=mujoco.mjtBias.mjBIAS_AFFINE, **target)
    servo.gainprm[0] = gain
    servo.biasprm[1], servo.biasprm[2] = -stiffness, -stiffness / 10


def _add_arm(mujoco, spec: "mujoco.MjSpec"):
    """Add seven links and their servos; return the last link, which carries the hand."""
    body = spec.worldbody
    _add_looks(mujoco, body, _LOOKS[0])
    for index, link in enumerate(LINKS):
        body = body.add_body(name=f"link{index + 1}", pos=link.position, quat=link.quaternion)
        body.explicitinertial = True
        body.mass, body.ipos, body.fullinertia = link.mass, link.centre, link.inertia
        joint = body.add_joint(name=f"joint{index + 1}", type=mujoco.mjtJoint.mjJNT_HINGE, axis=(0, 0, 1))
        limits = JOINT_RANGES[index]
        if limits is not None:
            joint.range = limits
        servo = JOINT_FORCES[index], JOINT_GAINS[index], JOINT_STIFFNESS[index]
        _add_servo(mujoco, spec, joint, *servo, limits or CONTROL_RANGE)
        _add_looks(mujoco, body, _LOOKS[index + 1])
    # The capsule adds no mass: the link's explicit inertia includes all that it carries.
    orientation = (0.653282, 0.653282, -0.270598, -0.270598)
    capsule = {"type": mujoco.mjtGeom.mjGEOM_CAPSULE, "size": (0.04, 0.06, 0), "rgba": _BONE_RGBA}
    body.add_geom(name="hand", pos=(0, 0, 0.142), quat=orientation, **capsule)
    return body


def _add_looks(mujoco, body, looks) -> None:
    kinds = {
        "bone": (mujoco.mjtGeom.mjGEOM_CAPSULE, _BONE_RGBA),
        "joint": (mujoco.mjtGeom.mjGEOM_CYLINDER, _JOINT_RGBA),
    }
    for kind, start, end, radius in looks:
        shape, rgba = kinds[kind]
        body.add_geom(type=shape, fromto=(*start, *end), size=(radius, 0, 0), rgba=rgba, mass=0)


def _add_hand(mujoco, spec: "mujoco.MjSpec"):
    """Add and return the hand without an arm, palm down, on slides whose coordinates are world x, y and z."""
    hand = spec.worldbody.add_body(name="hand", quat=(0.0, -(0.5**0.5), 0.5**0.5, 0.0), gravcomp=1.0)
    for name, axis, limits in zip("xyz", ((0, -1, 0), (-1, 0, 0), (0, 0, -1)), HAND_RANGES):
        joint = hand.add_joint(name=f"hand_{name}", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis, range=limits)
        _add_servo(mujoco, spec, joint, HAND_FORCE, HAND_GAIN, HAND_GAIN, CONTROL_RANGE)
    orientation = (0.5**0.5, 0.5**0.5, 0.0, 0.0)
    capsule = {"type": mujoco.mjtGeom.mjGEOM_CAPSULE, "size": (0.04, 0.06, 0), "rgba": _BONE_RGBA}
    hand.add_geom(name="hand", pos=(0, 0, 0.035), quat=orientation, **capsule)
    return hand


def _add_fingers(mujoco, spec: "mujoco.MjSpec", mount, fingers: Finger, tips: bool) -> None:
    """Add two fingers coupled to open equally, each with a servo and, with `tips`, a small body at its end."""
    box, hinge, slide = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE
    for side, quaternion in zip(("left", "right"), fingers.quaternions):
        name = f"{side}_finger"
        finger = mount.add_body(name=name, pos=(0, 0, fingers.height), quat=quaternion)
        finger.explicitinertial, finger.mass, finger.inertia = True, 0.015, (2.375e-6, 2.375e-6, 7.5e-7)
        finger.ipos, finger.iquat = (0, 0, 0), (1, 0, 0, 0)
        motion = {"range": (0.0, fingers.reach), "armature": 0.1, "damping": 5.0}
        joint = finger.add_joint(name=name, type=slide, axis=(0, 1, 0), **motion)
        _add_servo(mujoco, spec, joint, FINGER_FORCE, fingers.gain, FINGER_STIFFNESS, (0.0, 255.0))
        finger.add_geom(name=name, type=box, pos=(0, 0.0055, 0.035), size=(0.015, 0.005, 0.04), rgba=_JOINT_RGBA)
        if tips:
            tip = finger.add_body(name=f"{side}_tip", pos=(0, 0.005, 0.07))
            tip.add_joint(name=f"{side}_tip", type=hinge, axis=(0, 0, 1), range=(-0.0001, 0.0001))
            tip.add_geom(type=box, size=(TIP_HALF, TIP_HALF, TIP_HALF), rgba=_JOINT_RGBA)
    couple = spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, name1="left_finger", name2="right_finger")
    couple.data[:5] = 0, 1, 0, 0, 0
    couple.objtype = mujoco.mjtObj.mjOBJ_JOINT
    couple.solref, couple.solimp = (0.005, 1.0), (0.95, 0.99, 0.001, 0.5, 2.0)


def _add_sensors(mujoco, spec: "mujoco.MjSpec", scene: ArmScene, mount: str) -> None:
    """Add sensors in the order of the slices above."""
    kinds = mujoco.mjtSensor

    def add(name: str, kind, body: str) -> None:
        spec.add_sensor(name=name, type=kind, objtype=mujoco.mjtObj.mjOBJ_XBODY, objname=body)

    add("effector_position", kinds.mjSENS_FRAMEPOS, mount)
    add("effector_velocity", kinds.mjSENS_FRAMELINVEL, mount)
    if scene.cube is None:
        return
    part = "tip" if scene.goal is None else "finger"
    for side in ("left", "right"):
        add(side, kinds.mjSENS_FRAMEPOS, f"{side}_{part}")
    if scene.hand_only:
        for name in ("left_finger", "right_finger"):
            joint = {"objtype": mujoco.mjtObj.mjOBJ_JOINT, "objname": name}
            spec.add_sensor(name=f"{name}_force", type=kinds.mjSENS_JOINTACTFRC, **joint)

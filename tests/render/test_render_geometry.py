"""What is drawn, against the models' numbers and against poses computed by hand."""

import mujoco
import numpy as np
import pytest

from deepcrl.config import ConfigError
from deepcrl.envs.ant import ant_model
from deepcrl.envs.layouts import LAYOUTS, wall_boxes
from deepcrl.render.geometry import (
    FIXED,
    body_poses,
    drawn_qpos,
    moving_bodies,
    shapes,
    tracked_body,
    triangles,
    walls,
)

STAND = np.array([0, 0, 0.55, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1, 3, -2], float)
TETRAHEDRON = np.array([[0, 0, 0], [0.3, 0, 0], [0, 0.2, 0], [0, 0, 0.5]])


@pytest.fixture(scope="module")
def ant():
    return ant_model(LAYOUTS["u"])


def product(p, q):
    """Of quaternions."""
    w, v = p[0] * q[0] - p[1:] @ q[1:], p[0] * q[1:] + q[0] * p[1:] + np.cross(p[1:], q[1:])
    return np.array([w, *v])


def rotated(q, v):
    return product(product(q, np.array([0, *v])), q * [1, -1, -1, -1])[1:]


def about(axis, angle):
    return np.array([np.cos(angle / 2), *(np.sin(angle / 2) * np.asarray(axis) / np.linalg.norm(axis))])


def scene(build):
    spec = mujoco.MjSpec()
    build(spec)
    return spec.compile()


class TestShapes:
    def test_walls_are_fixed_boxes_where_the_layout_has_them(self, ant):
        boxes = [shape for shape in shapes(ant) if shape.kind == "box"]
        expected = wall_boxes(LAYOUTS["u"])
        assert len(boxes) == len(expected)
        for shape, (row, column, rows, columns) in zip(boxes, expected):
            assert shape.body == FIXED
            np.testing.assert_allclose(shape.pos, [4 * row + 2 * (rows - 1), 4 * column + 2 * (columns - 1), 1])
            np.testing.assert_allclose(shape.size, [2 * rows, 2 * columns, 1])

    def test_limbs(self, ant):
        found = shapes(ant)
        names = [ant.body(body).name for body in moving_bodies(ant)]
        assert names[0] == "torso"
        assert names[-1] == "target"
        kinds = {name: sorted(s.kind for s in found if s.body == row) for row, name in enumerate(names)}
        assert kinds["torso"] == ["capsule"] * 4 + ["sphere"]
        assert kinds["hip_1"] == ["capsule"]
        assert kinds["ankle_3"] == ["capsule", "sphere"]
        torso = next(s for s in found if s.body == 0 and s.kind == "sphere")
        np.testing.assert_allclose(torso.size[0], 0.25)
        limb = next(s for s in found if s.body == names.index("hip_1"))
        np.testing.assert_allclose(limb.pos, [0.1, 0.1, 0], atol=1e-12)
        np.testing.assert_allclose(limb.size[:2], [0.08, np.hypot(0.1, 0.1)])
        # A capsule lies along its own z axis.
        along = rotated(limb.quat, [0, 0, 1])
        np.testing.assert_allclose(along * np.sign(along[0]), np.array([1, 1, 0]) / np.sqrt(2), atol=1e-12)

    def test_only_the_marker_marks_the_goal(self, ant):
        marks = [shape for shape in shapes(ant) if shape.goal]
        assert [(s.kind, s.body, s.size[0]) for s in marks] == [("sphere", len(moving_bodies(ant)) - 1, 0.5)]

    def test_hidden_and_transparent_geoms_are_left_out(self):
        def build(spec):
            for group, alpha in ((0, 1.0), (2, 0.5), (3, 1.0), (0, 0.0)):
                spec.worldbody.add_geom(size=(0.1, 0, 0), group=group, rgba=(1, 0, 0, alpha))

        assert [shape.rgba[3] for shape in shapes(scene(build))] == [1.0, 0.5]

    def test_colours_of_materials(self):
        def build(spec):
            spec.add_material(name="red", rgba=(0.9, 0.1, 0.1, 1))
            spec.worldbody.add_geom(size=(0.1, 0, 0), material="red")
            spec.worldbody.add_geom(size=(0.1, 0, 0), material="red", rgba=(0, 0, 1, 1))

        np.testing.assert_allclose(
            [s.rgba for s in shapes(scene(build))], [[0.9, 0.1, 0.1, 1], [0, 0, 1, 1]], rtol=1e-6
        )

    def test_a_welded_body_is_placed_in_the_world(self):
        def build(spec):
            base = spec.worldbody.add_body(pos=(1, 2, 3), quat=about((0, 0, 1), np.pi / 2))
            base.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.1, 0.2, 0.3), pos=(1, 0, 0))

        (shape,) = shapes(scene(build))
        assert shape.body == FIXED
        np.testing.assert_allclose(shape.pos, [1, 3, 3], atol=1e-12)
        np.testing.assert_allclose(rotated(shape.quat, [1, 0, 0]), [0, 1, 0], atol=1e-12)

    def test_meshes(self):
        """Corners in the world are those that the mesh was made from, counter-clockwise from outside."""

        def build(spec):
            faces = [0, 2, 1, 0, 1, 3, 0, 3, 2, 1, 2, 3]
            spec.add_mesh(name="wedge", uservert=TETRAHEDRON.ravel(), userface=faces)
            body = spec.worldbody.add_body()
            body.add_freejoint()
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="wedge")

        (shape,) = shapes(scene(build))
        assert shape.mesh is not None
        placed = np.array([shape.pos + rotated(shape.quat, corner) for corner in triangles(scene(build), shape.mesh)])
        expected = TETRAHEDRON[[0, 2, 1, 0, 1, 3, 0, 3, 2, 1, 2, 3]]
        np.testing.assert_allclose(placed, expected, atol=1e-6)


class TestPoses:
    def test_free_body_hinges_and_marker(self, ant):
        turn = product(about((0, 0, 1), 0.7), about((1, 0, 0), 0.2))
        qpos = STAND.copy()
        qpos[:3], qpos[3:7], qpos[7], qpos[8] = (5, 6, 0.6), turn, 0.3, 0.9
        poses = body_poses(ant, qpos[None])[0]
        torso, hip, ankle, *_, marker = poses
        np.testing.assert_allclose(torso, [5, 6, 0.6, *turn], atol=1e-12)
        hip_turn = product(turn, about((0, 0, 1), 0.3))
        np.testing.assert_allclose(hip[:3], torso[:3] + rotated(turn, [0.2, 0.2, 0]), atol=1e-12)
        np.testing.assert_allclose(hip[3:], hip_turn, atol=1e-12)
        np.testing.assert_allclose(ankle[:3], hip[:3] + rotated(hip_turn, [0.2, 0.2, 0]), atol=1e-12)
        np.testing.assert_allclose(ankle[3:], product(hip_turn, about((-1, 1, 0), 0.9)), atol=1e-12)
        np.testing.assert_allclose(marker, [3, -2, 0.01, 1, 0, 0, 0], atol=1e-12)

    def test_quaternions_do_not_jump_between_their_two_signs(self, ant):
        angles = np.linspace(0, 4 * np.pi, 200)
        qpos = np.tile(STAND, (len(angles), 1))
        qpos[:, 3:7] = [about((0, 0, 1), angle) for angle in angles]
        qpos[::2, 3:7] *= -1
        turns = body_poses(ant, qpos)[:, :, 3:]
        np.testing.assert_allclose(np.linalg.norm(turns, axis=-1), 1, atol=1e-12)
        assert np.abs(np.diff(turns, axis=0)).max() < 0.05

    def test_goals_complete_the_coordinates_where_the_physics_have_none(self, model):
        place, goal = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
        np.testing.assert_array_equal(drawn_qpos(model, place, goal), [[1, 2, 3, 4]])
        whole = np.array([[1.0, 2, 5, 6]])
        np.testing.assert_array_equal(drawn_qpos(model, whole, goal), whole)
        with pytest.raises(ConfigError, match="4 coordinates; the physics have 3, the goal 2"):
            drawn_qpos(model, np.zeros((1, 3)), goal)


def test_what_the_camera_follows(ant, model):
    assert tracked_body(ant) == 0
    assert tracked_body(model) == 0
    assert tracked_body(mujoco.MjModel.from_xml_string("<mujoco/>")) is None


def test_extent_of_the_walls(ant):
    low, high = walls(ant)
    np.testing.assert_allclose([low, high], [[-2, -2, 0], [18, 18, 2]])
    assert walls(ant_model(None)) is None

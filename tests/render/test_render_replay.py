"""The page: what it says of the scene, that numbers survive packing, that it loads nothing."""

import json
import re

import numpy as np
import pytest

from deepcrl.config import ConfigError
from deepcrl.envs.ant import ant_model
from deepcrl.envs.layouts import LAYOUTS
from deepcrl.render import Episode, Recording, replay_html, write_replay
from deepcrl.render.geometry import body_poses, shapes
from deepcrl.render.replay import LEVELS, MAX_FRAMES, Packed, frame_columns, frame_stride, pack, unpack


def scene_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))


def columns_of(packed):
    return unpack(Packed(packed["text"], np.array(packed["low"]), np.array(packed["step"])))


@pytest.fixture(scope="module")
def long_walk():
    """Four episodes of an ant that shuffles about for 1000 steps."""
    rng = np.random.default_rng(0)
    length, episodes = 1000, []
    for _ in range(4):
        qpos = np.zeros((length, 17))
        qpos[:, :2] = 4 + np.cumsum(rng.normal(scale=0.05, size=(length, 2)), axis=0)
        qpos[:, 2] = 0.6 + 0.1 * rng.uniform(size=length)
        turns = np.cumsum(rng.normal(scale=0.05, size=(length, 4)), axis=0) + np.array([5, 0, 0, 0])
        qpos[:, 3:7] = turns / np.linalg.norm(turns, axis=1, keepdims=True)
        qpos[:, 7:15] = np.sin(np.arange(length)[:, None] * rng.uniform(0.1, 0.6, 8))
        qpos[:, 15:] = goal = np.tile([4.0, 12.0], (length, 1))
        distance = np.linalg.norm(qpos[:, :2] - goal, axis=1)
        episodes.append(Episode(qpos.astype(np.float32), qpos[:, :2], goal, distance, distance < 0.5, False))
    return Recording(episodes, 0.05, 0.5)


class TestPacking:
    def test_errs_by_half_a_level_at_most(self):
        rng = np.random.default_rng(0)
        columns = rng.normal(size=(300, 5)) * [1, 100, 1e-3, 10, 1]
        packed = pack(columns)
        np.testing.assert_allclose(packed.step, np.ptp(columns, axis=0) / LEVELS)
        errors = np.abs(unpack(packed) - columns).max(axis=0)
        assert (errors <= 0.5001 * packed.step).all()
        # A coarser code would err by more than half a level too, but not by nearly as much as this one allows.
        assert (errors > 0.4 * packed.step).all()

    def test_constants_and_ends_are_exact(self):
        columns = np.stack([np.full(7, 3.25), np.linspace(-2, 5, 7), np.array([0, 1, 0, 1, 0, 1, 0.0])], axis=1)
        found = unpack(pack(columns))
        np.testing.assert_array_equal(found[:, 0], 3.25)
        np.testing.assert_allclose(found[:, 1][[0, -1]], [-2, 5], rtol=1e-12)
        np.testing.assert_allclose(found[:, 2], columns[:, 2], atol=1e-12)


class TestPage:
    def test_poses_are_those_of_the_model(self, long_walk):
        model = ant_model(LAYOUTS["u"])
        scene = scene_of(replay_html(model, long_walk, "walk"))
        assert scene["bodies"] == 10
        for told, episode in zip(scene["episodes"], long_walk.episodes):
            columns = columns_of(told)
            poses = body_poses(model, episode.qpos)
            found = columns[:, :70].reshape(-1, 10, 7)
            np.testing.assert_allclose(found[..., :3], poses[..., :3], atol=2e-4)
            np.testing.assert_allclose(found[..., 3:], poses[..., 3:], atol=2e-5)
            np.testing.assert_allclose(columns[:, 70:72], episode.achieved, atol=1e-3)
            np.testing.assert_allclose(columns[:, 73:76], [[4, 12, 0]] * 1000)
            np.testing.assert_allclose(columns[:, 76], episode.distance, atol=1e-3)

    def test_four_long_episodes_are_small(self, long_walk):
        assert len(replay_html(ant_model(LAYOUTS["u"]), long_walk, "walk")) < 1_200_000

    def test_shapes(self, model, recording):
        scene = scene_of(replay_html(model, recording, "u"))
        expected = shapes(model)
        assert len(scene["shapes"]) == len(expected) == 8  # floor, five walls, point, marker
        for told, shape in zip(scene["shapes"], expected):
            assert told["kind"] == shape.kind
            assert told["goal"] == shape.goal
            np.testing.assert_allclose(told["pos"], shape.pos, atol=5e-5)
            np.testing.assert_allclose(told["size"], shape.size, atol=5e-5)
        assert [told["body"] for told in scene["shapes"]] == [None] * 6 + [0, 1]

    def test_outcomes(self, model, recording):
        first, second = scene_of(replay_html(model, recording, "u"))["episodes"]
        # 0.2 m a step: within 0.5 m of the goal, 4 m away, from step 18 to step 22.
        assert first["success"] == [[18, 22]]
        assert (first["firstAtGoal"], first["timeAtGoal"], first["steps"], first["failed"]) == (18, 5, 30, False)
        assert (second["success"], second["firstAtGoal"], second["failed"]) == ([], None, True)
        assert first["seconds"] == 0.1

    def test_long_episodes_are_thinned_out(self, model, recording):
        assert [frame_stride(n) for n in (1, MAX_FRAMES, MAX_FRAMES + 1, 2500)] == [1, 1, 2, 3]
        one = recording.episodes[0]
        rows = np.arange(2500) % 30
        long = one.at(rows)
        (told,) = scene_of(replay_html(model, Recording([long], 0.1, 0.5), "u"))["episodes"]
        assert (told["frames"], told["stride"], told["steps"]) == (834, 3, 2500)
        np.testing.assert_allclose(told["seconds"], 0.3)
        np.testing.assert_allclose(columns_of(told)[:, 1], long.qpos[::3, 1], atol=1e-4)

    def test_first_view(self, model, recording):
        view = scene_of(replay_html(model, recording, "u"))["view"]
        # The camera is 9 m behind and 11 m above the point, and turned down by 90 - 39 degrees.
        np.testing.assert_allclose(view["azimuth"], 90)
        np.testing.assert_allclose(view["elevation"], 51)
        np.testing.assert_allclose(view["distance"], np.hypot(9, 11))
        assert view["target"] is None

    def test_loads_nothing(self, model, recording):
        page = replay_html(model, recording, "u")
        assert not re.search(r"https?:|//cdn|\bimport\b|\bfetch\(|url\(|<link|<img|\ssrc=", page)
        assert "default-src 'none'" in page

    def test_text_cannot_break_out(self, model, recording):
        page = replay_html(model, recording, "</script><b>", "</title>{{script}}")
        assert page.count("</script>") == 2
        assert "<title>&lt;/script&gt;&lt;b&gt;</title>" in page
        scene = scene_of(page)
        assert (scene["title"], scene["subtitle"]) == ("</script><b>", "</title>{{script}}")

    def test_same_input_same_bytes(self, model, recording):
        assert replay_html(model, recording, "u") == replay_html(model, recording, "u")

    def test_a_model_that_does_not_fit(self, recording):
        with pytest.raises(ConfigError, match="17 coordinates"):
            replay_html(ant_model(None), recording, "u")


def test_columns_of_goals_with_one_and_with_many_coordinates(model, recording):
    one = recording.episodes[0]
    for size in (1, 7):
        goal = np.arange(30 * size, dtype=float).reshape(30, size)
        whole = np.concatenate([one.qpos, one.goal], axis=1)
        found = frame_columns(model, Episode(whole, goal, goal, one.distance, one.success, False))
        expected = np.zeros((30, 3))
        expected[:, : min(size, 3)] = goal[:, :3]
        np.testing.assert_array_equal(found[:, 14:17], expected)


def test_written_in_one_step(tmp_path):
    path = write_replay(tmp_path / "replay.html", "a")
    assert write_replay(path, "ä").read_text(encoding="utf-8") == "ä"
    assert [entry.name for entry in tmp_path.iterdir()] == ["replay.html"]

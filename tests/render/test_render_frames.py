"""Films and pictures, where this machine has a GL backend; and what is said where it has none."""

import subprocess
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest

from deepcrl.config import ConfigError
from deepcrl.envs.layouts import LAYOUTS
from deepcrl.envs.point_model import point_model
from deepcrl.render import environment_picture, frames, gl_backend, picture, scene, write_video
from deepcrl.render.frames import Painter, _overview, _resample

needs_gl = pytest.mark.skipif(gl_backend() is None, reason="no GL backend here")

SIZE = (96, 64)
HOME, GOAL = (4.0, 4.0), (12.0, 12.0)


def blue(pictures):
    """Share of pixels in the point's colour."""
    red, green, blue = (np.asarray(pictures)[..., k].astype(int) for k in range(3))
    return np.mean((blue > red + 60) & (blue > green + 40), axis=(-2, -1))


class TestTimes:
    def test_frames_show_the_nearest_states(self, recording):
        one = recording.episodes[0]
        shown = _resample(one, 0.1, 0.25)  # 30 states over 2.9 s
        np.testing.assert_array_equal(shown.qpos, one.qpos[[0, 2, 5, 8, 10, 12, 15, 18, 20, 22, 25, 28]])
        assert len(_resample(one, 0.1, 0.1).qpos) == 30


def test_a_maze_is_seen_as_a_whole():
    """All corners of the walls are within the picture."""
    model = point_model(LAYOUTS["u4"])  # 7 by 5 cells of 4 m
    for aspect in (0.8, 1.5, 3.0):
        *target, distance, elevation = _overview(model, aspect)
        np.testing.assert_allclose(target, [12, 8, 1])
        angle = np.radians(elevation)
        ahead, up = np.array([0, np.cos(angle), -np.sin(angle)]), np.array([0, np.sin(angle), np.cos(angle)])
        corners = np.array([[x, y, z] for x in (-2, 26) for y in (-2, 18) for z in (0, 2)]) - target
        depth = corners @ ahead + distance
        reach = np.tan(np.radians(22.5)) * depth
        assert (np.abs(corners @ up) < reach).all()
        assert (np.abs(corners[:, 0]) < aspect * reach).all()
    assert np.isnan(_overview(mujoco.MjModel.from_xml_string("<mujoco/>"), 1.5)).all()


@needs_gl
class TestPictures:
    def test_the_point_is_where_it_is(self, model):
        """From above: the start cell is to the lower left, the goal to the upper right."""
        image = picture(model, np.array([*HOME, *GOAL]), 240, 240)
        assert image.shape == (240, 240, 3)
        red, green, blue = (image[..., k].astype(int) for k in range(3))
        point = np.argwhere((blue > red + 60) & (blue > green + 40)).mean(axis=0)
        goal = np.argwhere((green > red + 40) & (green > blue + 30)).mean(axis=0)
        assert point[0] > 140 > 110 > goal[0]
        assert point[1] < 105 < 135 < goal[1]

    def test_by_name(self):
        image = environment_picture("point_u_maze", width=80, height=60)
        assert image.shape == (60, 80, 3)
        assert image.std() > 10

    def test_frames_follow_the_recording(self, model, recording):
        one = recording.episodes[0]
        qpos = np.concatenate([one.qpos, one.goal], axis=1)[[0, 0, 20]]
        first, again, there = frames._draw(model, qpos, np.array([False, False, True]), *SIZE)
        np.testing.assert_array_equal(first, again)
        assert np.abs(first.astype(int) - there).max() > 50

    def test_a_reached_goal_shines(self, model):
        qpos = np.array([[*HOME, *GOAL]] * 2)
        usual, reached = frames._draw(model, qpos, np.array([False, True]), 240, 240)
        change = reached.astype(int).sum(axis=-1) - usual.astype(int).sum(axis=-1)
        assert 20 < (change != 0).sum() < 3000  # the marker alone

    def test_a_failing_renderer_is_reported(self, model):
        painter = Painter(model, *SIZE)
        painter.send(np.array([*HOME, *GOAL]), False)
        assert painter.receive().std() > 10
        painter._worker.kill()
        painter._worker.wait()
        with pytest.raises(ConfigError, match="MuJoCo's renderer"):
            painter.draw(np.array([*HOME, *GOAL]), False)
        with pytest.raises(
            ConfigError, match=r"a position of shape \(3,\) is none of this model's, which have 4 numbers"
        ):
            painter.send(np.zeros(3), False)
        folder = Path(painter._folder.name)
        assert folder.exists()
        painter.close()
        painter.close()
        assert not folder.exists()


@needs_gl
class TestFilms:
    def test_gif(self, model, recording, tmp_path):
        image = pytest.importorskip("PIL.Image")
        path = write_video(model, recording, tmp_path / "a.gif", episode=0, width=SIZE[0], height=SIZE[1])
        with image.open(path) as film:
            assert (film.n_frames, film.size, film.info["duration"]) == (30, SIZE, 100)
            film.seek(0)
            first = np.asarray(film.convert("RGB"))
            film.seek(29)
            last = np.asarray(film.convert("RGB"))
        assert np.abs(first.astype(int) - last).max() > 50
        assert blue(first) > 0

    def test_mp4(self, model, recording, tmp_path):
        try:
            ffmpeg = frames._ffmpeg()
        except ConfigError as missing:
            pytest.skip(str(missing))
        path = write_video(model, recording, tmp_path / "a.mp4", width=SIZE[0], height=SIZE[1], speed=2.0)
        decode = [ffmpeg, "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        found = subprocess.run(decode, capture_output=True, check=True)
        assert b"96x64" in found.stderr
        assert b"20 fps" in found.stderr
        pictures = np.frombuffer(found.stdout, np.uint8).reshape(-1, SIZE[1], SIZE[0], 3).astype(int)
        assert len(pictures) == 30 + 24  # both episodes, every state once
        # The second episode starts where the first did, in another place than that ended.
        jumps = np.abs(np.diff(pictures, axis=0)).max(axis=(1, 2, 3))
        assert jumps[29] > 50


class TestWhatIsMissing:
    def test_no_backend(self, model, recording, tmp_path, monkeypatch):
        monkeypatch.setattr(frames, "gl_backend", lambda: None)
        with pytest.raises(ConfigError, match=r"libosmesa6.*replay needs neither"):
            write_video(model, recording, tmp_path / "a.gif")

    def test_a_backend_that_does_not_work_is_not_one(self, monkeypatch):
        """Whatever happens in the attempt, this process goes on."""
        monkeypatch.setenv("MUJOCO_GL", "nonsense")
        assert gl_backend.__wrapped__() is None

    @pytest.mark.parametrize(("module", "name", "word"), [("imageio_ffmpeg", "a.mp4", "MP4"), ("PIL", "a.gif", "GIF")])
    def test_no_encoder(self, module, name, word, model, recording, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.setattr(frames.shutil, "which", lambda name: None)
        monkeypatch.setattr(frames, "gl_backend", lambda: "any")
        with pytest.raises(ConfigError, match=rf"{word} needs .*pip install 'deepcrl\[video\]'"):
            write_video(model, recording, tmp_path / name)

    def test_unknown_suffix(self, model, recording, tmp_path):
        with pytest.raises(ConfigError, match=r"\.mp4 or \.gif, not as 'a.avi'"):
            write_video(model, recording, tmp_path / "a.avi")

    def test_environments_without_a_model(self, monkeypatch):
        from deepcrl.envs.registry import ENVIRONMENTS

        monkeypatch.setitem(ENVIRONMENTS, "bare", ENVIRONMENTS["point_l_maze"]._replace(model=None))
        with pytest.raises(ConfigError, match="bare has no model to draw"):
            scene("bare")


def test_seconds_of_a_step():
    assert scene("ant")[1] == pytest.approx(0.05)
    assert scene("point_l_maze")[1] == pytest.approx(0.1)
    assert scene("arm_reach")[1] == pytest.approx(0.05)

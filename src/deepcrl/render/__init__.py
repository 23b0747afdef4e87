"""Shows episodes: as a page with an interactive 3-D replay, as films, as pictures."""

from deepcrl.render.frames import gl_backend, picture, write_video
from deepcrl.render.replay import replay_html, write_replay
from deepcrl.render.rollout import Episode, Recording, record, record_agent
from deepcrl.render.run import FORMATS, environment_picture, render, scene, titles, watch

__all__ = [
    "FORMATS",
    "Episode",
    "Recording",
    "environment_picture",
    "gl_backend",
    "picture",
    "record",
    "record_agent",
    "render",
    "replay_html",
    "scene",
    "titles",
    "watch",
    "write_replay",
    "write_video",
]

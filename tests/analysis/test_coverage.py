"""First visits to cells, from paths written by hand and from a run's replay."""

import jax.numpy as jnp
import numpy as np
import pytest

from deepcrl import ConfigError, preset
from deepcrl.analysis.coverage import coverage, of_positions, stored_states
from deepcrl.folder import create_run_dir
from deepcrl.program import build
from deepcrl.replay import buffer
from deepcrl.types import Transition


def test_first_visits_and_shares():
    layout = ("####", "#RG#", "##G#", "#G.#", "####")
    # Two environments in cells of 2 m: (1, 1) (1, 2) (1, 2) (2, 2), and (1, 1) (1, 1) (1, 2) (1, 2), from step 10 on.
    cells = np.array([[(1, 1), (1, 1)], [(1, 2), (1, 1)], [(1, 2), (1, 2)], [(2, 2), (1, 2)]])
    found = of_positions(cells * 2.0 + 0.9, 10, layout, 2.0)
    nan, never = np.nan, np.inf
    np.testing.assert_array_equal(
        found.first_visit, [[nan] * 4, [nan, 20, 22, nan], [nan, nan, 26, nan], [nan, never, never, nan], [nan] * 4]
    )
    assert found.first_step == 20
    assert found.env_steps[[0, -1]].tolist() == [0, 28]
    at = dict(zip(found.env_steps.tolist(), found.share.tolist(), strict=True))
    assert [at[step] for step in (19, 20, 21, 22, 25, 26, 28)] == pytest.approx([0, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6])


def test_a_run_has_been_where_it_started(tiny_run):
    found = coverage(tiny_run("point_u_maze"))
    assert found.first_visit[1, 1] == 0
    assert np.isinf(found.first_visit[3, 1])
    assert np.isnan(found.first_visit[2, 1])
    assert found.env_steps[-1] == 400
    assert found.share[-1] == pytest.approx(np.isfinite(found.first_visit).sum() / 7)


def test_an_open_plane_has_no_cells(tmp_path):
    create_run_dir(build(preset("reacher")), tmp_path)
    with pytest.raises(ConfigError, match="reacher has no cells"):
        coverage(tmp_path)


def test_a_ring_that_has_wrapped_is_read_from_its_oldest_step():
    replay = buffer.init({"state": 1}, 30, 2)
    for first in range(0, 50, 10):
        fields = dict.fromkeys(Transition._fields, jnp.zeros((10, 2, 1)))
        state = jnp.broadcast_to(jnp.arange(first, first + 10.0)[:, None, None], (10, 2, 1))
        episode = jnp.zeros((10, 2), jnp.int32)
        replay = buffer.insert(replay, Transition(**{**fields, "state": state, "episode_id": episode}))
    states, first = stored_states(replay)
    assert first == 20
    np.testing.assert_array_equal(states[..., 0], np.tile(np.arange(20.0, 50.0)[:, None], 2))

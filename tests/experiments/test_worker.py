"""The cores of workers that train beside each other."""

import os

import pytest

from deepcrl.experiments import worker


@pytest.mark.parametrize(
    ("cores", "core", "share", "pinned"),
    [
        ({0, 1, 2, 3}, 0, 2, {0, 2}),
        ({0, 1, 2, 3}, 1, 2, {1, 3}),
        ({0, 1, 2, 3}, 3, 2, {1, 3}),
        ({0, 1, 2, 3}, 0, 3, {0, 3}),
        ({0, 1, 2, 3}, 2, 3, {2}),
        ({0, 1, 2, 3}, 3, 4, {3}),
        ({33, 2, 10, 7}, 1, 2, {7, 33}),
        ({4, 6}, 1, 4, {6}),
        ({4, 6}, 3, 4, {4, 6}),  # more workers than cores: any core
        ({0, 1, 2, 3}, 0, 1, None),
    ],
)
def test_a_worker_is_pinned_to_its_share_of_the_cores(
    cores: set[int], core: int, share: int, pinned: set[int] | None, monkeypatch: pytest.MonkeyPatch
):
    found = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cores, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, own: found.append((pid, own)), raising=False)
    worker.pin(core, share)
    assert found == ([] if pinned is None else [(0, pinned)])


def test_where_the_system_cannot_pin_nothing_happens(monkeypatch: pytest.MonkeyPatch):
    for name in ("sched_getaffinity", "sched_setaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    worker.pin(1, 2)

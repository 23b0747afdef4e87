"""The clock of a run, with a time that is set by hand."""

from types import SimpleNamespace

import pytest

from deepcrl.logging import clock as module
from deepcrl.logging.clock import Clock, first_call


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The present second."""
    second = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: second[0]))
    return second


def test_wall_time_goes_on_from_where_it_starts(now: list[float]):
    clock = Clock(50.0)
    assert clock.wall_s() == 50.0
    now[0] = 107.5
    assert clock.wall_s() == 57.5
    later = Clock(clock.wall_s())
    now[0] = 110.0
    assert (clock.wall_s(), later.wall_s()) == (60.0, 60.0)


def test_phases_add_up_until_they_are_taken(now: list[float]):
    clock = Clock(50.0)
    now[0] = 107.5
    assert clock.add("collect", 101.0) == 6.5
    now[0] = 110.0
    assert clock.add("collect", 108.0) == 2.0
    assert clock.add("update", 109.75) == 0.25
    assert clock.take() == {"time/collect_s": 8.5, "time/update_s": 0.25}
    assert clock.take() == {}
    now[0] = 111.0
    assert clock.add("update", 110.65625) == 0.34375, "not rounded"
    assert clock.take() == {"time/update_s": 0.344}
    assert clock.wall_s() == 61.0, "whatever is taken"


def test_a_function_is_called_first_once():
    def one() -> None: ...

    def other() -> None: ...

    assert [first_call(function) for function in (one, other, one, other, one)] == [True, True, False, False, False]

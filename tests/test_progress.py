"""Progress: what a run says stays on one line, however narrow the terminal or the log."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from deepcrl.logging import progress as module
from deepcrl.logging.progress import Progress


def test_lines_are_not_broken():
    """A log has 80 columns for Rich, and a folder's name may be longer."""
    file = io.StringIO()
    progress = Progress(100, Console(file=file, width=20))
    progress.stands(0, 1)
    progress.say(f"folder {'long/' * 30}run")
    progress.evaluated(3.5, 0.25, 1.0)
    progress.enter("training")
    said = file.getvalue().splitlines()
    assert said[0] == f"folder {'long/' * 30}run"
    assert said[1] == "            0 env steps  time at goal    3.50  success  25.0%  left ?"
    assert len(said) == 2  # the last line is not old enough for another one


def test_the_line_of_phases_made_by_hand():
    file = io.StringIO()
    progress = Progress(1_000_000, Console(file=file, width=20))
    assert progress.line() == (
        "starting      0.0%  0/1,000,000 env steps  0 env steps/s  0 updates/s  left ?  time at goal -"
    )
    progress.stands(200_000, 3)  # resumed: what came before says nothing of the speed
    progress.collected(50_000, 2.5)
    progress.updated(300, 0.5)
    progress.looped(50_000, 10.0)
    progress.enter("training")
    # 750,000 env steps at 0.2 ms; an evaluation's time is not known yet.
    assert progress.line() == (
        "training     25.0%  250,000/1,000,000 env steps  20,000 env steps/s  600 updates/s  left 2:30  time at goal -"
    )
    progress.evaluated(12.34, 0.5, 40.0)  # two more of 40 s
    progress.evaluated(15.0, 0.5, 20.0)  # one more of 30 s
    said = file.getvalue().splitlines()
    assert said[-2:] == [
        "      250,000 env steps  time at goal   12.34  success  50.0%  left 3:50",
        "      250,000 env steps  time at goal   15.00  success  50.0%  left 3:00",
    ]
    progress.collected(50_000, 5.0)
    progress.updated(300, 0.25)
    progress.looped(50_000, 990.0)  # 1,000 s for 100,000 env steps so far: 10 ms
    assert progress.line() == (
        "training     30.0%  300,000/1,000,000 env steps  10,000 env steps/s  1,200 updates/s  left 1:57:10  "
        "time at goal 15.0"
    )


@pytest.mark.parametrize(
    ("env_steps", "left"),
    [(0, "2:46:40"), (639_700, "1:00:03"), (640_100, "59:59"), (993_900, "1:01"), (999_300, "0:07"), (10**6, "0:00")],
)
def test_the_time_left_in_hours_minutes_and_seconds(env_steps: int, left: str):
    progress = Progress(1_000_000, Console(file=io.StringIO()))
    progress.looped(1000, 10.0)
    progress.stands(env_steps, 0)
    assert f"  left {left}  " in progress.line()


def test_a_log_gets_a_line_every_twenty_seconds(monkeypatch: pytest.MonkeyPatch):
    file, now = io.StringIO(), [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    progress = Progress(100, Console(file=file))
    for second, phase in ((100.0, "preparing"), (119.9, "collecting"), (120.0, "training"), (139.9, "saving")):
        now[0] = second
        progress.enter(phase)
    assert [line.split()[0] for line in file.getvalue().splitlines()] == ["preparing", "training"]

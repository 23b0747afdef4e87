"""Wall time of a run over all its sessions, and how it splits into phases."""

import time
import weakref
from collections.abc import Callable

_called: "weakref.WeakSet[Callable]" = weakref.WeakSet()
"""Functions that this process has called; seeds trained one after another share what is compiled."""


def first_call(function: Callable) -> bool:
    """Whether the function is about to be called for the first time, which compiles it. Ask once before each call."""
    first = function not in _called
    _called.add(function)
    return first


class Clock:
    """Counts a run's seconds: in total over all its sessions, and per phase since the last metrics row."""

    def __init__(self, wall_s: float):
        self._before = wall_s
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}

    def wall_s(self) -> float:
        return self._before + time.perf_counter() - self._started

    def add(self, phase: str, started: float) -> float:
        seconds = time.perf_counter() - started
        self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds
        return seconds

    def take(self) -> dict[str, float]:
        """Seconds per phase since the last call, for a metrics row."""
        taken = {f"time/{phase}_s": round(seconds, 3) for phase, seconds in self._seconds.items()}
        self._seconds.clear()
        return taken

"""How long a run has taken, over all its sessions, and where the time went."""

import time
from collections.abc import Callable


class Clock:
    """Seconds since the run began, over all its sessions, and per phase since the last row."""

    def __init__(self, wall_s: float):
        self._before = wall_s
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._called: set[int] = set()

    def wall_s(self) -> float:
        return self._before + time.perf_counter() - self._started

    def knows(self, function: Callable) -> bool:
        return id(function) in self._called

    def phase(self, name: str, function: Callable) -> str:
        """The phase's name; a function is compiled when it is called for the first time."""
        first = not self.knows(function)
        self._called.add(id(function))
        return f"compiling and {name}" if first else name

    def add(self, phase: str, started: float) -> float:
        seconds = time.perf_counter() - started
        self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds
        return seconds

    def take(self) -> dict[str, float]:
        """Seconds per phase since the last call, for a metrics row."""
        taken = {f"time/{phase}_s": round(seconds, 3) for phase, seconds in self._seconds.items()}
        self._seconds.clear()
        return taken

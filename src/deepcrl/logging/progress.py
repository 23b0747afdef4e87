"""A run's phase, progress, speed and time left: a live line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

PLAIN_SECONDS = 20.0
"""Seconds between lines where there is no terminal to redraw."""


class Progress:
    """The progress line of one run. Rates are the latest: env steps per second of collecting, updates of updating."""

    def __init__(self, total_env_steps: int, console: Console | None = None):
        self.console = console or Console()
        self.total, self.env_steps, self.evals_left = total_env_steps, 0, 0
        self.phase = "starting"
        self.time_at_goal: float | None = None
        self._loop_seconds = self._loop_steps = self._eval_seconds = self._evals = 0.0
        self._collect_rate = self._update_rate = 0.0
        self._live: Live | None = None
        self._last_line = 0.0

    @contextmanager
    def running(self) -> Iterator["Progress"]:
        """Show the line for as long as the block runs."""
        if not self.console.is_terminal:
            yield self
            return
        with Live(self, console=self.console, refresh_per_second=4, transient=False) as self._live:
            yield self
        self._live = None

    def stands(self, env_steps: int, evals_left: int) -> None:
        """Set where the run begins or continues."""
        self.env_steps, self.evals_left = env_steps, evals_left

    def enter(self, phase: str) -> None:
        """Set the phase: preparing, compiling, prefilling, collecting, training, evaluating, saving."""
        self.phase = phase
        self._plain()

    def collected(self, steps: int, seconds: float) -> None:
        self.env_steps += steps
        self._collect_rate = steps / max(seconds, 1e-9)

    def updated(self, updates: int, seconds: float) -> None:
        self._update_rate = updates / max(seconds, 1e-9)

    def looped(self, steps: int, seconds: float) -> None:
        """Count a whole collection with its updates towards the estimate of the time left."""
        self._loop_steps += steps
        self._loop_seconds += seconds

    def evaluated(self, time_at_goal: float, success_any: float, seconds: float) -> None:
        self.time_at_goal = time_at_goal
        self.evals_left -= 1
        self._evals += 1
        self._eval_seconds += seconds
        self.console.print(
            f"{self.env_steps:>13,} env steps  time at goal {time_at_goal:7.2f}  success {success_any:6.1%}  "
            f"left {self._left()}",
            highlight=False,
            soft_wrap=True,
        )
        self._last_line = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def line(self) -> str:
        """The progress line as text."""
        goal = "-" if self.time_at_goal is None else f"{self.time_at_goal:.1f}"
        return (
            f"{self.phase:<11} {self.env_steps / self.total:6.1%}  {self.env_steps:,}/{self.total:,} env steps  "
            f"{self._collect_rate:,.0f} env steps/s  {self._update_rate:,.0f} updates/s  "
            f"left {self._left()}  time at goal {goal}"
        )

    def __rich__(self) -> Text:
        return Text(self.line(), no_wrap=True, overflow="ellipsis")

    def _left(self) -> str:
        if not self._loop_steps:
            return "?"
        per_eval = self._eval_seconds / self._evals if self._evals else 0.0
        per_step = self._loop_seconds / self._loop_steps
        seconds = round((self.total - self.env_steps) * per_step + self.evals_left * per_eval)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

    def _plain(self) -> None:
        if self.console.is_terminal or time.monotonic() - self._last_line < PLAIN_SECONDS:
            return
        self.console.print(self.line(), highlight=False, soft_wrap=True)
        self._last_line = time.monotonic()

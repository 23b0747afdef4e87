"""Progress: what a run says stays on one line, however narrow the terminal or the log."""

import io

from rich.console import Console

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

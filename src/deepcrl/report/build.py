"""Build a run's report: read its folder, play episodes with its agent, compose the page, replace report.html."""

from pathlib import Path

from deepcrl.checkpoint import CheckpointError
from deepcrl.config import Config, ConfigError
from deepcrl.files import replace_file
from deepcrl.nn.encoder import network_words
from deepcrl.program import make_envs
from deepcrl.report import details, sections
from deepcrl.report.html import Markup, page, tag
from deepcrl.report.look import Look, look
from deepcrl.report.record import Record, read

FILE = "report.html"


def report(run_dir: str | Path, *, num_episodes: int = 64, seed: int = 0) -> Path:
    """Write `report.html` into a run folder and return its path. The same run gives the same bytes.

    A run that has just started, was interrupted, or has lost its checkpoints gets a report as well, which says so.

    Args:
        num_episodes: fresh episodes to play with the latest agent; some of them are drawn.
        seed: seed of those episodes.

    Raises:
        ConfigError: when the folder holds no run, or `num_episodes` is less than 1.
    """
    if num_episodes < 1:
        raise ConfigError(f"num_episodes = {num_episodes} must be at least 1")
    record = read(Path(run_dir).resolve())
    seen, problem = None, ""
    try:
        seen = look(record.run_dir, num_episodes, seed)
    except (ConfigError, CheckpointError, OSError) as error:
        # Name the folder without its parents, so that a run that has moved gives the same page.
        problem = str(error).replace(str(record.run_dir), record.run_dir.name)
    return replace_file(record.run_dir / FILE, compose(record, seen, problem))


def compose(record: Record, seen: Look | None, problem: str) -> Markup:
    """Compose the page. `problem` says why `seen` is None; empty otherwise."""
    length = seen.env.spec.episode_length if seen else _episode_length(record.config)
    title = f"{record.config.env.name}, {network_words(record.config.network)}, seed {record.config.seed} – deepcrl"
    return page(
        title,
        sections.header(record),
        tag(
            "main",
            sections.scores(record, length),
            sections.behaviour_curves(record, length),
            sections.episodes(seen, problem),
            sections.replay(seen),
            sections.values(seen),
            sections.training_curves(record),
            sections.time_spent(record),
            details.configuration(record.config),
            details.machine(record),
            details.reproduce(record),
        ),
    )


def _episode_length(config: Config) -> int | None:
    try:
        return make_envs(config)[1].spec.episode_length
    except ConfigError:
        return config.env.episode_length

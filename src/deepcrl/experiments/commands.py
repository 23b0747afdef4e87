"""`deepcrl experiment list | plan | run | status | report`."""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from deepcrl.config import ConfigError, near_matches
from deepcrl.experiments import EXPERIMENTS, lookup
from deepcrl.experiments.record import Cell, Experiment, cells, select
from deepcrl.flags import parse
from deepcrl.machine import usable_cores
from deepcrl.report.text import aligned, duration

OUT = Path("runs/experiments")
USAGE = """usage: deepcrl experiment COMMAND [options]      (deepcrl experiment COMMAND --help says more)

  list       every figure and table of the paper, by name
  plan       what an experiment would cost on this machine: runs, env steps, updates, hours, disk
  run        train what is left of it, then write its report
  status     how far it is
  report     write its pages again
"""
ScaleName = Literal["paper", "laptop", "smoke"]
Only = Annotated[tuple[str, ...], tyro.conf.arg(metavar="AXIS=LABEL ...")]
FAILED = 1


def main(args: list[str]) -> int:
    """Run one of the commands; returns the exit code."""
    commands = {"list": _list, "plan": _plan, "run": _run, "status": _status, "report": _report}
    if not args or args[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if args else 2
    if args[0] not in commands:
        raise ConfigError(f"unknown command {f'experiment {args[0]}'!r}; {near_matches(args[0], commands)}")
    return commands[args[0]](args[1:])


def _list(args: list[str]) -> int:
    def options(markdown: bool = False) -> bool:
        """Print every experiment: its name, where it is in the paper, and its question.

        Args:
            markdown: Print the table of docs/experiments.md.
        """
        return markdown

    if parse(options, "deepcrl experiment list", args):
        from deepcrl.experiments import index

        print(index.markdown(list(EXPERIMENTS.values())), end="")
        return 0
    lines = [(experiment.name, experiment.source, experiment.question) for experiment in EXPERIMENTS.values()]
    print("\n".join(aligned(("experiment", "in the paper", "question"), lines)))
    return 0


def _workers(jobs: int | None) -> int:
    """Number of parallel processes, by default one per usable core. Raises ConfigError below 1."""
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs = {jobs} must be at least 1")
    return jobs or usable_cores()  # small networks gain little from a second core


def _plan(args: list[str]) -> int:
    def options(
        name: tyro.conf.Positional[str],
        /,
        scale: ScaleName = "laptop",
        out: Path = OUT,
        only: Only = (),
        jobs: int | None = None,
        calibrate: bool = True,
    ) -> tuple[Experiment, str, Path, list[Cell], int, bool]:
        """Say what is left to run of an experiment, and what it will cost on this machine.

        Args:
            name: The experiment; `deepcrl experiment list` prints them all.
            scale: Size of its runs.
            out: Folder of all experiments' runs.
            only: Price only runs with these labels, such as depth=4 depth=8 seed=0.
            jobs: Processes at once; one for each core if not given.
            calibrate: Time a few updates of every configuration, for an estimate of hours and disk.
        """
        experiment = lookup(name)
        return experiment, scale, out, select(cells(experiment, scale), only), _workers(jobs), calibrate

    experiment, scale, out, chosen, workers, calibrate = parse(options, "deepcrl experiment plan", args)
    from deepcrl.experiments import pricing, runs

    work = runs.jobs(chosen, out)
    number, env_steps, updates = pricing.count(work)
    print(f"{experiment.name}, scale {scale}: {number} runs left, {env_steps:,} env steps, {updates:,} updates")
    if not calibrate or not work:
        return 0
    priced = []
    for job, rates, seconds in pricing.price(work, workers, out):
        words = "unknown" if rates is None else f"{duration(seconds)}, {rates.update_s * 1e3:.1f} ms per update"
        print(f"  {job.cell.name()}, {len(job.folders)} seeds: {words}", flush=True)
        priced.append((job, rates, seconds))
    price = pricing.total(work, priced, workers)
    print(
        f"about {duration(price.hours * 3600)} with {workers} at once; {price.disk_bytes / 1e9:.2f} GB of checkpoints"
    )
    return 0 if all(rates for _, rates, _ in priced) else FAILED


def _run(args: list[str]) -> int:
    def options(
        name: tyro.conf.Positional[str],
        /,
        scale: ScaleName = "laptop",
        out: Path = OUT,
        only: Only = (),
        jobs: int | None = None,
        launcher: Literal["processes", "slurm"] = "processes",
        slurm: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE ...")] = (),
        pages: Path | None = None,
    ) -> tuple:
        """Train what is left of an experiment, and write its report. Run again, it goes on where it stopped.

        Args:
            name: The experiment; `deepcrl experiment list` prints them all.
            scale: Size of its runs.
            out: Folder of all experiments' runs; equal configurations have one run there.
            only: Train only runs with these labels, such as depth=4 depth=8 seed=0; the report has all that are done.
            jobs: Processes at once; one for each core if not given.
            launcher: Processes of this machine, or jobs of a Slurm cluster.
            slurm: Submitit's parameters, slurm_partition=gpu timeout_min=600.
            pages: Folder of the reports, and of the numbers behind them (runs.jsonl): runs whose numbers are there are
                done, wherever they were trained; OUT if not given.
        """
        experiment = lookup(name)
        chosen = select(cells(experiment, scale), only)
        return experiment, scale, out, chosen, _workers(jobs), launcher, slurm, pages or out

    experiment, scale, out, chosen, workers, launcher, slurm, pages = parse(options, "deepcrl experiment run", args)
    submitit = _pairs(slurm)
    if slurm and launcher != "slurm":
        raise ConfigError(f"slurm = {' '.join(slurm)!r} needs launcher = 'slurm', not {launcher!r}")
    from deepcrl.experiments import archive, runner, runs, watch

    archive.unpack(pages, out)
    work = runs.largest_first(runs.jobs(chosen, out))
    left = sum(len(job.folders) for job in work)
    print(
        f"{experiment.name}, scale {scale}: {left} runs to do, in {len(work)} jobs; logs in {out / 'logs'}", flush=True
    )
    ended = runner.on_slurm(work, out, submitit) if launcher == "slurm" else runner.in_processes(work, out, workers)
    failed = []
    with watch.lines(work):
        for count, (job, problem) in enumerate(ended, 1):
            print(f"{count} of {len(work)}: {job.cell.name()}: {problem or 'done'}", flush=True)
            if problem:
                failed.append(f"{job.cell.name()}: {problem}")
    _write(experiment, scale, out, pages)
    _write_index(pages, out)
    for words in failed:
        print(f"failed: {words}")
    return FAILED if failed else 0


def _status(args: list[str]) -> int:
    def options(name: tyro.conf.Positional[str | None] = None, /, out: Path = OUT) -> tuple[str | None, Path]:
        """Say how far an experiment is, at every scale; without a name, all of them.

        Args:
            name: The experiment.
            out: Folder of all experiments' runs.
        """
        return name, out

    name, out = parse(options, "deepcrl experiment status", args)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"out = {str(out)!r} is no folder")
    from deepcrl.experiments.results import failures, results, state_words

    failed: dict[str, None] = {}  # experiments share runs
    for experiment in [lookup(name)] if name else EXPERIMENTS.values():
        for scale in experiment.scales:
            found = results(experiment, scale, out)
            print(f"{experiment.name:22} {scale:8} {state_words(found)}")
            failed |= dict.fromkeys(failures(found, out))
    for words in failed:
        print(f"failed: {words}")
    return 0


def _report(args: list[str]) -> int:
    def options(
        name: tyro.conf.Positional[str | None] = None,
        /,
        scale: ScaleName = "laptop",
        out: Path = OUT,
        pages: Path | None = None,
    ) -> tuple[str | None, str, Path, Path]:
        """Write an experiment's pages, Markdown and HTML, of the runs that are done, and the index of all experiments.

        PAGES/runs.jsonl keeps the numbers of all runs: pages are written from it where the run folders are gone.

        Args:
            name: The experiment; without one, every experiment of which a run is done.
            scale: Size of its runs.
            out: Folder of all experiments' runs.
            pages: Folder of the reports; OUT if not given.
        """
        return name, scale, out, pages or out

    name, scale, out, pages = parse(options, "deepcrl experiment report", args)
    from deepcrl.experiments import archive
    from deepcrl.experiments.results import results

    archive.unpack(pages, out)
    chosen = [lookup(name)] if name else list(EXPERIMENTS.values())
    done = [one for one in chosen if any(result.scores for result in results(one, scale, out))]
    if not done and not out.is_dir():
        raise ConfigError(f"out = {str(out)!r} is no folder, and there are no runs in pages = {str(pages)!r} either")
    for experiment in chosen if name else done:
        print(f"{experiment.source}: {experiment.name}")
        _write(experiment, scale, out, pages)
    _write_index(pages, out)
    return 0


def _write(experiment: Experiment, scale: str, out: Path, pages: Path) -> None:
    import jax

    if jax.config.jax_compilation_cache_dir is None:  # analyses of runs that differ by seed compile the same programs
        jax.config.update("jax_compilation_cache_dir", str(out.resolve() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    from deepcrl.experiments import archive, page
    from deepcrl.experiments.results import failures, results

    found = results(experiment, scale, out)
    written = page.write(experiment, scale, found, pages, out)
    archive.pack(pages, found, out)
    print("\n".join(aligned(*page.table_of(found))))
    for words in failures(found, out):
        print(f"failed: {words}")
    print(f"report: {written[1]}")


def _write_index(pages: Path, out: Path) -> None:
    from deepcrl.experiments import index

    print(f"all experiments: {index.write(list(EXPERIMENTS.values()), pages, out)[1]}")


def _pairs(words: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE words as keyword arguments; a value that is no Python literal is a string."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"slurm = {word!r} must be KEY=VALUE")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found

"""The command line: `deepcrl COMMAND`; USAGE lists the commands.

Flags of `train` are made from the configuration's dataclasses, with the named environment's settings as defaults. A
mistake in the input ends in one line on stderr and exit code 2, before anything is compiled.
"""

import dataclasses
import os
import re
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from deepcrl.commands import analyse_run, compare_runs, evaluate_run, render_run, report_run, say
from deepcrl.config import Config, ConfigError, config_id, near_matches, override
from deepcrl.flags import config_flags, early, lookup, parse, refuse_others

USAGE = """usage: deepcrl COMMAND [options]      (deepcrl COMMAND --help says more)

  train      train an agent; with no options, the quickstart: a point maze, minutes on a laptop
  resume     continue an interrupted run to the same numbers as an uninterrupted one
  evaluate   fresh episodes with a trained agent
  report     write a run's report.html again
  render     a run's episodes as an interactive 3-D page, MP4 or GIF
  analyse    look into a run: topology, embeddings, blocks, units, coverage, strip
  compare    scores of several runs, over seeds, by the settings in which they differ
  experiment the paper's figures and tables: list, plan, run, status, report
  list       environments and algorithms
  doctor     what this machine has, and what is missing for the rest
"""

INTERRUPTED = 3
"""Exit code of a run that a signal stopped, after a checkpoint."""
LAST_SCORES = {"eval/time_at_goal": 2, "eval/success_any": 3, "eval/final_distance": 2}
"""Scores printed at the end of a run, and their numbers of decimals."""
KILLED = 130
"""Exit code of any other command stopped by Ctrl-C, as in shells."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": _train,
        "resume": _resume,
        "evaluate": evaluate_run,
        "report": report_run,
        "render": render_run,
        "analyse": analyse_run,
        "compare": compare_runs,
        "experiment": _experiment,
        "list": _list,
        "doctor": _doctor,
    }
    if not args or args[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if args else 2
    if args[0] == "--version":
        from importlib.metadata import version

        print(version("deepcrl"))
        return 0
    try:
        if args[0] not in commands:
            raise ConfigError(f"unknown command {args[0]!r}; {near_matches(args[0], commands)}")
        code = commands[args[0]](args[1:])
        sys.stdout.flush()
        return code
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return KILLED
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `deepcrl list envs | head`: the reader has gone
        try:
            print(flush=True)  # a flush alone fails only once
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # discard what is still buffered
            return 1
        raise  # of another pipe, such as that of a dead worker
    except OSError as error:  # a full disk or a read-only folder, for example
        what = f"{error.filename}: " if error.filename else ""
        print(f"error: {what}{error.strerror or error}", file=sys.stderr)
        return 2
    except _run_errors() as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parse_train(args: list[str]) -> tuple[Config, Path, tuple[int, ...] | None]:
    """The configuration, folder and seeds (None: the configuration's) of `deepcrl train ARGS`. Raises ConfigError."""
    from deepcrl.algorithms import DEFAULT_ALGORITHM
    from deepcrl.envs.registry import QUICKSTART
    from deepcrl.presets import Scale, preset

    env, scale = early(args, "env") or QUICKSTART, typing.cast(Scale, early(args, "scale") or "laptop")
    algorithm = early(args, "algorithm") or DEFAULT_ALGORITHM
    defaults = preset(env, scale, algorithm)
    refuse_others(args, algorithm)
    if early(args, "out") == "":  # an empty shell variable, say; as a path it is the current folder
        raise ConfigError("out = '' must name a folder")
    flags = config_flags(defaults)
    fields = [
        (flag.name, Annotated[flag.hint, tyro.conf.arg(help=flag.doc)], lookup(defaults, flag.path)) for flag in flags
    ]
    scale_help = "Whose settings the defaults are: of a run on two cores, or of the paper's."
    fields.append(("scale", Annotated[Scale, tyro.conf.arg(help=scale_help)], scale))
    out_help = "Run folder; must be new or empty. The default is a new one under runs/."
    seeds_help = "Train one run for each of these seeds, in OUT/seed-N, and summarise them; --seed has no say then."
    seeds = Annotated[tuple[int, ...] | None, tyro.conf.arg(help=seeds_help, metavar="INT [INT ...]")]
    fields.append(("seeds", seeds, None))
    fields.append(("out", Annotated[Path | None, tyro.conf.arg(help=out_help)], None))
    options = dataclasses.make_dataclass("TrainOptions", fields, frozen=True)
    shown = f"The defaults shown are those of {algorithm} on {env}; --env, --algorithm and --scale change them."
    description = f"Train an agent. {shown}"
    parsed = parse(options, "deepcrl train", args, description=description)
    config = override(defaults, {flag.path: getattr(parsed, flag.name) for flag in flags})
    given = typing.cast(Any, parsed)
    return config, given.out or _new_folder(config), given.seeds


def _train(args: list[str]) -> int:
    config, out, many = parse_train(args)
    from deepcrl import seeds
    from deepcrl.train import train

    if many is None:
        return _finish(train(config, out))
    from deepcrl.report import joint_report, report

    try:
        results = seeds.train_seeds(config, many, out)
    except FloatingPointError:  # one seed has diverged; report all the same
        for run_dir in seeds.run_dirs(out):
            say(f"writing the report of {run_dir}")
            report(run_dir)
        print(f"report: {joint_report(out)}")
        raise
    if not all(_finish(result) == 0 for result in results):
        return INTERRUPTED
    say("writing the report of all seeds")
    page = joint_report(out)
    print(f"{seeds.text(seeds.summarise(out))}\nreport: {page}")
    return 0


def _resume(args: list[str]) -> int:
    def options(run_dir: tyro.conf.Positional[Path], /) -> Path:
        """Continue an interrupted run from its newest whole checkpoint.

        Args:
            run_dir: Folder of the run.
        """
        return run_dir

    from deepcrl.train import resume

    result = resume(parse(options, "deepcrl resume", args))
    return 0 if result.already else _finish(result)


def _experiment(args: list[str]) -> int:
    from deepcrl.experiments.commands import main

    return main(args)


def _list(args: list[str]) -> int:
    def options(
        what: tyro.conf.Positional[Literal["envs", "algorithms"]] = "envs", /, markdown: bool = False
    ) -> tuple[str, bool]:
        """Print what can be trained.

        Args:
            what: Environments or algorithms.
            markdown: Print the environments as the table of docs/environments.md.
        """
        return what, markdown

    what, markdown = parse(options, "deepcrl list", args)
    if what == "algorithms":
        if markdown:
            raise ConfigError("--markdown prints the table of environments; there is none of algorithms")
        from deepcrl.algorithms import ALGORITHMS

        print("\n".join(f"{name:10} {row.summary}" for name, row in ALGORITHMS.items()))
    else:
        from deepcrl.envs import catalogue

        print(catalogue.markdown() if markdown else catalogue.text())
    return 0


def _doctor(args: list[str]) -> int:
    def options() -> None:
        """Say what device, engines, cores and optional parts this machine has, and what is missing for the rest."""

    parse(options, "deepcrl doctor", args)
    from deepcrl import doctor

    print(doctor.examine())
    return 0


def _finish(result: Any) -> int:
    """Write and print the report of a finished run; returns the exit code."""
    if not result.finished:
        return INTERRUPTED
    from deepcrl.report import report
    from deepcrl.report.text import number

    last = result.rows[-1]
    say(f"writing the report of {result.run_dir}")
    page = report(result.run_dir)
    scores = [f"{name} {number(last[name], places)}" for name, places in LAST_SCORES.items()]
    print(
        f"{'  '.join(scores)} m  after {last['env_steps']:,} env steps, "
        f"{last['gradient_steps']:,} updates, {last['wall_s']:.0f} s"
    )
    print(f"report: {page}")
    return 0


def _new_folder(config: Config) -> Path:
    # Gymnasium's ids may contain colons and slashes.
    name = re.sub(r"[:/]", "_", config.env.name)
    base = Path("runs") / f"{name}-{config_id(config)}"
    candidate, count = base, 1
    while candidate.exists():
        count += 1
        candidate = base.with_name(f"{base.name}-{count}")
    return candidate


def _run_errors() -> type[Exception]:
    """CheckpointError, imported only when another error has to be compared with it: its module imports JAX."""
    from deepcrl.checkpoint import CheckpointError

    return CheckpointError


if __name__ == "__main__":
    sys.exit(main())

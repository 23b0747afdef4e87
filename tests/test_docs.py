"""The documentation holds: its snippets run, its commands parse, and what it names is there.

In README.md and docs/**/*.md:

    ```python           is executed, in an empty folder; the blocks of one file share their names, from top to bottom
    ```python no-run    is compiled only; for what trains, or needs something that the reader brings along
    ```bash             every `deepcrl` command goes through the real command line, with the work itself left out;
    ```console          the same, for lines that begin with "$ "

Relative links, and their anchors, must exist. In docs/*.md, a backticked `path.py` or `path.py:name` must exist in
src/deepcrl or in the repository, and a backticked `section.field` must be a field of the configuration. The table of
rooms must agree with the imports, and every column of metrics.jsonl must be explained.
"""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import jax
import numpy as np
import pytest

from deepcrl import cli, flags
from deepcrl.algorithms import ALGORITHMS
from deepcrl.config import AGENTS, override
from deepcrl.envs.table import ENVIRONMENTS
from deepcrl.evaluate import Episodes, summarise
from deepcrl.presets import preset

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "deepcrl"
GUIDES = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<code>.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"""\[[^\]]*\]\(([^)\s]+)[^)]*\)|(?:src|href)="([^"]+)\"""")
CODE_SPAN = re.compile(r"`([^`\n]+)`")


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    flags: list[str]
    code: str
    line: int
    """Of the code's first line in the page, counted from 1."""


class Reached(Exception):
    """A command line was understood, and the work would begin."""


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        language, *flags = match["info"].split() or [""]
        found.append(Block(language, flags, match["code"], text.count("\n", 0, match.start("code")) + 1))
    return found


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    python = [block for block in blocks(page) if block.language == "python"]
    with (
        mock.patch.dict(ENVIRONMENTS),
        mock.patch.dict(ALGORITHMS),
        mock.patch.dict(AGENTS),
    ):  # what a page registers is gone after it
        for block in python:
            # Empty lines in front, so that a traceback points into the page.
            program = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
            if "no-run" not in block.flags:
                exec(program, names)


def commands(block: Block) -> Iterator[list[str]]:
    """The `deepcrl` commands of a shell block, as argument lists without the leading "deepcrl"."""
    code = block.code.replace("\\\n", " ")
    lines = code.splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    for line in lines:
        words = shlex.shlex(re.sub(r"\$\{?\w+\}?", "0", line), posix=True, punctuation_chars=True)
        words.whitespace_split = True
        part: list[str] = []
        for word in [*words, ";"]:
            if word[0] not in ";&|<>()":
                part.append(word)
                continue
            while part and (part[0] in ("do", "time", "nohup") or "=" in part[0]):
                part.pop(0)
            if part[:1] == ["deepcrl"]:
                yield part[1:]
            part = []


SHELL = [(page, block) for page in PAGES for block in blocks(page) if block.language in ("bash", "console", "sh")]


@pytest.mark.parametrize(("page", "block"), SHELL, ids=[f"{name(page)}:{block.line}" for page, block in SHELL])
def test_commands_parse(page, block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train_module = importlib.import_module("deepcrl.train")

    def check(config, *where):
        train_module.build(config)  # refuses what could not run; compiles nothing
        raise Reached

    def stop(*args, **kwargs):
        raise Reached

    stopped = [
        (importlib.import_module(module), function)
        for module, function in (
            ("deepcrl.train", "resume"),
            ("deepcrl.agent", "evaluate"),
            ("deepcrl.report", "report"),
            ("deepcrl.render", "render"),
            ("deepcrl.doctor", "examine"),
            ("deepcrl.report.findings", "find"),
            ("deepcrl.report.comparison", "compare"),
            ("deepcrl.experiments.runs", "jobs"),
            ("deepcrl.experiments.results", "results"),
        )
    ]
    # After those modules have been imported, as they would keep what stands in its place.
    monkeypatch.setattr(importlib.import_module("deepcrl.folder"), "load_config", lambda run_dir: None)
    monkeypatch.setattr(train_module, "train", check)
    monkeypatch.setattr(importlib.import_module("deepcrl.seeds"), "train_seeds", check)
    for module, function in stopped:
        monkeypatch.setattr(module, function, stop)
    for command in commands(block):
        try:
            code = cli.main(command)
        except Reached:
            code = 0
        except SystemExit as end:  # --help, or a flag that does not exist
            code = end.code
        assert code == 0, f"deepcrl {shlex.join(command)}"


def anchors(page: Path) -> set[str]:
    """Anchors of the page's headings, by GitHub's rule."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page):
    for groups in LINK.findall(CODE_SPAN.sub("", prose(page))):
        link = "".join(groups)
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: no such heading"


def definitions(path: Path) -> set[str]:
    """Names bound at a module's top level."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_named_code_exists(page):
    fields = {flag.path for name in ALGORITHMS for flag in flags.config_flags(preset(algorithm=name))}
    sections = {path.split(".")[0] for path in fields}
    for span in CODE_SPAN.findall(prose(page)):
        if match := re.fullmatch(r"([\w/]+\.py)(?::(\w+))?", span):
            places = [base / match[1] for base in (SOURCE, ROOT) if (base / match[1]).is_file()]
            assert places, f"{span}: no such file"
            assert match[2] is None or match[2] in definitions(places[0]), f"{span}: no such name"
        elif re.fullmatch(r"\w+\.\w+", span) and span.split(".")[0] in sections:
            assert span in fields, f"{span}: no such field"


def rooms() -> dict[str, int]:
    """Room to level, from the table in docs/architecture.md."""
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    found = {room: int(level) for level, cell in rows for room in CODE_SPAN.findall(cell)}
    assert all((SOURCE / room).exists() for room in found)
    return {room.rstrip("/").removesuffix(".py"): level for room, level in found.items()}


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a module imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"deepcrl.{alias.name}" for alias in node.names] if node.module == "deepcrl" else [node.module]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        found |= {module.split(".")[1] for module in modules if module.startswith("deepcrl.")}
    return found


def test_rooms_import_downwards_only():
    levels = rooms()
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for other in imported_rooms(path) - {room}:
            assert levels[other] < levels[room], f"{path.relative_to(SOURCE)} imports {other}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_metric_is_explained(algorithm):
    program_module = importlib.import_module("deepcrl.program")
    small = {"network.depth": 4, "network.width": 4}
    program = program_module.build(override(preset(algorithm=algorithm), small))
    state = jax.eval_shape(lambda: program_module.init_state(program))
    one, flag = np.zeros((1, 1, 2)), np.ones((1, 1), bool)
    summary = summarise(Episodes(one[0], one[0], one, one[..., 0], flag, {}, flag))
    names = ["env_steps", "gradient_steps", "wall_s", *(f"eval/{key}" for key in summary)]
    names += [f"train/{key}" for key in state.sums]
    phases = re.findall(r"clock\.add\((.+?), started\)", (SOURCE / "train.py").read_text())
    names += [f"time/{phase}_s" for words in phases for phase in re.findall(r'"(\w+)"', words)]
    assert len(phases) == 4
    table = (ROOT / "docs" / "algorithm.md").read_text()
    missing = [key for key in names if f"| `{key}` |" not in table]
    assert not missing, f"not in docs/algorithm.md: {missing}"

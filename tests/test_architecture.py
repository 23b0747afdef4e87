"""The rooms of the package: imports go downwards only, and names of algorithms and environments stay in their rooms."""

import ast
import sys
from pathlib import Path

import pytest

import deepcrl
from deepcrl.algorithms import ALGORITHMS
from deepcrl.envs.registry import ENVIRONMENTS

ROOT = Path(deepcrl.__file__).parent
PACKAGE = "deepcrl"

# A room is a top-level module or folder. It imports from lower levels, and from itself.
LEVELS = {
    "config": 0,
    "types": 0,
    "files": 0,
    "machine": 0,
    "plan": 1,
    "flags": 1,
    "lock": 1,
    "nn": 1,
    "contrastive": 1,
    "replay": 1,
    "envs": 1,
    "logging": 1,
    "checkpoint": 1,
    "algorithms": 2,
    "collect": 2,
    "evaluate": 2,
    "presets": 2,
    "gym": 2,
    "program": 3,
    "train": 4,
    "agent": 5,
    "analysis": 5,
    "render": 5,
    "report": 5,
    "seeds": 5,
    "doctor": 6,
    "experiments": 6,
    "api": 6,
    "cli": 6,
    "__init__": 6,
    "__main__": 6,
}

# Imports between rooms of one level, all of which are at level 2 or above. A module stands for itself alone.
SIDEWAYS = {
    ("collect", "algorithms.base"),
    ("evaluate", "algorithms.base"),
    ("presets", "algorithms"),
    ("analysis", "agent"),
    ("render", "agent"),
    ("render", "analysis"),
    ("seeds", "analysis"),
    ("report", "agent"),
    ("report", "analysis"),
    ("report", "render"),
    ("report", "seeds"),
    ("cli", "doctor"),
    ("cli", "experiments"),
    ("cli", "api"),
    ("__init__", "api"),
    ("__main__", "cli"),
}

MODULES = sorted(ROOT.rglob("*.py"))
NAMES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES]


def parse(module: str) -> ast.Module:
    return ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())


def room(module: str) -> str:
    return module.split(".")[0]


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or path.is_dir()


def imports(module: str) -> list[str]:
    """Absolute names of everything imported anywhere in a module, functions and type checking included."""
    found = []
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide which room they come from"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def own_imports(module: str) -> list[str]:
    """The package's modules that a module imports, without the package's name: the deepest part that is a module."""
    found = []
    for name in imports(module):
        parts = name.split(".")
        if parts[0] == PACKAGE:
            inner = parts[1:]
            while inner and not is_module(".".join(inner)):
                inner = inner[:-1]
            found.append(".".join(inner) or "__init__")
    return found


def allowed(importer: str, imported: str) -> bool:
    if room(importer) == room(imported):
        return True
    sideways = {(room(importer), imported), (room(importer), room(imported))} & SIDEWAYS
    return bool(sideways) or LEVELS[room(imported)] < LEVELS[room(importer)]


def test_every_room_has_a_level():
    assert {room(name) for name in NAMES} <= set(LEVELS)
    assert {room for room, level in LEVELS.items() if level <= 3} <= {room(name) for name in NAMES}


def test_the_rules_themselves():
    """What must be refused is; imports are found in every form."""
    assert not allowed("nn.dense", "train")
    assert not allowed("nn.dense", "replay.buffer")
    assert not allowed("contrastive.loss", "nn.dense")
    assert not allowed("collect", "algorithms.crl")
    assert not allowed("collect", "algorithms")
    assert not allowed("config", "types")
    assert not allowed("algorithms.crl", "collect")
    assert allowed("collect", "algorithms.base")
    assert allowed("nn.encoder", "nn.dense")
    assert "algorithms.base" in own_imports("collect")
    assert "config" in own_imports("nn.residual")
    assert {"algorithms", "replay.buffer"} <= set(own_imports("program"))


@pytest.mark.parametrize("module", NAMES)
def test_imports_go_downwards(module):
    wrong = sorted({name for name in own_imports(module) if not allowed(module, name)})
    assert not wrong, f"{module} (level {LEVELS[room(module)]}) imports {', '.join(wrong)}"


@pytest.mark.parametrize("module", ["config", "plan"])
def test_configuration_and_plan_need_the_standard_library_only(module):
    outside = {name.split(".")[0] for name in imports(module)} - {PACKAGE} - sys.stdlib_module_names
    assert not outside


def test_only_the_environments_import_a_simulator_and_what_draws_or_wraps_them():
    simulators = {"mujoco", "brax", "mujoco_mjx", "gymnasium"}
    users = {name for name in NAMES if any(i.split(".")[0] in simulators for i in imports(name))}
    assert {room(name) for name in users} == {"envs", "render", "gym"}


def constants(module: str) -> set[str]:
    """String constants of a module's code; docstrings, also those of fields, are none."""
    tree = parse(module)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {node.value for node in strings if id(node) not in documentation}


def test_constants_are_found_and_documentation_is_not():
    assert "metrics.jsonl" in constants("logging.rows")
    assert not any(text.startswith("One run.") for text in constants("config"))
    assert set(ALGORITHMS) <= constants("algorithms.__init__")


@pytest.mark.parametrize("module", NAMES)
def test_names_of_algorithms_and_environments_stay_in_their_rooms(module):
    if module.startswith("experiments.records"):  # of which these are
        return
    known: set[str] = set()
    if room(module) != "algorithms":
        known |= set(ALGORITHMS)
    if room(module) != "envs":
        known |= set(ENVIRONMENTS)
    assert not constants(module) & known

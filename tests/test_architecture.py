"""The rooms of the package: what each may know. That imports go downwards is tested with the table in the docs."""

import ast
import builtins
import dis
import sys
import types
from pathlib import Path

import pytest

import deepcrl
from deepcrl.algorithms import ALGORITHMS
from deepcrl.envs.registry import ENVIRONMENTS

ROOT = Path(deepcrl.__file__).parent
PACKAGE = "deepcrl"

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


def test_imports_are_found_in_every_form():
    assert "algorithms.base" in own_imports("collect")
    assert "config" in own_imports("nn.residual")
    assert {"algorithms", "replay.buffer"} <= set(own_imports("program"))


@pytest.mark.parametrize("module", ["collect", "evaluate"])
def test_rollouts_know_of_algorithms_what_all_have_in_common(module):
    assert {name for name in own_imports(module) if room(name) == "algorithms"} == {"algorithms.base"}


def loaded(code: types.CodeType) -> set[str]:
    """Names that functions look up in their module, or among Python's own."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    return found.union(*(loaded(part) for part in code.co_consts if isinstance(part, types.CodeType)))


@pytest.mark.parametrize("module", NAMES)
def test_every_name_is_defined(module):
    """Type checkers are not asked: to them the shapes of jaxtyping are names."""
    path = ROOT / (module.replace(".", "/") + ".py")
    code = compile(path.read_text(), str(path), "exec")
    defined = {step.argval for step in dis.get_instructions(code) if step.opname == "STORE_NAME"}
    assert loaded(code) <= defined | set(dir(builtins)) | {"__file__", "__name__"}


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

"""Command line flags, made from the leaves of the configuration, and tyro's error messages in one line."""

import ast
import contextlib
import dataclasses
import inspect
import io
import itertools
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tyro

from deepcrl.config import AGENTS, Config, ConfigError

FLAG_NAMES = {
    "env.name": "env",
    "evaluation.env": "eval_env",
    "evaluation.num_envs": "eval_envs",
    "evaluation.mode": "eval_mode",
    "checkpoint.keep": "keep_checkpoints",
}
"""Flags whose name is not the last part of their field's path."""


class Flag(NamedTuple):
    """One leaf of the configuration as a command line flag."""

    name: str
    path: str
    hint: Any
    doc: str


def config_flags(config: Config) -> list[Flag]:
    """Every leaf of a configuration, in order, with the docstring that follows it in the source."""
    return list(_leaves(config, ""))


def parse(target: Callable[..., Any], prog: str, args: list[str], **options: Any) -> Any:
    """Parse with tyro. Raises ConfigError, with one line, where tyro would print a box and exit."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(target, prog=prog, args=args, **options)
    except SystemExit as ended:
        if ended.code in (0, None):
            raise
        raise ConfigError(_one_line(said.getvalue(), prog)) from None


def _one_line(box: str, prog: str) -> str:
    """One line from tyro's error box: its first section, then the flags named in the later ones."""
    sections: list[list[str]] = [[]]
    for line in box.splitlines()[1:]:  # the first is a title
        text = line.strip("│╭╮╰╯ ").replace("─", "-")
        if text and not text.strip("-"):
            sections.append([])
        elif text:
            sections[-1].append(text)
    complaint, *rest = [section for section in sections if section]
    flags = [text for section in rest for text in section if re.match("--[a-z]", text)]
    return f"{' '.join(complaint).rstrip('.')}; " + (f"use {', '.join(flags)}" if flags else f"see {prog} --help")


def early(args: list[str], flag: str) -> str | None:
    """The value of a flag that is needed before the other flags' defaults are known; the last one if it is repeated."""
    found = None
    for i, arg in enumerate(args):
        if arg == f"--{flag}" and i + 1 < len(args):
            found = args[i + 1]
        elif arg.startswith(f"--{flag}="):
            found = arg.partition("=")[2]
    return found


def refuse_others(args: list[str], algorithm: str) -> None:
    """Raise ConfigError for a flag of a setting that only other algorithms have."""
    own = {field.name for field in dataclasses.fields(AGENTS[algorithm])}
    for arg in args:
        name = arg.removeprefix("--").partition("=")[0].replace("-", "_")
        having = [other for other, agent in AGENTS.items() if name in {f.name for f in dataclasses.fields(agent)}]
        if arg.startswith("--") and having and name not in own:
            flag = arg.partition("=")[0]
            raise ConfigError(f"{flag}: agent.algorithm = {algorithm!r} has no agent.{name}; {', '.join(having)} have")


def _leaves(node: Any, prefix: str) -> Iterator[Flag]:
    hints, docs = typing.get_type_hints(type(node)), _field_docs(type(node))
    for field in dataclasses.fields(node):
        hint, path = hints[field.name], f"{prefix}{field.name}"
        if dataclasses.is_dataclass(hint):
            yield from _leaves(getattr(node, field.name), f"{path}.")
        else:
            yield Flag(FLAG_NAMES.get(path, field.name), path, hint, docs.get(field.name, ""))


def _field_docs(cls: type) -> dict[str, str]:
    """Docstring of each field of a dataclass and its bases: the string below it in the source."""
    docs = {}
    for part in (part for part in reversed(cls.__mro__) if dataclasses.is_dataclass(part)):
        body = typing.cast(ast.ClassDef, ast.parse(inspect.getsource(part)).body[0]).body
        for field, after in itertools.pairwise(body):
            is_doc = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_doc:
                docs[field.target.id] = inspect.cleandoc(str(typing.cast(Any, after).value.value)).replace("\n", " ")
    return docs


def lookup(config: Config, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value

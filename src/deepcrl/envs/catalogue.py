"""The table of environments, formatted as text for the terminal and as Markdown for the documentation."""

from typing import NamedTuple

from deepcrl.envs.registry import ENVIRONMENTS, make_env

PICTURES = "images/envs"
"""Folder of the pictures, relative to docs/."""


class Row(NamedTuple):
    """One environment: vector sizes, episode length in env steps, success radius in metres."""

    name: str
    state: int
    goal: int
    action: int
    episode: int
    radius: float
    engines: str
    evaluated_on: str


def rows() -> list[Row]:
    """All environments by name."""
    table = []
    for name, entry in sorted(ENVIRONMENTS.items()):
        spec = make_env(name, engine=next(iter(entry.engines))).spec
        sizes = (spec.state_size, spec.goal_size, spec.action_size, spec.episode_length, spec.success_radius)
        evaluated_on = entry.defaults.get("evaluation.env", "")
        table.append(Row(name, *sizes, ", ".join(entry.engines), evaluated_on))
    return table


def text() -> str:
    """A line for each environment."""
    heads = f"{'environment':<28}{'state':>6}{'goal':>6}{'action':>8}{'episode':>9}{'radius':>8}"
    lines = [f"{heads}  {'engines':<26}evaluated on"]
    for row in rows():
        numbers = f"{row.state:>6}{row.goal:>6}{row.action:>8}{row.episode:>9}{row.radius:>8}"
        lines.append(f"{row.name:<28}{numbers}  {row.engines:<26}{row.evaluated_on}".rstrip())
    return "\n".join(lines)


def markdown() -> str:
    """The table of docs/environments.md, with a picture for each environment that is not a variant of another."""
    lines = [
        "| environment | picture | state | goal | action | episode | radius | engines |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows():
        picture = "" if ENVIRONMENTS[row.name].variant_of else f"![{row.name}]({PICTURES}/{row.name}.png)"
        name = f"`{row.name}`" + (f", evaluated on `{row.evaluated_on}`" if row.evaluated_on else "")
        numbers = f"{row.state} | {row.goal} | {row.action} | {row.episode} | {row.radius}"
        lines.append(f"| {name} | {picture} | {numbers} | {row.engines} |")
    return "\n".join(lines)

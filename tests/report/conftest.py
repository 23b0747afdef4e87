"""Run folders written by hand, and what a browser would make of a page."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from deepcrl import config as config_lib
from deepcrl.config import Config, override
from deepcrl.presets import preset

VOID = {"meta", "br", "hr", "link", "img", "input"}
LOADS = {"src", "srcset", "href", "xlink:href", "data", "poster", "action", "background"}


class Page(HTMLParser):
    """Parses a page, and fails where tags are not balanced. Keeps all elements, and the text by element class."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.source = text
        self.open: list[tuple[str, str]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[tuple[str, str]] = []
        """(path of element names and classes, text)."""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs), f"an attribute of <{tag}> is given twice"
        self.elements.append((tag, found))
        if tag not in VOID:
            self.open.append((tag, f"{tag}.{found.get('class') or ''}"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1][0] == tag, f"</{tag}> closes <{self.open[-1][0]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append((" ".join(path for _, path in self.open), data))

    def text(self, within: str = "") -> str:
        """Text of the elements whose path contains `within`, style and script aside."""
        return " ".join(data for path, data in self.words if within in path and "style." not in path)

    def all(self, tag: str, class_: str | None = None) -> list[dict[str, str | None]]:
        """Attributes of all elements of a name, and of a class if one is given."""
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and (class_ is None or class_ in (attributes.get("class") or "").split())
        ]

    def loads(self) -> list[str]:
        """Everything that a browser would fetch, from here or from elsewhere."""
        found = [f"{name} {key}={a[key]}" for name, a in self.elements for key in a if key in LOADS]
        outside = {"script", "link", "iframe", "object", "embed", "base"}
        # A frame that brings its own document loads nothing; that document has tests of its own.
        found += [name for name, a in self.elements if name in outside and not (name == "iframe" and "srcdoc" in a)]
        return found + [word for word in ("url(", "@import", "@font-face") if word in self.source]


@pytest.fixture
def parse() -> Callable[[str], Page]:
    return Page


@pytest.fixture
def row() -> Callable[..., dict[str, Any]]:
    """A function (k, **more) to row k of a run by hand, with numbers of which every one is known."""
    return _row


def _row(k: int, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "env_steps": 1000 * k,
        "gradient_steps": 25 * k,
        "wall_s": 10.0 + 2.0 * k,
        "eval/time_at_goal": 3.0 * k,
        "eval/success_any": k / 8,
        "eval/final_distance": 12.0 - k,
        "eval/episode_length": 200.0,
        "time/eval_s": 0.5,
    }
    if k:
        found |= {
            "train/critic_loss": 5.0 - 0.25 * k,
            "train/positive_energy": -3.0 + 0.125 * k,
            "train/negative_energy": -4.0 - 0.5 * k,
            "train/home_made": 0.5 * k,
            "time/collect_s": 0.25,
            "time/update_s": 1.0,
        }
    return found | more


@pytest.fixture
def config() -> Config:
    changes = {
        "env.num_envs": 10,
        "train.total_env_steps": 7000,
        "train.prefill_steps": 50,
        "train.updates_per_env_steps": "1:20",
        "evaluation.num_evals": 7,
    }
    return override(preset("point_j_maze"), changes)


@pytest.fixture
def make_run(tmp_path: Path, config: Config) -> Callable[..., Path]:
    """A function (rows, name, changes) to a run folder without checkpoints."""

    def make(rows: list[dict[str, Any]], name: str = "run", changes: dict[str, Any] | None = None) -> Path:
        run_dir = tmp_path / name
        run_dir.mkdir()
        data = config_lib.to_dict(override(config, changes or {}))
        (run_dir / "config.json").write_text(json.dumps(data))
        (run_dir / "machine.json").write_text(json.dumps({"device": "abacus", "packages": {"jax": "0.0.1"}}))
        (run_dir / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
        return run_dir

    return make

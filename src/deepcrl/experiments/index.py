"""Overview of all experiments: each one's question, the paper's answer and the state of our runs."""

from collections.abc import Sequence
from pathlib import Path

from deepcrl.experiments import page
from deepcrl.experiments.record import SCALES, Experiment
from deepcrl.experiments.results import results, state_words
from deepcrl.files import replace_file
from deepcrl.report.html import Markup, table, tag
from deepcrl.report.html import page as html_page


def markdown(experiments: Sequence[Experiment]) -> str:
    """All experiments as the table of docs/experiments.md."""
    lines = ["| in the paper | question | the paper's answer | `deepcrl experiment run` |", "|---|---|---|---|"]
    lines += [f"| {one.source} | {one.question} | {one.finding} | `{one.name}` |" for one in experiments]
    return "\n".join(lines) + "\n"


def write(experiments: Sequence[Experiment], folder: Path, out: Path) -> tuple[Path, Path]:
    """Write index.md and index.html into `folder`; returns their paths. They show every experiment's question, the
    paper's answer and, at every scale, the state of our runs with a link to the page in `folder`, if there is one. The
    state is then read from that page, since its runs may have been made elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    linked: dict[str, list[list[str | Markup]]] = {"md": [], "html": []}
    for one in experiments:
        words = {scale: _state(one, scale, folder, out) for scale in one.scales}
        for suffix, rows in linked.items():
            cells: list[str | Markup] = [one.source, one.question, one.finding, one.name]
            for scale, state in words.items():
                page_name = f"{one.name}-{scale}.{suffix}"
                there = (folder / page_name).exists()
                if suffix == "md":
                    cells.append(f"[{state}]({page_name})" if there else state)
                else:
                    cells.append(tag("a", state, href=page_name) if there else state)
            rows.append(cells)
    columns = ["in the paper", "question", "the paper's answer", "experiment", *SCALES]
    title = "Experiments"
    lead = (
        "Every figure and table of the paper that needs online training, how far each is, and how many of the paper's "
        "claims our runs agree with, go against or leave open."
    )
    lines = [columns, ["---"] * len(columns), *linked["md"]]
    text = "\n".join([f"# {title}", "", lead, "", *(f"| {' | '.join(map(str, line))} |" for line in lines), ""])
    header = tag("header", tag("h1", title), tag("p", lead, class_="lead"))
    content = table(columns, linked["html"], caption=lead, class_="wide")
    body = html_page(f"{title} – deepcrl", header, tag("main", content))
    return replace_file(folder / "index.md", text), replace_file(folder / "index.html", body)


def _state(experiment: Experiment, scale: str, folder: Path, out: Path) -> str:
    path = folder / f"{experiment.name}-{scale}.md"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    state = page.state_said(text) or state_words(results(experiment, scale, out))
    agreement = page.agreement_said(text)
    return f"{state}; {agreement}" if agreement else state

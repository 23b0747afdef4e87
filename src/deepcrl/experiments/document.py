"""A page as data, a sequence of parts, and its rendering to Markdown and to HTML."""

from collections.abc import Sequence
from typing import NamedTuple

from deepcrl.report.html import Markup, data_picture, page, picture_file, tag
from deepcrl.report.html import table as html_table


class Heading(NamedTuple):
    words: str


class Words(NamedTuple):
    text: str


class Code(NamedTuple):
    text: str


class Table(NamedTuple):
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: int
    """Number of trailing columns that hold numbers."""


class Picture(NamedTuple):
    caption: str
    content: Markup | bytes
    """SVG, or a PNG file."""


Part = Heading | Words | Code | Table | Picture


class Document(NamedTuple):
    title: str
    lead: str
    parts: Sequence[Part]


def markdown(document: Document, stem: str) -> tuple[str, dict[str, str | bytes]]:
    """The Markdown text, and the contents of its picture files by file name; names begin with `stem`."""
    blocks, files = [f"# {document.title}", f"**{document.lead}**"], {}
    for part in document.parts:
        match part:
            case Heading(words):
                blocks.append(f"## {words}")
            case Words(text):
                blocks.append(text)
            case Code(text):
                blocks.append(f"```bash\n{text}\n```")
            case Table(_, columns, rows, _):
                lines = [columns, ["---"] * len(columns), *rows]
                blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
            case Picture(caption, content):
                svg = isinstance(content, Markup)
                name = f"{stem}-{len(files) + 1}.{'svg' if svg else 'png'}"
                files[name] = picture_file(content) if isinstance(content, Markup) else content
                blocks.append(f"{caption}\n\n![{caption}]({name})")
    return "\n\n".join(blocks) + "\n", files


def html(document: Document, kind: str) -> Markup:
    """One self-contained page with embedded pictures; `kind` is the line above its title."""
    sections: list[list[Markup]] = [[]]
    pictures: list[Markup] = []

    def flush() -> None:
        if pictures:
            sections[-1].append(tag("div", *pictures, class_="charts"))
            pictures.clear()

    for part in document.parts:
        if not isinstance(part, Picture):
            flush()
        match part:
            case Heading(words):
                sections.append([tag("h2", words)])
            case Words(text):
                sections[-1].append(tag("p", text))
            case Code(text):
                sections[-1].append(tag("pre", text))
            case Table(caption, columns, rows, numeric):
                places = range(len(columns) - numeric, len(columns))
                sections[-1].append(html_table(columns, rows, caption=caption, numeric=places, class_="wide"))
            case Picture(caption, content):
                shown = content if isinstance(content, Markup) else data_picture(content, caption)
                pictures.append(tag("figure", tag("h3", caption), shown, class_="panel"))
    flush()
    header = tag(
        "header", tag("p", kind, class_="kind"), tag("h1", document.title), tag("p", document.lead, class_="lead")
    )
    return page(f"{document.title} – deepcrl", header, tag("main", *(tag("section", *inner) for inner in sections)))

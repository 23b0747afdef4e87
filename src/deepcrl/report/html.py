"""HTML and SVG as strings. Whatever is not `Markup` is escaped, so nothing reaches a page unescaped by accident."""

import base64
import functools
import html
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files

FONTS = "Arial, Helvetica, sans-serif"
"""Fonts of SVG files that stand outside of a page."""
VOID = frozenset({"meta", "br", "hr", "img"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Return markup as it is, anything else escaped as text."""
    return text if isinstance(text, Markup) else Markup(html.escape(str(text)))


def join(parts: Iterable[object], between: str = "") -> Markup:
    return Markup(between.join(escape(part) for part in parts))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. Attribute names lose a trailing underscore (`class_`), inner ones become hyphens; attributes that are
    None are left out, floats have two decimals at most."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def svg(width: float, height: float, label: str, *children: object, **attributes: object) -> Markup:
    """An SVG picture with `label` as its description for screen readers."""
    box = f"0 0 {_plain(width)} {_plain(height)}"
    return tag("svg", *children, viewBox=box, role="img", aria_label=label, **attributes)


def picture_file(picture: Markup) -> Markup:
    """Content of a standalone SVG file: the picture with its size, its namespace and the style sheet of pictures."""
    match = re.match(r'<svg viewBox="0 0 ([\d.]+) ([\d.]+)"', picture)
    assert match
    head, body = picture.split(">", 1)
    width, height = match.groups()
    size = f'xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" style="font-family: {FONTS}"'
    return Markup(f"{head} {size}>{tag('style', Markup(_picture_style()))}{body}\n")


def data_picture(png: bytes, label: str) -> Markup:
    """A PNG embedded in the page."""
    data = base64.b64encode(png).decode()
    return tag("img", src=f"data:image/png;base64,{data}", alt=label, style="max-width: 100%")


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    caption: str,
    numeric: Sequence[int] = (),
    class_: str | None = None,
) -> Markup:
    """A table whose first column names the rows. `numeric` columns are set flush right."""

    def cell(index: int, content: object, kind: str, scope: str | None = None) -> Markup:
        return tag(kind, content, scope=scope, class_="num" if index in numeric else None)

    body = [
        tag("tr", *(cell(k, v, "td" if k else "th", None if k else "row") for k, v in enumerate(row))) for row in rows
    ]
    header = tag("thead", tag("tr", *(cell(k, title, "th", "col") for k, title in enumerate(head))))
    inner = tag("table", tag("caption", caption, class_="hidden"), header, tag("tbody", *body), class_=class_)
    # Wide tables scroll by themselves, also from the keyboard; the page never does.
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def section(title: str, about: object, *content: object) -> Markup:
    """A heading, a sentence or two, and content."""
    return tag("section", tag("h2", title), tag("p", about, class_="about") if about else "", *content)


def page(title: str, *content: object) -> Markup:
    """A whole document. Its content security policy allows no external resources; scripts are allowed only for the
    replay, whose frame inherits the policy."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup("\n" + _sheet("picture.css") + _sheet("style.css"))),
    )
    return Markup("<!doctype html>\n" + tag("html", head, "\n", tag("body", *content), lang="en") + "\n")


def _sheet(name: str) -> str:
    return files("deepcrl.report").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _picture_style() -> str:
    """The style sheet of pictures with colours in place of CSS variables, which only browsers resolve; the rules for
    dark mode follow in a media query."""
    sheet = _sheet("picture.css")
    light, dark, rules = re.split(r"\n}\n", sheet, maxsplit=2)
    for_dark = _in_colours(rules, dark)
    return f"\n{_in_colours(rules, light)}@media screen and (prefers-color-scheme: dark) {{\n{for_dark}}}\n"


def _in_colours(rules: str, palette: str) -> str:
    colours = dict(re.findall(r"--([\w-]+): (#\w+);", palette))
    return re.sub(r"var\(--([\w-]+)\)", lambda name: colours[name[1]], rules)


def _plain(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text

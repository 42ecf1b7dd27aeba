"""A table as a value, and the formats it can be read in.

Every cell, label and note is plain text; each format escapes it in its own way, and characters that do not print
(terminal escapes, line breaks, writing-direction marks) become spaces everywhere. CSV is for machines: figures as raw
numbers in columns of their own, no title and no notes. LaTeX needs the package booktabs.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from harness.names import find


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `name` heads it in CSV, `label` elsewhere; `figures` says whether its cells are numbers."""

    name: str
    label: str
    figures: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """What a reader sees (`text`), and the numbers behind it where there are any; `best` is marked in every format."""

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    scored: int | None = None
    expected: int | None = None
    signature: str = ""
    best: bool = False
    degenerate: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One cell a column. Rows that follow each other with the same `block` stand together under it as a heading."""

    cells: tuple[Cell, ...]
    block: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table with notes below it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def render(table: Table, format: str) -> str:
    """The table as text in one of FORMATS, ending in a line break; a UsageError for an unknown format."""
    return find(format, FORMATS, "format")(table)


def _terminal(table: Table) -> str:
    header = [_plain(column.label) for column in table.columns]
    lines = [[_plain(cell.text) + " *" * cell.best for cell in row.cells] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]

    def spaced(cells: list[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    text = [_plain(table.title), "", spaced(header), spaced(["-" * width for width in widths])]
    for block, rows in _blocks(table, lines):
        text += ([f"[{_plain(block)}]"] if block else []) + [spaced(cells) for cells in rows]
    return _joined(text, [f"- {_plain(note)}" for note in table.notes])


def _markdown(table: Table) -> str:
    def row(cells: list[str]) -> str:
        return f"| {' | '.join(cells)} |"

    lines = [[_strong(_md(cell.text), "**{}**", cell) for cell in row.cells] for row in table.rows]
    text = [f"**{_md(table.title)}**", "", row([_md(column.label) for column in table.columns])]
    text.append(row(["---:" if column.figures else "---" for column in table.columns]))
    for block, rows in _blocks(table, lines):
        heading = [row([f"*{_md(block)}*"] + [""] * (len(table.columns) - 1))] if block else []
        text += heading + [row(cells) for cells in rows]
    return _joined(text, [f"- {_md(note)}" for note in table.notes])


def _latex(table: Table) -> str:
    lines = [[_strong(_tex(cell.text), r"\textbf{{{}}}", cell) for cell in row.cells] for row in table.rows]
    layout = "".join("r" if column.figures else "l" for column in table.columns)
    text = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(table.title)}}}",
        rf"\begin{{tabular}}{{{layout}}}",
    ]
    text += [r"\toprule", " & ".join(_tex(column.label) for column in table.columns) + r" \\"]
    for block, rows in _blocks(table, lines):
        heading = [rf"\multicolumn{{{len(layout)}}}{{l}}{{\emph{{{_tex(block)}}}}} \\"] if block else []
        text += [r"\midrule", *heading, *(" & ".join(cells) + r" \\" for cells in rows)]
    text += [r"\bottomrule", r"\end{tabular}"]
    text += [rf"\par\footnotesize {_tex(note)}" for note in table.notes]
    return "\n".join([*text, r"\end{table}"]) + "\n"


def _html(table: Table) -> str:
    def row(cells: list[str], tag: str = "td") -> str:
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

    lines = [[_strong(_web(cell.text), "<strong>{}</strong>", cell) for cell in row.cells] for row in table.rows]
    text = ["<table>", f"<caption>{_web(table.title)}</caption>"]
    text.append(row([_web(column.label) for column in table.columns], "th"))
    for block, rows in _blocks(table, lines):
        heading = [f'<tr><th colspan="{len(table.columns)}">{_web(block)}</th></tr>'] if block else []
        text += heading + [row(cells) for cells in rows]
    return "\n".join([*text, "</table>", *(f"<p>{_web(note)}</p>" for note in table.notes)]) + "\n"


def _csv(table: Table) -> str:
    fields = ("", "_low", "_high", "_scored", "_expected", "_degenerate", "_signature")
    header = ["block"]
    for column in table.columns:
        header += [column.name + field for field in fields] if column.figures else [column.name]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_spreadsheet, header))
    for row in table.rows:
        cells = [_spreadsheet(row.block)]
        for column, cell in zip(table.columns, row.cells, strict=True):
            cells += _raw(cell) if column.figures else [_spreadsheet(cell.text)]
        writer.writerow(cells)
    return out.getvalue()


def _raw(cell: Cell) -> list[str]:
    numbers = (cell.value, cell.low, cell.high, cell.scored, cell.expected, cell.degenerate)
    return ["" if number is None else repr(number) for number in numbers] + [_spreadsheet(cell.signature)]


def _blocks(table: Table, lines: list[list[str]]) -> Iterator[tuple[str, list[list[str]]]]:
    """The rendered lines under the heading of their block, in order."""
    pairs = zip(table.rows, lines, strict=True)
    for block, members in groupby(pairs, key=lambda pair: pair[0].block):
        yield block, [line for _, line in members]


def _joined(text: list[str], notes: list[str]) -> str:
    return "\n".join([*text, "", *notes] if notes else text) + "\n"


def _strong(text: str, mark: str, cell: Cell) -> str:
    return mark.format(text) if cell.best else text


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _md(text: str) -> str:
    """Escaped for GitHub's Markdown; underscores within words and brackets that link nowhere stay readable."""
    escaped = re.sub(r"([\\`*|~$#]|\](?=[(\[:])|(?<!\w)_|_(?!\w))", r"\\\1", _plain(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "—": "---"}
_TEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}
_TEX |= {"†": r"$^\dagger$"} | {character: "\\" + character for character in "&%$#_{}"}


def _tex(text: str) -> str:
    """Escaped for LaTeX; a cell that begins with [ or * would be read as an argument of the row break before it."""
    escaped = "".join(_TEX.get(character, character) for character in _plain(text))
    return re.sub(r"^([\[*])", r"{\1}", escaped)


def _web(text: str) -> str:
    return html.escape(_plain(text))


def _spreadsheet(text: str) -> str:
    """Text that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, "CSV Injection")."""
    plain = _plain(text)
    return f"'{plain}" if plain.lstrip().startswith(("=", "+", "-", "@")) else plain


FORMATS: Mapping[str, Callable[[Table], str]] = {
    "terminal": _terminal,
    "md": _markdown,
    "latex": _latex,
    "csv": _csv,
    "html": _html,
}

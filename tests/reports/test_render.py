"""Formats: whole tables as text, and hostile text in every place of every format."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from reports.render import FORMATS, Cell, Column, Row, Table, render

TABLE = Table(
    title="Scores of 2 systems",
    columns=(Column("system", "system"), Column("clip_t", "clip_t ↑", figures=True)),
    rows=(
        Row((Cell("a_b"), Cell("0.5 [0.4, 0.6] 3/4", 0.5, 0.4, 0.6, 3, 4, "clip_t|v1", best=True)), "first"),
        Row((Cell("w/o L_{dif} & 10%"), Cell("0.3 2/4 †", 0.3, None, None, 2, 4, "clip_t|v1", degenerate=1)), "first"),
        Row((Cell("none"), Cell("—")), "second"),
    ),
    notes=("a note with 95 %",),
)

TERMINAL = """\
Scores of 2 systems

system             clip_t ↑
-----------------  --------------------
[first]
a_b                0.5 [0.4, 0.6] 3/4 *
w/o L_{dif} & 10%  0.3 2/4 †
[second]
none               —

- a note with 95 %
"""

MARKDOWN = """\
**Scores of 2 systems**

| system | clip_t ↑ |
| --- | ---: |
| *first* |  |
| a_b | **0.5 [0.4, 0.6] 3/4** |
| w/o L\\_{dif} &amp; 10% | 0.3 2/4 † |
| *second* |  |
| none | — |

- a note with 95 %
"""

LATEX = r"""% needs \usepackage{booktabs}
\begin{table}
\centering
\caption{Scores of 2 systems}
\begin{tabular}{lr}
\toprule
system & clip\_t $\uparrow$ \\
\midrule
\multicolumn{2}{l}{\emph{first}} \\
a\_b & \textbf{0.5 [0.4, 0.6] 3/4} \\
w/o L\_\{dif\} \& 10\% & 0.3 2/4 $^\dagger$ \\
\midrule
\multicolumn{2}{l}{\emph{second}} \\
none & --- \\
\bottomrule
\end{tabular}
\par\footnotesize a note with 95 \%
\end{table}
"""

CSV = """\
block,system,clip_t,clip_t_low,clip_t_high,clip_t_scored,clip_t_expected,clip_t_degenerate,clip_t_signature
first,a_b,0.5,0.4,0.6,3,4,,clip_t|v1
first,w/o L_{dif} & 10%,0.3,,,2,4,1,clip_t|v1
second,none,,,,,,,
"""

HTML = """\
<table>
<caption>Scores of 2 systems</caption>
<tr><th>system</th><th>clip_t ↑</th></tr>
<tr><th colspan="2">first</th></tr>
<tr><td>a_b</td><td><strong>0.5 [0.4, 0.6] 3/4</strong></td></tr>
<tr><td>w/o L_{dif} &amp; 10%</td><td>0.3 2/4 †</td></tr>
<tr><th colspan="2">second</th></tr>
<tr><td>none</td><td>—</td></tr>
</table>
<p>a note with 95 %</p>
"""


def everywhere(text: str) -> Table:
    """A table with `text` as title, label, heading, cell and note."""
    columns = (Column(text, text), Column("dino", "dino", figures=True))
    return Table(text, columns, (Row((Cell(text), Cell("1", 1.0, signature=text)), text),), (text,))


@pytest.mark.parametrize(
    ("format", "text"),
    [("terminal", TERMINAL), ("md", MARKDOWN), ("latex", LATEX), ("csv", CSV), ("html", HTML)],
)
def test_the_whole_table_in_each_format(format: str, text: str) -> None:
    assert render(TABLE, format) == text


@pytest.mark.parametrize(
    ("character", "escaped"),
    [
        ("\\", r"\textbackslash{}"),
        ("{", r"\{"),
        ("}", r"\}"),
        ("$", r"\$"),
        ("&", r"\&"),
        ("#", r"\#"),
        ("_", r"\_"),
        ("%", r"\%"),
        ("~", r"\textasciitilde{}"),
        ("^", r"\textasciicircum{}"),
        ("<", r"\textless{}"),
        ("|", r"\textbar{}"),
    ],
)
def test_latex_prints_its_special_characters(character: str, escaped: str) -> None:
    text = render(everywhere(f"a{character}b"), "latex")
    assert text.count(f"a{escaped}b") == 5
    assert f"a{character}b" not in text.replace(f"a{escaped}b", "")


def test_a_latex_cell_cannot_be_read_as_an_argument_of_the_row_break() -> None:
    assert "\n{[}2cm] & 1" in render(everywhere("[2cm]"), "latex")
    assert "\n{*}star & 1" in render(everywhere("*star"), "latex")


def test_markdown_keeps_pipes_tags_and_links_as_text() -> None:
    text = render(everywhere("a|b <img src=x> [c](javascript:d) `e` *f* _g_ h_i"), "md")
    kept = r"a\|b &lt;img src=x&gt; [c\](javascript:d) \`e\` \*f\* \_g\_ h_i"
    assert text.splitlines() == [
        f"**{kept}**",
        "",
        f"| {kept} | dino |",
        "| --- | ---: |",
        f"| *{kept}* |  |",
        f"| {kept} | 1 |",
        "",
        f"- {kept}",
    ]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_html_shows_a_script_and_runs_none() -> None:
    hostile = "<script>alert('x')</script>\"&amp;"
    page = _Tags()
    page.feed(render(everywhere(hostile), "html"))
    assert page.tags == {"table", "caption", "tr", "th", "td", "p"} and page.text.count(hostile) == 5


@pytest.mark.parametrize("formula", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", " =1"])
def test_csv_text_that_a_spreadsheet_would_run_gets_an_apostrophe(formula: str) -> None:
    header, row = csv.reader(io.StringIO(render(everywhere(formula), "csv")))
    kept = "'" + formula.replace("\t", " ")
    assert header[1] == row[0] == row[1] == row[-1] == kept


def test_csv_numbers_are_exact_and_negative_ones_stay_numbers() -> None:
    cell = Cell("shown otherwise", 0.1 + 0.2, -1.5, 2e-9, 3, 4)
    text = render(Table("t", (Column("fd", "FD", figures=True),), (Row((cell,)),)), "csv")
    assert text.splitlines()[1] == ",0.30000000000000004,-1.5,2e-09,3,4,,"


@given(st.text(min_size=1, max_size=30))
def test_no_text_breaks_the_shape_of_a_table(text: str) -> None:
    table = everywhere(text)
    header, row = csv.reader(io.StringIO(render(table, "csv")))
    assert len(header) == len(row) == 9
    assert render(table, "latex").count("\n") == 14
    for format in FORMATS:
        assert all(character.isprintable() or character == "\n" for character in render(table, format))


def test_escape_codes_and_line_breaks_never_reach_a_terminal() -> None:
    assert "\x1b" not in render(everywhere("\x1b[31mred\r\n\u202eback"), "terminal")
    assert " [31mred   back" in render(everywhere("\x1b[31mred\r\n\u202eback"), "terminal")


def test_an_unknown_format_is_one_line_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="no format named 'markdown'; there are: csv, html, latex, md, terminal"):
        render(TABLE, "markdown")

import csv
import io
from dataclasses import replace

import pytest

from outskirts.benchmarking.escaping import code_block, latex, markdown
from outskirts.benchmarking.leaderboard import Group, LeaderboardRow
from outskirts.benchmarking.matrix import Matrix
from outskirts.benchmarking.page import page
from outskirts.benchmarking.render import render
from outskirts.reporting.seeds import Spread

EVIL = "a|b <img src=x onerror=alert(1)> [click](http://x) `c` *d* &lt;\n\n# title"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a\\|b"),
        ("<b>x</b>", "\\<b>x\\</b>"),
        ("[x](y)", "\\[x\\](y)"),
        ("two\nlines", "two lines"),
        ("# title", "\\# title"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("> quoted", "\\> quoted"),
        ("~~~x", "\\~\\~~x"),
        ("`*_", "\\`\\*\\_"),
        ("&lt;", "\\&lt;"),
        ("a\\", "a\\\\"),
    ],
)
def test_markdown_is_shown_as_it_is(text, shown):
    assert markdown(text) == shown


@pytest.mark.parametrize("text", ["90.0 ± 1.0 (0.5)", "+2.0 (p < 0.001)", "ood_head", "knn(k=10)", "R&D, 3 < 4", "-1"])
def test_plain_text_stays(text):
    assert markdown(text) == text


def test_commands_end_no_block():
    assert code_block("outskirts x") == "```bash\noutskirts x\n```"
    assert code_block("a ```\nb").startswith("````bash\n") and code_block("a ```\nb").endswith("\n````")


def test_latex():
    assert latex("a_b & 5% #1 $x$ {y} ^~\\ [z] <") == (
        r"a\_b \& 5\% \#1 \$x\$ \{y\} \textasciicircum{}\textasciitilde{}\textbackslash{} {[}z] $<$"
    )


@pytest.fixture
def line():
    group = Group(Spread(0.9, 0.01, 2), 0.005, Spread(0.5, 0, 2), Spread(0.4, 0, 2), -0.02, 0.0004)
    return LeaderboardRow("ce", "energy", (0, 1), Spread(0.95, 0.001, 2), {"near": group}, 3.2, 1000, 2)


def test_names_change_no_table(line):
    evil = replace(line, label=EVIL, groups={EVIL: line.groups["near"]})
    text = render([evil], "markdown", EVIL, "outskirts benchmark x", EVIL)
    table = [row.replace("\\|", "") for row in text.splitlines() if row.startswith("|")]
    assert len(table) == 3 and len({row.count("|") for row in table}) == 1
    plain = text.replace("\\<", "").replace("\\[", "").replace("\\`", "").replace("\\&lt;", "")
    assert not any(mark in plain for mark in ("<img", "[click]", "`c", "&lt;"))
    assert [row for row in text.splitlines() if row.startswith("#")] == [f"## {markdown(EVIL)}"]


def test_csv_holds_no_formula_and_numbers_stay(line):
    rows = list(csv.reader(io.StringIO(render([replace(line, label="=1+1")], "csv"))))
    assert rows[1][:2] == ["2", "'=1+1"] and rows[1][3] == "2"
    assert "-2.0 (p < 0.001)" in rows[1]


def test_the_page_is_escaped_and_names_no_folder(shifted, monkeypatch):
    matrix = Matrix("bugs", EVIL, EVIL, "outskirts benchmark /srv/secret-place/bugs.yaml", shifted)
    text = page([matrix], "outskirts benchmark page /srv/secret-place/runs")
    assert text.count(markdown(EVIL)) == 2 and "secret-place" not in text and "…/runs" in text
    assert str(shifted[0].folder.parent) not in text

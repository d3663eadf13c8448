import csv
import io
from dataclasses import replace

import pytest

from outskirts.benchmarking.leaderboard import Group, LeaderboardRow
from outskirts.benchmarking.render import FORMATS, render, table, tables
from outskirts.reporting.seeds import Spread


@pytest.fixture
def lines():
    first = Group(Spread(0.9, 0.01, 2), 0.005, Spread(0.5, 0, 2), Spread(0.4, 0, 2))
    second = Group(Spread(0.92, 0.02, 2), 0.006, Spread(0.45, 0, 2), Spread(0.35, 0, 2), 0.02, 0.0004)
    return [
        LeaderboardRow("ce", "energy", (0, 1), Spread(0.95, 0.001, 2), {"near": first, "far": first}, 3.2, 1000, 2),
        LeaderboardRow("cider+sio_x", "knn", (0,), None, {"near": second}, 6.0, 2000, 1),
    ]


def test_the_table(lines):
    header, rows = table(lines)
    assert header[5:8] == ["near: AUROC", "near: FPR95", "near: Δ"] and len({len(header), *map(len, rows)}) == 1
    assert rows[0][3:8] == ["2", "95.0 ± 0.1", "90.0 ± 1.0 (0.5)", "50.0 | 40.0", ""]
    assert rows[1][4:11] == ["", "92.0 ± 2.0 (0.6)", "45.0 | 35.0", "+2.0 (p < 0.001)", "", "", ""]


def test_a_test_of_one_seed_says_so(lines):
    one = replace(lines[1].groups["near"], shared=1)
    _, rows = table([replace(lines[1], groups={"near": one})])
    assert rows[0][7] == "+2.0 (p < 0.001, 1 seed)"
    assert "(n - 1)" in render(lines, "markdown") and "With one seed (1 seed)" in render(lines, "html")


def test_other_images_have_a_table_of_their_own(lines):
    noisy = LeaderboardRow(
        "vos", "vim", (0,), None, {**lines[0].groups, "near (full-spectrum)": lines[1].groups["near"]}, 1, 9
    )
    first, second = tables([*lines, noisy])
    assert first == (tables(lines)[0][0], [*tables(lines)[0][1], *tables([noisy])[0][1]])
    assert second[1] == [["near (full-spectrum)", "vos", "92.0 ± 2.0 (0.6)", "45.0 | 35.0", "+2.0 (p < 0.001)"]]
    assert all(render([*lines, noisy], kind).count("full-spectrum") == 1 for kind in ("markdown", "latex", "html"))
    assert "an AUROC of 50 is best" in render([*lines, noisy], "html") and "50 is best" not in render(lines, "html")
    assert render([*lines, noisy], "csv").splitlines()[0].count("full-spectrum") == 3


def test_formats(lines):
    markdown = render(lines, "markdown", "bugs", "outskirts benchmark bugs")
    body = [line for line in markdown.splitlines() if line.startswith("|")]
    assert "## bugs" in markdown and "```bash\noutskirts benchmark bugs\n```" in markdown
    assert len({line.replace("\\|", "").count("|") for line in body}) == 1
    assert list(csv.reader(io.StringIO(render(lines, "csv"))))[1][1] == "ce"
    latex = render(lines, "latex")
    assert r"cider+sio\_x" in latex and r"45.0 $|$ 35.0" in latex and latex.count(r"\\") == 3
    page = render(lines, "html", "a<b")
    assert "a&lt;b" in page and page.count("<tr>") == 3 and "&lt; 0.001" in page
    assert set(FORMATS) == {"markdown", "csv", "latex", "html"}

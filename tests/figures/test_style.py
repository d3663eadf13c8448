"""The inks of figures are those of the report's page in its light scheme."""

import re
from pathlib import Path

import outskirts
from outskirts.figures.style import FAINT, SERIES

CSS = Path(outskirts.__file__).parent / "reporting" / "templates" / "style.css"


def test_the_page_and_figures_have_the_same_inks():
    light = CSS.read_text(encoding="utf-8").partition("@media")[0]
    inks = dict(re.findall(r"--([\w-]+): (#\w{6});", light))
    assert tuple(inks[f"series-{number}"] for number in range(1, len(SERIES) + 1)) == SERIES
    assert inks["faint"] == FAINT

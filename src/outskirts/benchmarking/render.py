"""The tables of a matrix, as text for people, spreadsheets and papers."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Mapping, Sequence

from ..evaluation.csv_cells import guarded
from ..evaluation.set_groups import is_ood
from ..reporting.filters import p_value
from ..reporting.seeds import Spread
from .escaping import code_block, latex, markdown
from .leaderboard import Group, LeaderboardRow

__all__ = ["FORMATS", "markdown_table", "render", "spread", "table", "tables"]

#: How rates are given, so that tables can be compared.
_READ = (
    "All rates are in per cent. AUROC and accuracy are the mean ± the sample standard deviation (n - 1) of the seeds. "
    "The number in brackets is half of the 95 % interval of the mean AUROC. FPR95 is given twice: ID as the positive "
    "class | OOD as the positive class. The detector was chosen on validation images and outliers, not on these sets. "
    "Δ is the difference of AUROC to the first line, with its p-value. The test pairs the images. The interval and the "
    "test count both images and seeds as chance; with few seeds, the interval is wide. With one seed (1 seed), they "
    "count the images alone, and another seed may give another result. Holm's method corrects the p-values for the "
    "number of tests."
)

#: What to expect of the groups that the second table is about.
_READ_OTHERS = (
    " Control images are ID images that are coded or resized in another way. Shifted images are ID images "
    "under other conditions. For both, an AUROC of 50 is best. Full-spectrum groups count the shifted images "
    "as ID."
)

#: Where the rows are no comparison of methods alone.
_READ_BUDGETS = (
    " The methods were not all trained with one network and one budget: see the columns backbone, epochs and images."
)


Rows = tuple[list[str], list[list[str]]]
"""The header and the rows of a table, as text."""


def table(lines: Sequence[LeaderboardRow]) -> Rows:
    """A row for each method, with all there is to say, for spreadsheets."""
    return _methods(lines, _names(lines))


def tables(lines: Sequence[LeaderboardRow]) -> list[Rows]:
    """The same for people: a row for each method on OOD sets, and, if there are any, one for each method on each other
    group, which would make the first too wide to be read.
    """
    names = _names(lines)
    others = [
        [name, line.label, *_of_group(line.groups[name])]
        for name in names
        if not is_ood(name)
        for line in lines
        if name in line.groups
    ]
    first = _methods(lines, [name for name in names if is_ood(name)])
    return [first, (["other images", "method", "AUROC", "FPR95", "Δ"], others)] if others else [first]


def _read(lines: Sequence[LeaderboardRow]) -> str:
    budgets = _READ_BUDGETS if len({(line.backbone, line.epochs, line.images) for line in lines}) > 1 else ""
    return _READ + budgets + (_READ_OTHERS if any(not is_ood(name) for name in _names(lines)) else "")


def _names(lines: Sequence[LeaderboardRow]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line.groups))


def _methods(lines: Sequence[LeaderboardRow], groups: Sequence[str]) -> Rows:
    worst = any(line.worst for line in lines)
    header = ["rank", "method", "detector", "seeds", "accuracy", *["worst group"] * worst]
    for name in groups:
        header += [f"{name}: AUROC", f"{name}: FPR95", f"{name}: Δ"]
    told = [name for name in ("backbone", "epochs") if len({getattr(line, name) for line in lines}) > 1]
    rows = []
    for line in lines:
        row = [f"{line.rank:g}", line.label, line.detector, str(len(line.seeds)), spread(line.accuracy)]
        row += [spread(line.worst)] * worst
        for name in groups:
            row += _of_group(line.groups[name]) if name in line.groups else ["", "", ""]
        rows.append([*row, f"{line.minutes:.1f}", *(str(getattr(line, name)) for name in told), f"{line.images:,}"])
    return [*header, "minutes a run", *told, "images"], rows


def _of_group(group: Group) -> list[str]:
    difference = "" if group.difference is None else f"{100 * group.difference:+.1f}"
    alone = ", 1 seed" if group.shared == 1 else ""
    return [
        f"{spread(group.auroc)} ({100 * group.half:.1f})",
        f"{100 * group.fpr95.mean:.1f} | {100 * group.fpr95_ood_positive.mean:.1f}",
        difference if group.p_value is None else f"{difference} (p {p_value(group.p_value)}{alone})",
    ]


def render(
    lines: Sequence[LeaderboardRow],
    kind: str,
    title: str = "",
    command: str = "",
    about: str = "",
    notes: Sequence[str] = (),
) -> str:
    """The tables in a format of `FORMATS`.

    Arguments:
        lines: Rows of the tables.
        kind: ``markdown``, ``csv``, ``latex`` or ``html``.
        title: Title of the benchmark.
        command: Command that made the tables.
        about: What the benchmark is.
        notes: What a reader should know of the runs, in sentences; tables alone do not hold them.
    """
    return FORMATS[kind](lines, title, command, about, notes)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(markdown, cells)) + " |"

    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def spread(of: Spread | None) -> str:
    """A mean in per cent, ± the sample standard deviation where there are several values."""
    return "" if of is None else f"{100 * of.mean:.1f}" + (f" ± {100 * of.deviation:.1f}" if of.n > 1 else "")


def _markdown(lines: Sequence[LeaderboardRow], title: str, command: str, about: str, notes: Sequence[str]) -> str:
    parts = [
        f"## {markdown(title)}" if title else "",
        markdown(about),
        code_block(command) if command else "",
        *(markdown_table(*each) for each in tables(lines)),
        _read(lines),
        "\n".join(f"- {markdown(note)}" for note in notes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _csv(lines: Sequence[LeaderboardRow], title: str, command: str, about: str, notes: Sequence[str]) -> str:
    header, rows = table(lines)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [guarded(cell, numbers=True) for cell in row] for row in (header, *rows)
    )
    return text.getvalue()


def _latex(lines: Sequence[LeaderboardRow], title: str, command: str, about: str, notes: Sequence[str]) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(latex, cells)) + r" \\"

    def tabular(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        body = [r"\midrule", *map(line, rows), r"\bottomrule", r"\end{tabular}"]
        return "\n".join([rf"\begin{{tabular}}{{{'l' * len(header)}}}", r"\toprule", line(header), *body])

    return "\n\n".join(tabular(*each) for each in tables(lines)) + "\n"


def _html(lines: Sequence[LeaderboardRow], title: str, command: str, about: str, notes: Sequence[str]) -> str:
    def line(cells: Sequence[str], kind: str) -> str:
        return "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells) + "</tr>"

    def shown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        body = "\n".join(line(row, "td") for row in rows)
        return f"<div><table>\n<thead>{line(header, 'th')}</thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"

    everything = "\n".join(shown(*each) for each in tables(lines))
    told = "\n".join(f"<li>{html.escape(note)}</li>" for note in notes)
    told = f"<ul>\n{told}\n</ul>\n" if told else ""
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; max-width: 90rem }}
p {{ max-width: 50rem }}
pre {{ background: #f4f4f4; padding: .7rem; overflow: auto }}
div {{ overflow-x: auto; margin: 1.5rem 0 }}
table {{ border-collapse: collapse }}
th, td {{ padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }}
th {{ border-bottom: 2px solid #333 }}
th:nth-child(-n+3), td:nth-child(-n+3) {{ text-align: left }}
</style>
<h1>{html.escape(title)}</h1>
<p>{html.escape(about)}</p>
<pre>{html.escape(command)}</pre>
{everything}
<p>{html.escape(_read(lines))}</p>
{told}</html>
"""


#: By name.
FORMATS: Mapping[str, Callable[[Sequence[LeaderboardRow], str, str, str, Sequence[str]], str]] = {
    "markdown": _markdown,
    "csv": _csv,
    "latex": _latex,
    "html": _html,
}

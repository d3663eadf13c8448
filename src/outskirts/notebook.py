"""What a notebook shows of an object: a small HTML table that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["table"]


def table(
    caption: str,
    lines: Iterable[Sequence[object]],
    *,
    header: Sequence[object] = (),
    notes: Iterable[str] = (),
    picture: bytes | None = None,
) -> str:
    """An HTML table. All text is escaped; line breaks in it stay.

    Arguments:
        caption: Stands above.
        lines: The cells of each line; the first one names the line.
        header: Names of the columns, if they need any.
        notes: Sentences below.
        picture: A PNG file to show below, if there is one.

    >>> table("Two & more", [("size", 3)])
    '<table><caption ...>Two &amp; more</caption><tbody><tr><th ...>size</th><td ...>3</td></tr></tbody></table>'
    """
    head = "".join(f'<th scope="col" style="{_CELL}">{_text(name)}</th>' for name in header)
    body = "".join(f"<tr>{_line(line)}</tr>" for line in lines)
    below = "".join(f'<div style="font-size: 0.9em">{_text(note)}</div>' for note in notes)
    if picture is not None:
        data = base64.b64encode(picture).decode()
        below += f'<img alt="Some of the images" src="data:image/png;base64,{data}">'
    return (
        f'<table><caption style="text-align: left; font-weight: bold">{_text(caption)}</caption>'
        + (f"<thead><tr>{head}</tr></thead>" if head else "")
        + f"<tbody>{body}</tbody></table>{below}"
    )


_CELL = "text-align: left; vertical-align: top"


def _line(cells: Sequence[object]) -> str:
    name, *rest = cells
    first = f'<th scope="row" style="{_CELL}">{_text(name)}</th>'
    return first + "".join(f'<td style="{_CELL}">{_text(cell)}</td>' for cell in rest)


def _text(cell: object) -> str:
    return escape(str(cell)).replace("\n", "<br>")

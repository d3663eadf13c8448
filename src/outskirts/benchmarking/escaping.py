"""Texts of benchmarks and names of runs, written so that they show as they are in Markdown and in LaTeX."""

from __future__ import annotations

import re

__all__ = ["code_block", "latex", "markdown"]

#: What has a meaning wherever it stands, tags and entities of HTML, and underscores at the edge of a word.
_INLINE = re.compile(r"[\\`*|\[\]]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<!\w)_|_(?!\w)|~~")
#: What begins a heading, a list, a quotation, a rule or a fence.
_FIRST = re.compile(r"^(#|>|[-+=](?=[-+=\s]|$)|~|[0-9]+(?=[.)](?:\s|$)))")

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # After the end of a line, it would begin an option.
    "[": "{[}",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "−": "$-$",
    **{letter: f"${letter}$" for letter in "|<>"},
    **{letter: f"\\{letter}" for letter in "%&_#${}"},
}


def markdown(text: str) -> str:
    """A text as one line of a paragraph, a title or a cell of a table in Markdown.

    >>> markdown("a|b\\n<b>[x](y)")
    'a\\\\|b \\\\<b>\\\\[x\\\\](y)'
    """
    line = " ".join(text.split())
    escaped = _INLINE.sub(lambda found: "".join(f"\\{letter}" for letter in found[0]), line)
    return _FIRST.sub(lambda found: found[0] + "\\" if found[0].isdigit() else "\\" + found[0], escaped)


def code_block(command: str) -> str:
    """A command as a block of code in Markdown, which nothing in the command ends."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", command)), default=0))
    return f"{fence}bash\n{command}\n{fence}"


def latex(text: str) -> str:
    """A text as a cell of a table in LaTeX."""
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))

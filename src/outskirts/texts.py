"""Lists that are written as one text."""

from __future__ import annotations

__all__ = ["comma_separated"]


def comma_separated(text: str | None) -> list[str]:
    """What a text lists, without the spaces around; nothing if there is no text.

    >>> comma_separated("layer3, layer4,")
    ['layer3', 'layer4']
    """
    return [part.strip() for part in (text or "").split(",") if part.strip()]

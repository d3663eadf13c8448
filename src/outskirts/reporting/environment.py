"""The templates of pages, and what they may call."""

from __future__ import annotations

import jinja2

from . import charts, filters
from .pictures import data_uri

__all__ = ["environment"]


def environment(package: str | None = None) -> jinja2.Environment:
    """The templates of this part, which escape all text; those of another package are looked for first.

    Arguments:
        package: A package with a folder ``templates``.
    """
    packages = [name for name in (package, __package__) if name is not None]
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in packages]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(charts=charts, data_uri=data_uri)
    made.filters.update({function.__name__: function for function in filters.ALL})
    return made

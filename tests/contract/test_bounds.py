"""Every number that a part takes has a range: it is declared, named in the help, and checked when the part is made."""

import inspect
import math
import re
from dataclasses import fields, is_dataclass
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

from outskirts import OutskirtsError
from outskirts.bounds import Bound
from outskirts.detectors import registry as detectors
from outskirts.generation.generators import registry as generators
from outskirts.methods import registry as methods
from outskirts.training.config import TrainConfig

MADE = {
    **{name: detectors[name] for name in detectors.names()},
    **{f"{name} (method)": methods[name].Config for name in methods.names()},
    **{f"{name} (generator)": generators[name].Config for name in generators.names()},
    "training": TrainConfig,
}
#: What errors call a part.
NAMED = {
    **{name: f"the detector '{name}'" for name in detectors.names()},
    **{f"{name} (generator)": f"the generator '{name}'" for name in generators.names()},
}


def numbers(part):
    """The numbers that a part takes, with what their types declare: a range, or None."""
    hints = get_type_hints(part if is_dataclass(part) else part.__init__, include_extras=True)
    names = [field.name for field in fields(part)] if is_dataclass(part) else list(inspect.signature(part).parameters)
    for name in names:
        kinds = [hints[name], *get_args(hints[name])] if name in hints and name != "seed" else []
        declared = [get_args(kind) for kind in kinds if get_origin(kind) is Annotated]
        # What is declared of a text, such as that commas part it, is no range.
        ranges = [own for base, *others in declared if base is not str for own in others]
        if any(kind in (int, float) for kind in kinds) or ranges:
            yield name, next((own for own in ranges if isinstance(own, Bound)), None)


NUMBERS = [(of, name, bound) for of, part in MADE.items() for name, bound in numbers(part)]


def test_all_parts_are_looked_at():
    assert len(NUMBERS) > 100
    assert {"knn", "oe (method)", "diffusion (generator)", "training"} <= {of for of, _, _ in NUMBERS}


@pytest.mark.parametrize(("of", "name", "bound"), NUMBERS, ids=lambda value: str(value))
def test_a_number_outside_its_range_is_refused(of, name, bound):
    assert bound is not None, f"declare the range of {name}, such as {name}: Positive"
    below = [bound.least - 1e-9 * max(1, abs(bound.least)), bound.least - 1, bound.above]
    beyond = [bound.most + 1e-9 * max(1, abs(bound.most)), bound.most + 1, bound.below]
    outside = [number for number in (*below, *beyond) if math.isfinite(number)]
    whole = [int(number) for number in outside if number == int(number)]
    said = rf"^{name}\b.* must be .*{re.escape(str(bound))}.*, not {{}}\.$"
    for wrong in (*outside, *whole, math.nan, math.inf, -math.inf, "x", True):
        with pytest.raises(OutskirtsError, match=said.format(re.escape(repr(wrong)))) as refused:
            MADE[of](**{name: wrong})
        assert NAMED.get(of, "") in str(refused.value)


def help_of(part, name):
    """What the help says of an argument: the text below a field, or the line of a class's docstring."""
    if is_dataclass(part):
        own = next(one for one in part.__mro__ if name in vars(one).get("__annotations__", ()))
        found = re.search(rf'^    {name}: .*?"""(.*?)"""', inspect.getsource(own), re.MULTILINE | re.DOTALL)
    else:
        found = re.search(rf"^    {name}: (.*(\n {{8}}.*)*)", inspect.getdoc(part), re.MULTILINE)
    return " ".join(found[1].split())


@pytest.mark.parametrize(("of", "name", "bound"), NUMBERS, ids=lambda value: str(value))
def test_the_help_names_the_range(of, name, bound):
    # The whole of it: "above 0" is not a half of "above 0 and at most 1".
    whole = rf"\b{re.escape(str(bound))}(?!\.?\d| and at most \d)"
    assert bound == Bound() or re.search(whole, help_of(MADE[of], name))


@pytest.mark.parametrize("of", MADE)
def test_defaults_are_within(of):
    part = MADE[of]
    made, names = part(), [name for name, _ in numbers(part)]
    part(**{name: getattr(made, name) for name in names})

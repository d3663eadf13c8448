import math

import pytest

from outskirts.guard.export.quantised import Cost

ADVICE = " Its verdicts have little to do with those of the guard: do not use this file."


@pytest.mark.parametrize(
    ("same_label", "correlation", "alike"),
    [(0.99, 0.99, True), (None, 0.99, True), (0.0, 0.99, False), (0.99, -0.02, False), (None, math.nan, False)],
)
def test_a_file_that_is_another_classifier_is_told(same_label, correlation, alike):
    said = str(Cost(40, None, None, same_label, correlation, 0.5))
    assert said.endswith("50% of the time." + ADVICE * (not alike))

import json

import pytest
import torch

from outskirts import OutskirtsError
from outskirts.guard.calibration import Calibration
from outskirts.guard.drift import Drift
from outskirts.guard.monitoring import Watch
from outskirts.seeding import generator

CLASSES = ["ant", "bee", "cat"]


def together():
    return Calibration.of(torch.arange(1000.0), 0.95)


def apart():
    return Calibration.per_class(torch.arange(600.0), torch.arange(600) % 3, CLASSES, 0.95)


def rows(n, rejected, seed=0, label=None):
    draws = torch.rand(n, generator=generator(seed, "stream"))
    return [(label or CLASSES[place % 3], bool(draw > rejected)) for place, draw in enumerate(draws.tolist())]


def test_one_threshold_is_one_drift(guard, bugs):
    watch, drift = Watch.of(together(), CLASSES), Drift(1000, 951)
    stream = rows(400, 0.3)
    assert watch.update_rows(stream) and drift.update([not accepted for _, accepted in stream])
    assert watch.drifts[0].state() == drift.state() and str(watch) == str(drift)
    verdicts = guard.predict(bugs / "fog")
    watch = guard.monitor()
    watch.update(verdicts)
    assert watch.images == 12 and watch.drifts[0].rejected == int((~verdicts.accepted).sum())


def test_each_class_has_a_drift_at_a_part_of_alpha():
    watch = Watch.of(apart(), CLASSES, 0.03)
    assert [drift.alpha for drift in watch.drifts] == pytest.approx([0.01] * 3)
    watch.update_rows(rows(300, 0.02))
    assert not watch.alarm and "No threshold has raised an alarm" in str(watch)
    watch.update_rows(rows(200, 0.6, label="bee"))
    assert [drift.alarm for drift in watch.drifts] == [False, True, False]
    assert "Images taken for bee: " in str(watch) and "500 images so far, with 3 thresholds" in str(watch)
    with pytest.raises(OutskirtsError, match="no class 'dog'; its classes are ant, bee, cat"):
        watch.update_rows([("dog", True)])


@pytest.mark.parametrize("calibration", [together, apart])
def test_a_watch_goes_on_where_it_stood(calibration):
    stream = rows(500, 0.08)
    whole, first = Watch.of(calibration(), CLASSES), Watch.of(calibration(), CLASSES)
    whole.update_rows(stream)
    first.update_rows(stream[:170])
    again = Watch.from_json(json.loads(json.dumps(first.to_json())))
    again.require_same(Watch.of(calibration(), CLASSES))
    again.update_rows(stream[170:])
    assert again.to_json() == whole.to_json() and str(again) == str(whole)
    with pytest.raises(OutskirtsError, match=r"another probability of a false alarm, 0\.02 and not 0\.01"):
        again.require_same(Watch.of(calibration(), CLASSES, 0.02))
    with pytest.raises(OutskirtsError, match="must be above 0 and below 1"):
        Watch.of(calibration(), CLASSES, 1.5)
    other = Calibration.of(torch.arange(1000.0) + 1, 0.95)
    with pytest.raises(OutskirtsError, match="was begun with another guard"):
        Watch.of(other, CLASSES).require_same(Watch.of(together(), CLASSES))
    with pytest.raises(OutskirtsError, match="A watch cannot go on from this: its state lacks 'drifts'"):
        Watch.from_json({"alpha": 0.01, "calibration": "", "group_of": {}})

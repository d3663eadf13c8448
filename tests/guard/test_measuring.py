"""A guard, measured on images that it was not made of."""

import csv
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from math import comb

import pytest
import torch
from scipy.special import beta

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.keyset import KeySet
from outskirts.evaluation.subject import Subject
from outskirts.guard.calibration import Calibration
from outskirts.guard.measured import Accepted, Share
from outskirts.guard.threshold import promise


@pytest.fixture(scope="module")
def sets(bugs):
    return {"near": {"flies": bugs / "flies"}, "far": {"fog": bugs / "fog"}}


@pytest.fixture(scope="module")
def found(guard, bugs, sets):
    return guard.measure(bugs / "test", sets)


def test_shares_are_counts_of_verdicts(guard, found, bugs, sets):
    inside = guard.predict(bugs / "test")
    assert (found.accepted.count, found.accepted.n) == (int(inside.accepted.sum()), 20)
    for row in found.rejected:
        verdicts = guard.predict(sets[row.group][row.name])
        assert (row.share.count, row.share.n) == (int((~verdicts.accepted).sum()), 12)
        assert row.auroc == osk.metrics.auroc(inside.scores, verdicts.scores)
        assert (row.auroc_lo, row.auroc_hi) == osk.metrics.auroc_interval(inside.scores, verdicts.scores)
        assert (row.share.lo, row.share.hi) == osk.metrics.wilson_interval(row.share.count, 12)
    labels = [one.label for one in inside]
    assert {name: share.n for name, share in found.classes.items()} == {
        name: labels.count(name) for name in set(labels)
    }
    assert sum(share.count for share in found.classes.values()) == found.accepted.count


def test_accuracy_is_that_of_all_and_of_the_accepted(guard, found, bugs):
    images = osk.open(str(bugs / "test"))
    inside = guard.predict(images)
    right = inside.predicted[:, 0] == images.labels
    correct = found.correct
    assert correct.all.count == int(right.sum())
    assert (correct.accepted.count, correct.accepted.n) == (int(right[inside.accepted].sum()), found.accepted.count)
    assert correct.rejected is None or correct.rejected.n == 20 - found.accepted.count
    assert correct.curves["score"].risk[-1] == pytest.approx(1 - correct.all.value)
    assert correct.aurc["best"] <= min(correct.aurc["score"], correct.aurc["confidence"])
    assert correct.reliability["all"].counts.sum() == 20


@pytest.mark.parametrize(("calibration", "acceptance", "n"), [(19, 0.9, 7), (80, 0.9, 20)])
def test_the_range_of_a_test_set_is_beta_binomial(calibration, acceptance, n):
    kept = promise(calibration, acceptance)
    a, b = kept.rank, kept.n + 1 - kept.rank
    law = [comb(n, i) * beta(a + i, b + n - i) / beta(a, b) for i in range(n + 1)]
    assert sum(law) == pytest.approx(1)
    for count in range(n + 1):
        one = Accepted(Share(count, n, 0.0, 1.0), kept)
        assert one.p_value == pytest.approx(min(1, 2 * min(sum(law[: count + 1]), sum(law[count:]))))
        low, high = (round(bound * n) for bound in one.range)
        assert sum(law[low : high + 1]) >= 0.95 and sum(law[:low]) <= 0.025 and sum(law[high + 1 :]) <= 0.025


def test_a_broken_promise_is_told(guard, bugs):
    stricter = Calibration.of(guard.calibration.scores[0] - 1000, 0.9)
    found = type(guard)(**{**vars(guard), "calibration": stricter}).measure(bugs / "test")
    assert not found.as_promised and found.verdict().startswith("Fewer ID test images are accepted than the promise")
    assert "the test images are not like the calibration images" in found.verdict()
    assert found.accepted.count == 0 and found.correct.accepted is None and set(found.correct.reliability) == {"all"}


def test_what_is_rejected_of_other_sets_is_in_the_summary(found, tmp_path):
    low = replace(found.rejected[0], name="missed", share=Share(1, 50, 0.004, 0.105))
    high = replace(found.rejected[0], name="found", share=Share(48, 50, 0.865, 0.989))
    shifted = replace(low, name="rain", group="shifted")
    one = type(found)(**{**vars(found), "rejected": (low, high, shifted), "accepted": Share(95, 100, 0.887, 0.984)})
    assert one.rejections() == (
        "Rejected: 5.0% of the ID test images, 2.0% of missed, 96.0% of found. The guard does not reject missed much "
        "more often than ID images: another detector, or a better classifier, may."
    )
    assert "rain" not in one.rejections() and len(one.verdicts()) == 2
    well = type(found)(**{**vars(one), "rejected": (high,)})
    assert well.rejections() == "Rejected: 5.0% of the ID test images, 96.0% of found."
    assert type(found)(**{**vars(one), "rejected": (shifted,)}).verdicts() == [one.verdict()]
    scores = dict.fromkeys(("missed", "found", "rain"), found.id_scores)
    page = type(found)(**{**vars(one), "ood_scores": scores}).save(tmp_path / "g.html").read_text()
    assert "Other images" in page and "missed, rejected" in page


def test_other_sets_may_have_more_classes(guard, bugs, draw, tmp_path):
    three = draw(tmp_path / "three", ("ant", "bee", "fly"), count=4, seed=7)
    made = guard.measure(bugs / "test", {"far": {"three": three}})
    assert made.rejected[0].name == "three" and made.rejected[0].share.n == 12


def test_groups_hold_sets_by_name(guard, bugs):
    with pytest.raises(OutskirtsError, match="The group 'far' holds sets by their names"):
        guard.measure(bugs / "test", {"far": str(bugs / "fog")})


def test_images_without_labels_have_no_accuracy(guard, bugs):
    found = guard.measure(osk.ImageSet(sorted((bugs / "test").rglob("*.png")), spec="unlabelled"))
    assert found.correct is None and "Some ID test images have no label, so the accuracy is not known." in found.notes


def test_each_threshold_has_a_line(finished, calibration, bugs):
    guard = osk.Guard.fit(finished, calibration=calibration, detector="energy", acceptance=0.9, per_class=True)
    found = guard.measure(bugs / "test")
    if len(guard.calibration.promises) == 1:
        pytest.skip("the classifier predicts too few images of one class")
    assert [one.promise for one in found.thresholds] == list(guard.calibration.promises)
    assert sum(one.share.count for one in found.thresholds) == found.accepted.count
    assert {name for one in found.thresholds for name in one.classes} == {"ant", "bee"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("calibration", r"are among the calibration images of the guard\. Its threshold was calibrated on them"),
        ("training", r"are among the training images of the guard\. Its classifier learnt from them"),
    ],
)
def test_sets_that_it_was_made_of_are_refused(guard, found, calibration, finished, name, told):
    images = calibration if name == "calibration" else Subject.of(osk.Run.open(finished)).train
    with pytest.raises(OutskirtsError, match=told):
        guard.measure(images)
    assert not any("nothing tells whether these are others" in note for note in found.notes)


def test_single_images_that_it_was_made_of_are_found(guard, kept, bugs, draw, calibration, tmp_path):
    """Images of the folder alone tell it, wherever they lie; one in a hundred is a copy, as real sets have."""
    folder = draw(tmp_path / "many", count=100, seed=31)
    shutil.copy(sorted((calibration / "ant").iterdir())[0], folder / "ant" / "copy.png")
    again = osk.Guard.load(kept)
    found = again.measure(folder)
    assert any("1 of the 201 ID test images" in note and "is left out" in note for note in found.notes)
    assert found.accepted.n == 200
    for file in sorted((calibration / "bee").iterdir())[:5]:
        shutil.copy(file, folder / "bee" / f"copy-{file.name}")
    with pytest.raises(OutskirtsError, match=r"6 of the 206 ID test images .* are among the calibration images"):
        again.measure(folder)
    with pytest.raises(OutskirtsError, match=r"12 of the 12 images of 'near' .* are among the calibration images"):
        replace(guard, seen={"calibration": KeySet.of(osk.open(bugs / "flies").keys)}).measure(
            bugs / "test", {"near": {"near": bugs / "flies"}}
        )


def test_what_is_not_known_of_single_images_is_said(guard, bugs):
    found = replace(guard, seen={"calibration": guard.seen["calibration"]}).measure(bugs / "test")
    assert any("does not know its training images" in note for note in found.notes)


def test_tuning_images_are_refused(finished, calibration, bugs):
    guard = osk.Guard.fit(finished, calibration=calibration, acceptance=0.9, tune=bugs / "flies")
    with pytest.raises(
        OutskirtsError,
        match=r"images of 'flies' .* are among the tuning images of the guard. Its detector was chosen on them",
    ):
        guard.measure(bugs / "test", {"near": {"flies": bugs / "flies"}})


def test_sets_that_share_images_are_refused(guard, bugs):
    with pytest.raises(OutskirtsError, match=r"of the 20 images of 'same' .* are also among the ID test images"):
        guard.measure(bugs / "test", {"near": {"same": bugs / "test"}})
    with pytest.raises(OutskirtsError, match="Two sets are called 'fog'"):
        guard.measure(bugs / "test", {"near": {"fog": bugs / "fog"}, "far": {"fog": bugs / "flies"}})
    with pytest.raises(OutskirtsError, match="has classes that the training set lacks: fly"):
        guard.measure(bugs / "flies")


class Page(HTMLParser):
    """What a page refers to, and the text of its tables."""

    def __init__(self):
        super().__init__()
        self.links = []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]


def test_the_page_and_its_numbers(found, tmp_path, bugs):
    odd = replace(found, rejected=(replace(found.rejected[0], name="<b>flies"), *found.rejected[1:]))
    odd = type(found)(**{**vars(odd), "ood_scores": {**found.ood_scores, "<b>flies": found.ood_scores["flies"]}})
    page = odd.save(tmp_path / "new" / "page.html", name="bugs & <i>")
    text = page.read_text()
    reader = Page()
    reader.feed(text)
    assert [link for link in reader.links if not link.startswith("data:")] == []
    assert "&lt;b&gt;flies" in text and "<b>flies" not in text and "bugs &amp; &lt;i&gt;" in text
    assert str(bugs) not in text and len(text) < 1_500_000
    with page.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["measure"] for row in rows} >= {
        "accepted",
        "rejected",
        "auroc",
        "accuracy",
        "aurc by score",
        "ece of all",
    }
    assert float(rows[0]["value"]) == found.accepted.value and int(rows[0]["n"]) == 20
    numbers = json.loads(page.with_suffix(".json").read_text())
    assert numbers["thresholds"][0]["promised"]["expected"] == found.thresholds[0].promise.expected
    assert str(bugs) not in page.with_suffix(".json").read_text()
    with pytest.raises(OutskirtsError, match=r"page\.html is there already"):
        odd.save(page)
    with pytest.raises(OutskirtsError, match=r"ends in \.html"):
        odd.save(tmp_path / "page.pdf")
    assert "agrees" in repr(found) or "ID test images" in repr(found)
    assert "<table>" in found._repr_html_()


def test_a_score_that_is_no_number_is_the_largest(guard, bugs, monkeypatch):
    real = guard.detector.score
    monkeypatch.setattr(guard.detector, "score", lambda outputs: real(outputs).clone().fill_(float("nan")))
    found = guard.measure(bugs / "test")
    assert found.accepted.count == 0 and torch.isinf(found.id_scores).all()
    assert any("gives no number for 20 of the 20 images of id" in note for note in found.notes)


def test_the_command(outskirts, kept, bugs, tmp_path):
    words = ["evaluate", "--guard", kept, "--test", bugs / "test", "--near", f"flies={bugs / 'flies'}"]
    outcome = outskirts(*words, "--out", tmp_path / "g.html")
    assert outcome.code == 0, outcome.err
    assert "ID test images accepted" in outcome.out and "flies (near)" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert {path.name for path in tmp_path.iterdir()} == {"g.html", "g.csv", "g.json"}
    for more, told in (
        (["--detectors", "msp"], "--detectors does not go with --guard"),
        (["--tune"], "--tune does not go with --guard"),
        (["--mean", "0.5"], "--mean does not go with --guard"),
        (["--out", tmp_path / "g.html"], "is there already"),
    ):
        outcome = outskirts(*words, *more)
        assert outcome.code and told in outcome.err
    assert "Pass ID test images" in outskirts("evaluate", "--guard", kept).err
    assert "RUN does not go with --guard" in outskirts("evaluate", kept, "--guard", kept, "--test", "x").err

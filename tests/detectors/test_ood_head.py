import pytest
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import OODHead
from outskirts.evaluation.evaluate import evaluate, lacking


@pytest.fixture
def outputs():
    """Six images, the first two of which look like training images to the classifier's network."""
    risk = torch.tensor([2.0, 1.0, -1.0, -2.0, -3.0, 0.5])
    return Outputs(torch.zeros(6, 2), torch.zeros(6, 3), torch.arange(6) % 3, None, {"ood_head": risk})


def test_images_that_the_network_takes_for_outliers_score_higher(outputs):
    assert OODHead().score(outputs).tolist() == [-2.0, -1.0, 1.0, 2.0, 3.0, -0.5]


def test_nothing_is_learned(outputs):
    detector = OODHead()
    assert detector.fit_on is None and not detector.state_dict() and not detector.params


def test_a_classifier_without_the_network_is_told(outputs):
    without = Outputs(outputs.features, outputs.logits)
    assert lacking(OODHead(), without) == "needs ood_head, which this classifier does not give"
    assert lacking(OODHead(), outputs) is None
    with pytest.raises(OutskirtsError, match="ood_head"):
        OODHead().score(without)


def test_it_is_skipped_with_the_reason_where_either_set_lacks_it(outputs):
    without = Outputs(outputs.features, outputs.logits)
    found = evaluate(outputs, {"far": without}, ["msp", "ood_head"])
    assert found.skipped == {"ood_head": "needs ood_head, which this classifier does not give"}
    assert {row.detector for row in found.rows} == {"msp"}
    found = evaluate(outputs[:2], {"far": outputs[2:5]}, ["ood_head"])
    assert found.rows[0].auroc == 1.0 and not found.skipped

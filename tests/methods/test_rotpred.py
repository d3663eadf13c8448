import pytest
import torch
from torch.nn.functional import cross_entropy

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.loading.batches import Batch
from outskirts.methods.rotpred import RotPred, RotPredConfig
from outskirts.testing import check_method


@pytest.mark.parametrize("options", [{}, {"rotation_weight": 0.5}])
def test_contract(options):
    check_method("rotpred", RotPredConfig(**options))


def test_the_loss(make):
    method = make(RotPred, RotPredConfig(rotation_weight=0.5))
    method.classifier.eval()  # Statistics of the batch would be those of all four.
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    batch = Batch((images,), torch.arange(6) % 3, 1, 1, torch.Generator())
    head, expected = method.classifier.head, cross_entropy(method.classifier(images), batch.labels)
    for quarters in range(4):
        logits = head.rotation(method.classifier.features(images.rot90(quarters, (2, 3))))
        expected = expected + 0.5 / 4 * cross_entropy(logits, torch.full((6,), quarters))
    torch.testing.assert_close(method(batch)["loss"], expected, rtol=1e-4, atol=1e-5)


def test_a_run_is_scored_by_rotations(bugs, small, tmp_path):
    ood = {"far": {"fog": bugs / "fog"}}
    run = osk.train("rotpred", bugs / "train", out=tmp_path / "run", **small)
    results = osk.evaluate_run(run, bugs / "test", ood, ["rotation", "msp"])
    assert {row.detector for row in results.rows} == {"rotation", "msp"} and not results.skipped
    plain = osk.train("ce", bugs / "train", out=tmp_path / "plain", **small)
    results = osk.evaluate_run(plain, bugs / "test", ood, ["rotation", "msp"])
    assert "no head for rotations" in results.skipped["rotation"]


def test_options_out_of_range():
    with pytest.raises(OutskirtsError, match="rotation_weight"):
        RotPredConfig(rotation_weight=-1)

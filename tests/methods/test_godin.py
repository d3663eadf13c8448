import torch

import outskirts as osk
from outskirts.detectors import GODINScore
from outskirts.methods.godin import GODINConfig
from outskirts.models.heads import DividedHead
from outskirts.seeding import isolated
from outskirts.testing import check_method


def test_contract():
    check_method("godin", GODINConfig())


def test_the_logits_are_a_quotient():
    with isolated(0, "head"):
        head = DividedHead(5, 3).eval()
    features = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    linear, norm, _ = head.divisor
    divisor = torch.sigmoid((features @ linear.weight.T + linear.bias - norm.running_mean) / (1 + norm.eps) ** 0.5)
    cosines = torch.nn.functional.cosine_similarity(features[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head.numerators(features), cosines)
    torch.testing.assert_close(head(features), cosines / divisor)
    assert (head(features).abs() >= cosines.abs()).all()


def test_a_run_gives_its_numerators(bugs, small, tmp_path):
    run = osk.train("godin", bugs / "train", out=tmp_path / "run", **small)
    classifier = osk.load(run.path)
    outputs = osk.extract(classifier, osk.open(bugs / "test"))
    expected = classifier.head.numerators(outputs.features).amax(1)
    torch.testing.assert_close(GODINScore().score(outputs), -expected.double().detach())

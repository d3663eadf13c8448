import pytest
import torch
from torch.nn.functional import cross_entropy

import outskirts as osk
from outskirts.data.loading.batches import Batch
from outskirts.errors import OutskirtsError
from outskirts.methods.t2fnorm import T2FNorm, T2FNormConfig
from outskirts.testing import check_method


def test_contract():
    check_method("t2fnorm", T2FNormConfig(temperature=0.5))


def test_features_have_one_length_in_training_only(make):
    method = make(T2FNorm, T2FNormConfig(temperature=0.2))
    classifier, linear = method.classifier, method.classifier.head.linear
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    features = classifier.features(images).detach()
    trained = linear(features / features.norm(dim=1, keepdim=True) / 0.2)
    classifier.head.train()
    torch.testing.assert_close(classifier.head(features), trained)
    torch.testing.assert_close(classifier.head(3 * features), trained)
    torch.testing.assert_close(classifier.head.eval()(features), linear(features / 0.2))


def test_the_loss(make):
    method = make(T2FNorm, T2FNormConfig())
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    batch = Batch((images,), torch.arange(6) % 3, 1, 1, torch.Generator())
    head = method.classifier.head.train()
    features = method.classifier.features(images)
    expected = cross_entropy(head.linear(10 * features / features.norm(dim=1, keepdim=True)), batch.labels)
    torch.testing.assert_close(method(batch)["loss"], expected, rtol=1e-4, atol=1e-5)


def test_a_run_keeps_its_temperature_and_scores_as_published(bugs, small, tmp_path):
    run = osk.train("t2fnorm", bugs / "train", out=tmp_path / "run", temperature=0.3, **small)
    classifier = osk.load(run.path)
    outputs = osk.extract(classifier, osk.open(bugs / "test"), features="raw")
    linear = classifier.head.linear
    torch.testing.assert_close(outputs.logits, linear(outputs.features / 0.3).detach(), rtol=1e-4, atol=1e-4)


def test_options_out_of_range():
    with pytest.raises(OutskirtsError, match="temperature"):
        T2FNormConfig(temperature=0)

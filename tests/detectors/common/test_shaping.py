import pytest
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import ASH, DICE, VRA, ReAct, Scale
from outskirts.detectors.common.shaping import kept_count, scaling
from outskirts.detectors.energy import energy
from outskirts.detectors.gen import generalized_entropy


@pytest.mark.parametrize(
    ("detector", "key"),
    [
        (VRA(percentile=90, low=10, reference_quirks=True), "vra_90_10"),
        (VRA(percentile=75, low=25, reference_quirks=True), "vra_75_25"),
        (Scale(percentile=50), "scale_p50"),
        (ASH(percentile=50), "ash_b_p50"),
        (DICE(percentile=50), "dice_p50"),
    ],
    ids=str,
)
def test_vectors(toy, train, queries, detector, key):
    torch.testing.assert_close(detector.fit(train).score(queries), -toy[key])


def test_vectors_of_the_shapes(vectors):
    known = vectors["V15_shape"]
    features = torch.tensor([known["f"]], dtype=torch.float64)
    assert kept_count(5, known["p"]) == known["k_kept"]
    assert scaling(features.sum(1), features.topk(2).values.sum(1)).log().item() == pytest.approx(known["ratio"])
    for detector, key in ((Scale(known["p"]), "scale"), (ASH(known["p"]), "ash_b")):
        torch.testing.assert_close(detector.shape(features)[0], torch.tensor(known[key], dtype=torch.float64))


def test_the_variants_of_ash():
    features = torch.tensor([[1.0, 5.0, 0.0, 3.0], [2.0, 0.0, 2.0, 4.0]], dtype=torch.float64)
    pruned = torch.tensor([[0.0, 5.0, 0.0, 3.0], [2.0, 0.0, 0.0, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(ASH(50, "p").shape(features), pruned)
    factor = torch.tensor([[9 / 8], [8 / 6]], dtype=torch.float64).exp()
    torch.testing.assert_close(ASH(50, "s").shape(features), pruned * factor)
    with pytest.raises(OutskirtsError, match="variant of the detector 'ash' must be one of p, b, s, not 'x'"):
        ASH(variant="x")


def test_without_activation_nothing_is_scaled():
    features = torch.tensor([[0.0, 0.0, 0.0], [-1.0, -2.0, -3.0]], dtype=torch.float64)
    assert Scale().shape(features).equal(features)
    assert ASH(variant="s").shape(features)[0].equal(features[0])


def test_dice_masks_the_weights_and_not_their_sum(train, queries):
    weight, bias = train.head
    contributions = weight * train.features.mean(0)
    kept = contributions > contributions.flatten().quantile(0.5)
    expected = queries.features @ (weight * kept).T + bias
    torch.testing.assert_close(DICE(50).fit(train).score(queries), energy(expected))


def test_any_score_of_logits_can_follow(train, queries):
    weight, bias = train.head
    logits = queries.features.clamp_max(ReAct().fit(train).threshold) @ weight.T + bias
    torch.testing.assert_close(ReAct(scorer="gen").fit(train).score(queries), generalized_entropy(logits))
    torch.testing.assert_close(ReAct(scorer="max_logit").fit(train).score(queries), -logits.amax(1))
    with pytest.raises(OutskirtsError, match="'knn' needs more than logits, so 'ash' cannot use it; choose"):
        ASH(scorer="knn")


@pytest.mark.parametrize("percentile", [0, 40, 90, 99])
def test_of_equal_activations_ash_keeps_the_first(percentile):
    features = (2 * torch.randn(50, 40, generator=torch.Generator().manual_seed(0))).round().double().clamp_min(-1)
    order = features.argsort(dim=1, descending=True, stable=True)[:, : max(1, 40 - round(0.4 * percentile))]
    expected = torch.zeros_like(features).scatter(1, order, features.gather(1, order))
    assert torch.equal(ASH(percentile, "p").shape(features), expected)


def test_vra_is_silent_below_the_low_percentile(train):
    detector = VRA(percentile=75, low=25).fit(train)
    assert detector.floor.item() == pytest.approx(0.1) and detector.threshold.item() == pytest.approx(1.275)
    features = torch.tensor([[0.05, 0.1, 0.5, 2.0]], dtype=torch.float64)
    expected = torch.tensor([[0.0, 0.1, 0.5, 1.275]], dtype=torch.float64)
    torch.testing.assert_close(detector.shape(features), expected)


def test_bad_input_is_an_error(train):
    with pytest.raises(OutskirtsError, match="low of the detector 'vra' is 95"):
        VRA(low=95)
    with pytest.raises(
        OutskirtsError, match="percentile of the detector 'scale' must be a number from 0 to below 100, not -1"
    ):
        Scale(percentile=-1)
    with pytest.raises(OutskirtsError, match="linear head"):
        DICE().fit(Outputs(train.features, train.logits))
